"""A server of one price list, and price lists to serve."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

OURS = b"""
updated = 2026-11-20

[[price]]
model = "acme/large"
context_window = 200000
input = "2.50"
cache_read = 0.25
output = "10"
web_searches = "0.01"

[[price.above]]
tokens = 100000
input = "5"
cache_read = "0.5"
output = "15"

[[price.variant]]
when = { service_tier = "flex" }
input = "1.25"
output = "5"

[[price.variant]]
when = { batch = true }
multiply = "0.5"

[[price.variant]]
hours = ["16:30-00:30"]
days = ["mon", "tue", "wed", "thu", "fri"]
input = "1"
output = "2"
"""


def one_price(amount: str, model: str = "acme/m") -> bytes:
    """A list of ours, of one model whose input and output cost the same."""
    return json.dumps({"price": [{"model": model, "input": amount, "output": amount}]}).encode()


class ListServer:
    """Serves `content` over HTTP on this machine, with an ETag.

    asked:   headers of the requests so far
    status:  what it answers
    gate:    answers wait until it is set
    declared: the Content-Length it claims, None for the true one
    """

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.status = 200
        self.asked: list[dict[str, str]] = []
        self.location = ""
        self.declared: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append({name.lower(): value for name, value in self.headers.items()})
                server.gate.wait(10)
                content, tag = server.content, f'"{hash(server.content)}"'
                if server.status == 200 and self.headers.get("If-None-Match") == tag:
                    self.send_response(304)
                    self.end_headers()
                    return
                self.send_response(server.status)
                if server.location:
                    self.send_header("Location", server.location)
                self.send_header("ETag", tag)
                self.send_header("Content-Length", str(len(content) if server.declared is None else server.declared))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/prices.json?token=secret"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
