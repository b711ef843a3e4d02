"""A Slack of our own on loopback: incoming webhooks and chat.postMessage, with the answers a test tells it to give."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WEBHOOK = "/services/T000/B000/secret"
API = "/api/"


@dataclass(frozen=True)
class Answer:
    """`silent`: take the request and say nothing, until the server ends."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False


class SlackServer:
    """received: every payload, in order; accepted: those that were answered with 200.

    answers: taken one for each request; when there are none left, Slack's own "ok".
    """

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.accepted: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.answers: deque[Answer] = deque()
        self.lock = threading.Condition()
        self.over = threading.Event()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self.webhook = self.address + WEBHOOK
        self.base_url = self.address + API

    def __enter__(self) -> SlackServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()

    def take(self, payload: dict[str, Any], usual: str) -> Answer:
        with self.lock:
            self.received.append(payload)
            answer = self.answers.popleft() if self.answers else Answer(body=usual)
            if answer.status == 200 and not answer.silent:
                self.accepted.append(payload)
            self.lock.notify_all()
            return answer

    def wait_for(self, received: int) -> bool:
        with self.lock:
            return self.lock.wait_for(lambda: len(self.received) >= received, 20)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: SlackServer

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == WEBHOOK:
            answer = self.owner.take(payload, "ok")
        elif self.path == f"{API}chat.postMessage":
            self.owner.authorizations.append(self.headers.get("Authorization"))
            answer = self.owner.take(payload, '{"ok": true, "ts": "1.2"}')
        else:
            answer = Answer(404, "no_service")
        if answer.silent:
            self.owner.over.wait(30)
            self.close_connection = True
            return
        body = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
