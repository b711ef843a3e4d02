"""Workers to be killed, at a step of a call or anywhere, and the account of what each of them knew by then."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from openai import OpenAI

from costguard import tagged
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from tests.enforcement.proof_provider import prompt
from tests.enforcement.proof_stores import Place

STEPS = (
    "before reserve", "after reserve", "during the provider call", "before settle", "inside the settle transaction",
    "after settle", "before alert delivery",
)  # fmt: skip

BUDGETS = ("$1000/ever", "$500/ever per worker")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """A ledger in whose hands the process dies, before or after a verb."""

    def __init__(self, inner: Ledger, step: str) -> None:
        self._inner = inner
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def reserve(self, hold: Hold, now_ns: int, **options: Any) -> Any:
        if self._step == "before reserve":
            die()
        refusal = self._inner.reserve(hold, now_ns, **options)
        if self._step == "after reserve":
            die()
        return refusal

    def settle(self, entry: Entry, hold: Hold | None) -> Any:
        if self._step == "before settle":
            die()
        crossings = self._inner.settle(entry, hold)
        if self._step == "after settle":
            die()
        return crossings


class DeadlyConnection(sqlite3.Connection):
    """Dies at the COMMIT of the first transaction in which an entry was inserted: all is written, nothing is done."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        entered = False

        def trace(statement: str) -> None:
            nonlocal entered
            entered |= "INSERT INTO costguard_entries (" in statement
            if entered and statement.startswith("COMMIT"):
                die()

        self.set_trace_callback(trace)


def die_at(place: Place, step: str, url: str, name: str, acknowledged: Path, line: Any) -> None:
    """Make one call and die at this step of it; for PostgreSQL's transaction whoever holds its lock kills us."""
    if step == "inside the settle transaction" and place.url.startswith("sqlite:"):
        connect = sqlite3.connect

        def deadly(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            return connect(*args, **(kwargs | {"factory": DeadlyConnection}))

        sqlite3.connect = deadly  # type: ignore[assignment]
    alerts: list[Callable[[Any], None]] = [lambda _: die()] if step == "before alert delivery" else []
    # Half of the worker's budget is told of at this call's cost.
    guard = place.guard(Deadly(place.ledger(), step), budgets=[BUDGETS[0], "$0.20/ever per worker"], alerts=alerts)
    guard.instrument()
    line.send("ready")
    line.recv()
    call(OpenAI(base_url=url, api_key="none", max_retries=0), name, 10_000, acknowledged)
    if step == "before alert delivery":
        guard.flush(20)
    line.send("survived")


def call(client: OpenAI, name: str, tokens: int, acknowledged: Path) -> None:
    """One call; that the app has its answer is written down in one write, which outlives us."""
    with tagged(name=name, worker=name.partition("-")[0]):
        client.chat.completions.create(model="gpt-4o", messages=prompt(name, tokens), max_tokens=12_000)  # type: ignore[call-overload]
    log = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, f"{name}\n".encode())
    os.close(log)


def work_until_killed(place: Place, url: str, worker: str, acknowledged: Path, line: Any) -> None:
    """Calls without end, in two threads."""
    guard = place.guard(budgets=BUDGETS)
    guard.instrument()
    client = OpenAI(base_url=url, api_key="none", max_retries=0)

    def loop(thread: int) -> None:
        for number in range(10**6):
            call(client, f"{worker}-{thread}-{number}", 10 + number % 100, acknowledged)

    line.send("ready")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(loop, range(2)))
