"""Between psycopg and the server: counts the round trips, and can lose an answer."""

from __future__ import annotations

import socket
from pathlib import Path
from threading import Event, Lock, Thread


class Proxy:
    """A round trip is whatever the client sends before it hears from the server again.

    lose_next: the next request reaches the server, and the connection breaks before the answer comes back
    spare: so many requests are answered before that one
    gate: requests wait for it: a slow network
    """

    def __init__(self, server: Path) -> None:
        self._server = str(server)
        self._lock = Lock()
        self._trips = 0
        self.lose_next = Event()
        self.spare = 0
        self.gate = Event()
        self.gate.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def trips(self) -> int:
        """Since the last time this was asked."""
        with self._lock:
            trips, self._trips = self._trips, 0
        return trips

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        # In turns, as a client that does not pipeline waits for each answer: up to a ReadyForQuery it is one.
        with client, server:
            while request := _some(client):
                while not _asked(request):
                    more = _some(client)
                    if not more:
                        return
                    request += more
                with self._lock:
                    self._trips += 1
                self.gate.wait(300)
                server.sendall(request)
                losing = self.lose_next.is_set() and self.spare <= 0
                self.spare -= self.lose_next.is_set()
                answer = b""
                while not _complete(answer):
                    more = _some(server)
                    if not more:
                        return
                    answer += more
                if losing:
                    self.lose_next.clear()
                    return
                client.sendall(answer)


def _some(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 20)
    except OSError:
        return b""


def _asked(request: bytes) -> bool:
    """The last of its messages has come as a whole. Those of the start have no letter before their length."""
    at = 0
    while request[0] and at < len(request):
        at += 1 + int.from_bytes(request[at + 1 : at + 5], "big")
    return not request[0] or (at == len(request) and (request[-5:] == b"S\x00\x00\x00\x04" or request[:1] in b"QpX"))


def _complete(answer: bytes) -> bool:
    """ReadyForQuery has come, or a question of the authentication."""
    return answer == b"N" or (answer[-6:-1] == b"Z\x00\x00\x00\x05" and answer[-1:] in b"ITE") or answer[:1] == b"R"
