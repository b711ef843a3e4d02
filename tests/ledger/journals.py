"""Journals in few words, and stores that cannot be written for a while."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from costguard.events import Entry, Hold
from costguard.ledger.journal import JournalLedger
from costguard.ledger.opening import open_ledger
from tests.ledger.values import entry, hold


@contextmanager
def locked(url: str) -> Iterator[None]:
    """No process can write to this SQLite file meanwhile."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///").partition("?")[0], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def impatient(url: str, directory: Path, **more: object) -> JournalLedger:
    ledger = JournalLedger(open_ledger(f"{url}?patience=0.02"), directory, **more)  # type: ignore[arg-type]
    ledger.open()
    return ledger


def settled(ledger: JournalLedger, count: int, cents: float = 1) -> list[Hold]:
    holds = [hold() for _ in range(count)]
    for held in holds:
        assert ledger.settle(entry(held, cents), held) == ()
    return holds


def eventually(what: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ids(entries: list[Entry]) -> set[str]:
    return {entry.call_id for entry in entries}
