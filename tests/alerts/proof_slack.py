"""The Slack of the proof: it takes messages, refuses, is silent, hangs up and dies, and writes down what it took.

What it took is written down before a byte of the answer is sent; whose it was is in the webhook's address.
"""

from __future__ import annotations

import json
import random
import re
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

PATH = "/services/T000/B000/proof"
USER = re.compile(r"payer-\d{5}")

Way = Literal["200", "429", "500", "silent", "taken and silent", "taken and hung up", "hung up"]
WAYS: dict[Way, float] = {
    "200": 0.964, "429": 0.003, "500": 0.02, "silent": 0.001, "taken and silent": 0.001, "taken and hung up": 0.006,
    "hung up": 0.005,
}  # fmt: skip
TAKEN: frozenset[Way] = frozenset({"200", "taken and silent", "taken and hung up"})


@dataclass(frozen=True)
class Delivery:
    """One request. `worker` is the generation of the process that sent it; `users` whom the message names."""

    worker: str
    way: Way
    users: tuple[str, ...]


class Slack:
    """deliveries: in the order in which they were decided; arrived: the users that people were told of."""

    def __init__(self, seed: int) -> None:
        self.deliveries: list[Delivery] = []
        self.arrived: set[str] = set()
        self.deaths = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._http = self._listen(0)
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}{PATH}"

    def _listen(self, port: int) -> ThreadingHTTPServer:
        slack = self

        class Handler(_Handler):
            owner = slack

        http = _Server(("127.0.0.1", port), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        return http

    def die(self, seconds: float) -> None:
        """Nobody listens for a while."""
        self._http.shutdown()
        self._http.server_close()
        self.deaths += 1
        self._over.wait(seconds)
        self._http = self._listen(self.port)

    def end(self) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()

    def decide(self, worker: str, users: tuple[str, ...]) -> Way:
        with self._lock:
            (way,) = self._random.choices(list(WAYS), list(WAYS.values()))
            self.deliveries.append(Delivery(worker, way, users))
            if way in TAKEN:
                self.arrived.update(users)
            return way

    def silence(self) -> None:
        self._over.wait(6)


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A worker that is killed hangs up."""


class _Handler(BaseHTTPRequestHandler):
    owner: Slack

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        worker = parse_qs(urlsplit(self.path).query)["worker"][0]
        # What people see are the blocks; each user once, though a message may name one twice.
        users = tuple(dict.fromkeys(USER.findall(json.dumps(message["blocks"]))))
        way = self.owner.decide(worker, users)
        if way.endswith("silent"):
            self.owner.silence()
        elif way.endswith("hung up"):
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            body = {"200": b"ok", "429": b"rate_limited", "500": b"rollup_error"}[way]
            self.send_response(int(way))
            if way == "429":
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def wait_until(deadline: float) -> None:
    """Sleep up to this moment of the monotonic clock."""
    threading.Event().wait(max(0.0, deadline - time.monotonic()))
