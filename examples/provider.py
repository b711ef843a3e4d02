"""A local provider that speaks the OpenAI and the Anthropic wire protocols. No key, no network, no model.

    python -m examples.provider --port 8901

    OPENAI_BASE_URL=http://127.0.0.1:8901/v1  OPENAI_API_KEY=local       chat completions, responses, embeddings
    ANTHROPIC_BASE_URL=http://127.0.0.1:8901  ANTHROPIC_API_KEY=local    messages

JSON and server-sent events, with the same usage for the same request every time.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from examples import wire

TEXT = (
    "Sure. Here is the short version: the team shipped the search page on Tuesday, the two open questions are the "
    "index size and who owns the nightly job, and the next step is a review with three customers before the launch. "
)

Reply = tuple[int, int, str]
"""Input tokens, output tokens, text."""


def plausible(body: dict[str, Any]) -> Reply:
    """A reply whose length depends on the prompt alone: bytes / 4 in, 120 to 360 tokens out, `max_tokens` obeyed."""
    prompt = json.dumps([body.get(part) for part in ("system", "instructions", "messages", "input")], sort_keys=True)
    seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
    wanted = 120 + seed % 241
    ceiling = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens") or wanted
    out = min(wanted, ceiling)
    text = (TEXT * 8)[: out * 4].strip()
    return len(prompt.encode()) // 4 + 8, out, text


class Provider:
    """The provider on a port of its own, in a thread; a context manager.

    url:    http://127.0.0.1:port, for Anthropic clients; OpenAI clients take `url + "/v1"`
    paths:  of the requests it has answered, in order
    reply:  gives the size and the text of an answer: replace it to have calls of a known cost
    """

    def __init__(self, port: int = 0, reply: Callable[[dict[str, Any]], Reply] = plausible) -> None:
        self.reply = reply
        self.paths: list[str] = []
        self.numbers = count(1)
        provider = self

        class Handler(_Handler):
            owner = provider

        self.server = LoopbackServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def __enter__(self) -> Provider:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), name="provider", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any] | Iterator[bytes] | None:
        """A JSON object, the events of a stream, or None for a path it does not know."""
        number = next(self.numbers)
        made = {
            "/v1/chat/completions": (wire.chat_completion, wire.chat_events),
            "/v1/responses": (wire.response_of, wire.response_events),
            "/v1/messages": (wire.anthropic_message, wire.anthropic_events),
        }.get(path)
        if made is not None:
            whole, events = made
            return (events if body.get("stream") else whole)(number, body, self.reply(body))
        if path == "/v1/embeddings":
            return _embeddings(body, self.reply(body)[0])
        if path == "/v1/messages/count_tokens":
            return {"input_tokens": self.reply(body)[0]}
        return None


class LoopbackServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is its right, and no traceback of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _embeddings(body: dict[str, Any], tokens: int) -> dict[str, Any]:
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = []
    for index, text in enumerate(inputs):
        digest = hashlib.sha256(str(text).encode()).digest()
        vector = [byte / 128 - 1 for byte in digest[:8]]
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        # The OpenAI SDK asks for base64 unless told otherwise.
        embedding = packed if body.get("encoding_format") == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    return {
        "object": "list",
        "model": body["model"],
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # small events would wait for the client's delayed acknowledgement
    owner: Provider

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        try:
            body = json.loads(raw)
            model = body["model"]
        except (ValueError, KeyError, TypeError):
            return self._json(400, _error("invalid_request_error", "the body is not a JSON object with a model"))
        if not (self.headers.get("Authorization") or self.headers.get("X-Api-Key")):
            return self._json(401, _error("authentication_error", "send any API key"))
        answer = self.owner.answer(path, body)
        if answer is None:
            return self._json(404, _error("not_found_error", f"{path} is not spoken here (model {model})"))
        self.owner.paths.append(path)
        if isinstance(answer, dict):
            return self._json(200, answer)
        return self._stream(answer)

    def _json(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: a demo prints its own story."""


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, "code": kind, "param": None}}


def main() -> None:
    parser = argparse.ArgumentParser(description="A local provider that speaks the OpenAI and Anthropic protocols.")
    parser.add_argument("--port", type=int, default=8901)
    provider = Provider(parser.parse_args().port)
    print(f"OPENAI_BASE_URL={provider.openai_url} OPENAI_API_KEY=local")
    print(f"ANTHROPIC_BASE_URL={provider.url} ANTHROPIC_API_KEY=local", flush=True)
    try:
        provider.server.serve_forever()
    except KeyboardInterrupt:
        provider.server.server_close()


if __name__ == "__main__":
    main()
