"""Stores that fail under load; then the books are compared with what the provider sold.

    python -m tests.enforcement.proof_faults [--rounds 3] [--json FILE] [--docs]

With on_store_failure="allow" calls go on without the store. Nothing of what they cost may be missing once it is back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
from openai import OpenAI

from costguard import Guard
from tests.enforcement.proof_kills import Result, examine, tell
from tests.enforcement.proof_provider import PaidProvider
from tests.enforcement.proof_stores import Place, place
from tests.enforcement.proof_victims import BUDGETS, call

ROOT = Path(__file__).parents[2]


class Load:
    """Threads of this process that make calls without a pause."""

    def __init__(self, provider: PaidProvider, acknowledged: Path) -> None:
        self._provider = provider
        self._acknowledged = acknowledged
        self._stop = Event()
        self.numbers = count()
        self.failed: list[Exception] = []

    @contextmanager
    def of(self, threads: int) -> Iterator[None]:
        with ThreadPoolExecutor(threads) as pool:
            working = [pool.submit(self._work) for _ in range(threads)]
            try:
                yield
            finally:
                self._stop.set()
        for one in working:
            one.result()

    def _work(self) -> None:
        client = OpenAI(base_url=self._provider.url, api_key="none", max_retries=0)
        while not self._stop.is_set():
            number = next(self.numbers)
            try:
                call(client, f"w{number % 3}-{number}", 10 + number % 100, self._acknowledged)
            except Exception as error:
                self.failed.append(error)

    def more(self, calls: int = 30) -> None:
        """Wait until so many more were answered."""
        wanted = len(self._provider.sold) + calls
        deadline = time.monotonic() + 60
        while len(self._provider.sold) < wanted:
            assert time.monotonic() < deadline, "calls do not go on"
            time.sleep(0.002)


def under_load(place: Place, what: str, folder: Path, fault: Callable[[Guard, Load], None]) -> tuple[Result, Load]:
    """Let `fault` happen while calls are made, and look at the books."""
    began = time.monotonic()
    acknowledged = folder / "acknowledged"
    with PaidProvider() as provider:
        with place.guard(budgets=BUDGETS) as guard:
            guard.instrument()
            load = Load(provider, acknowledged)
            with load.of(4):
                load.more()
                fault(guard, load)
                load.more()
            guard.flush(60)
        return examine(place, what, 0, provider, acknowledged, began), load


def server_stopped(rounds: int = 1) -> Callable[[Guard, Load], None]:
    from tests.ledger.postgres import server

    def fault(_: Guard, load: Load) -> None:
        for _ in range(rounds):
            server().stop()
            try:
                load.more()
            finally:
                server().start()
            load.more()

    return fault


def table_locked(place: Place) -> Callable[[Guard, Load], None]:
    """All connections are in use, as each waits for somebody else's lock, until the patience of the calls is over."""

    def fault(_: Guard, load: Load) -> None:
        with psycopg.connect(place.address) as other:
            other.execute("LOCK TABLE costguard_balances")
            load.more(5)

    return fault


def impatient(where: Place) -> Place:
    return replace(where, url=f"{where.url}&pool_size=2&patience=0.2")


def disk_full(folder: Path) -> dict[str, Any]:
    """What `proof_disk` has to say, which runs in a mount namespace with a small disk of its own."""
    disk = folder / "disk"
    disk.mkdir()
    command = 'mount -t tmpfs -o size=24m tmpfs "$1" && exec "$2" -m tests.enforcement.proof_disk "$1"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command, "sh", str(disk), sys.executable],
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def flushed(rounds: int = 1) -> Callable[[Guard, Load], None]:
    """The Valkey forgets everything, as one does that was started anew without its disk."""
    from tests.ledger import valkey

    def fault(_: Guard, load: Load) -> None:
        for _ in range(rounds):
            valkey.server().command("FLUSHALL")
            load.more()

    return fault


def results(rounds: int) -> Iterator[Result]:
    for store in ("postgres", "valkey", "leases"):
        with tempfile.TemporaryDirectory(prefix="costguard-faults-") as folder:
            where = place(store, Path(folder))
            yield under_load(where, f"PostgreSQL stopped {rounds} times", Path(folder), server_stopped(rounds))[0]
    with tempfile.TemporaryDirectory(prefix="costguard-faults-") as folder:
        yield under_load(place("valkey", Path(folder)), "Valkey flushed", Path(folder), flushed(rounds))[0]
    with tempfile.TemporaryDirectory(prefix="costguard-faults-") as folder:
        where = impatient(place("postgres", Path(folder)))
        yield under_load(where, "pool exhausted", Path(folder), table_locked(where))[0]
    with tempfile.TemporaryDirectory(prefix="costguard-faults-") as folder:
        yield Result(**disk_full(Path(folder))["result"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", action="store_true", help="put the table into docs/enforcement-proof.md")
    given = parser.parse_args()
    return tell("faults", results(given.rounds), given.json, docs=given.docs)


if __name__ == "__main__":
    sys.exit(main())
