"""What the rollups add to a batch of entries: the same batches, in turns, to a ledger with them and to one without."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from examples.realistic import BUDGETS, settlements
from examples.traffic import Traffic

from benchmarks.tables import Column, show
from benchmarks.timing import percentile
from costguard.budgets import Budget
from costguard.ledger.opening import open_ledger

TARGET = 1.4
SIZES = (100, 500)

COLUMNS: tuple[Column, ...] = (
    ("store", "store"),
    ("entries in a batch", "size"),
    ("us an entry, with", "with_us"),
    ("without", "without_us"),
    ("with / without, min", "of_min"),
    ("20th", "of_p20"),
)


class _Nothing:
    """Takes what is to be rolled up, and forgets it."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: None


def _without(ledger: Any) -> Any:
    """There is no such setting: the parts that roll up are taken out."""
    nothing = _Nothing()
    ledger._settling._rolls = lambda execute: nothing
    ledger._driver.bulk.roll = lambda execute, rolls: None
    return ledger


def run(stores: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    return [_measure(store, size, rounds * 4) for store in stores for size in SIZES]


def _measure(store: str, size: int, rounds: int) -> dict[str, Any]:
    # A day's calls of a busy app: some thousand tag sets, as they come.
    traffic = Traffic(size * (rounds + 4), days=1, seed=11, until=datetime.now(UTC), users=1_000)
    calls = list(settlements(traffic, 11, [Budget.parse(text) for text in BUDGETS]))
    # SQLite works in this process, where its CPU is what neighbours change least; PostgreSQL in others.
    clock = time.process_time if store == "sqlite" else time.perf_counter
    lots = [calls[start : start + size] for start in range(0, len(calls), size)]
    with TemporaryDirectory(prefix="costguard-bench-") as folder:
        contenders = {
            "with": open_ledger(_url(store, folder, 1)),
            "without": _without(open_ledger(_url(store, folder, 2))),
        }
        took: dict[str, list[float]] = {name: [] for name in contenders}
        for number, lot in enumerate(lots):
            for name, ledger in contenders.items():
                start = clock()
                ledger.settle_all(lot)
                # What is found or made at the first time is not what a batch costs.
                if number >= 4:
                    took[name].append((clock() - start) / len(lot) * 10**6)
        for ledger in contenders.values():
            ledger.close()
    least = {name: min(values) for name, values in took.items()}
    low = {name: percentile(values, 0.2) for name, values in took.items()}
    return {
        "store": store,
        "size": size,
        "with_us": round(least["with"], 2),
        "without_us": round(least["without"], 2),
        "of_min": round(least["with"] / least["without"], 2),
        "of_p20": round(low["with"] / low["without"], 2),
    }


def _url(store: str, folder: str, number: int) -> str:
    if store == "sqlite":
        return f"sqlite:///{Path(folder) / str(number)}.db"
    from tests.ledger.postgres import server

    return server().database()


def report(rows: list[dict[str, Any]]) -> None:
    show(f"a batch with rollups, of one without (target {TARGET})", COLUMNS, rows)
