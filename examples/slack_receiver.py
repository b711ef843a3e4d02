"""A Slack-compatible receiver: takes what an incoming webhook takes, answers "ok", keeps and prints it.

    python -m examples.slack_receiver --port 8902

Point `SLACK_WEBHOOK_URL` at the address it prints. See https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import argparse
import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from examples.provider import LoopbackServer

PATH = "/services/T0LOCAL/B0LOCAL/demo"


class SlackReceiver:
    """The receiver on a port of its own, in a thread; a context manager.

    url:       the webhook
    messages:  the payloads it has taken, in order
    """

    def __init__(self, port: int = 0, echo: bool = False) -> None:
        self.messages: list[dict[str, Any]] = []
        self.echo = echo
        self._arrived = threading.Condition()
        receiver = self

        class Handler(_Handler):
            owner = receiver

        self.server = LoopbackServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}{PATH}"

    def __enter__(self) -> SlackReceiver:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), name="slack", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def take(self, message: dict[str, Any]) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
        if self.echo:
            print(plain_text(message), end="\n\n", flush=True)

    def wait(self, messages: int, timeout: float) -> bool:
        """Wait until so many messages have arrived; False if they have not within `timeout` seconds."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.messages) >= messages, timeout)


def plain_text(message: dict[str, Any]) -> str:
    """A Block Kit message as a terminal can show it."""
    lines = []
    for block in message.get("blocks") or ():
        parts = [block.get("text"), *(block.get("fields") or ()), *(block.get("elements") or ())]
        lines += [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    text = "\n".join(lines) or str(message.get("text", ""))
    text = re.sub(r"[*`]", "", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: SlackReceiver

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != PATH:
            return self._say(404, "no_service")
        try:
            message = json.loads(raw)
        except ValueError:
            return self._say(400, "invalid_payload")
        if not isinstance(message, dict) or not (message.get("text") or message.get("blocks")):
            return self._say(400, "no_text")
        self.owner.take(message)
        return self._say(200, "ok")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: a demo prints its own story."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A Slack-compatible webhook receiver.")
    parser.add_argument("--port", type=int, default=8902)
    receiver = SlackReceiver(parser.parse_args().port, echo=True)
    print(f"SLACK_WEBHOOK_URL={receiver.url}", flush=True)
    try:
        receiver.server.serve_forever()
    except KeyboardInterrupt:
        receiver.server.server_close()


if __name__ == "__main__":
    main()
