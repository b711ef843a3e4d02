"""A ledger that `benchmarks.reports` asks, and what its answers take."""

from __future__ import annotations

import gc
import json
import sqlite3
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import ledgers
from benchmarks.questions import QUESTIONS, SCANS, Asked, Question, pages
from benchmarks.timing import percentile
from costguard.ledger.opening import open_ledger
from costguard.reports import spend

ENOUGH_SECONDS = 2.0
"""A question that took this long together is not asked again."""


class Store:
    """A ledger, made unless it is there, open, with the two users that are asked about."""

    def __init__(self, url: str, rows: int, *, made: bool = False) -> None:
        self.url = url
        # SQLite works in this process, where its CPU is what neighbours change least; PostgreSQL in others.
        self.clock = time.process_time if url.startswith("sqlite") else time.perf_counter
        self.made_in = None if made or is_there(url) else ledgers.make(url, rows).seconds
        self.ledger: Any = open_ledger(url)
        total, first = self._one("SELECT count(*), min(at) FROM costguard_entries")
        if total != rows:
            raise SystemExit(
                f"{url} has {total:,} rows, not {rows:,}; it was not finished, or is another one: remove it"
            )
        since = datetime.fromtimestamp(first // 10**6, UTC).replace(hour=0, minute=0, second=0)
        users = [row.group["user"] for row in spend(self.ledger, "user").rows]
        self.users = [user for user in users if user != "unattributed"]
        self.asked = Asked(self.ledger, datetime.now(UTC), since, self.users[0], self.users[len(self.users) // 2])

    def facts(self) -> dict[str, Any]:
        (days,) = self._one("SELECT count(*) FROM costguard_days")
        (tag_sets,) = self._one("SELECT count(*) FROM costguard_tag_sets")
        return {"users": len(self.users), "tag_sets": tag_sets, "days": days, "made_in_seconds": self.made_in}

    def _one(self, query: str) -> Any:
        from sqlalchemy import text

        with self.ledger._driver.reading() as connection:
            return connection.execute(text(query)).fetchone()

    def seconds(self, question: Question) -> float:
        gc.collect()
        start = self.clock()
        question.ask(self.asked)
        return self.clock() - start

    def scan(self, name: str) -> float:
        """Seconds of the database alone; of two times where one is short."""
        from sqlalchemy import bindparam, text

        query = text(SCANS[name])
        values: dict[str, Any] = {"since": int(self.asked.since.timestamp() * 10**6)}
        for who in ("usual", "busiest"):
            if f":{who}" in SCANS[name]:
                query = query.bindparams(bindparam(who, expanding=True))
                values[who] = self._tag_sets(getattr(self.asked, who))
        took: list[float] = []
        while not took or (len(took) < 2 and took[0] < ENOUGH_SECONDS):
            with self.ledger._driver.reading() as connection:
                start = self.clock()
                connection.execute(query, values).fetchall()
                took.append(self.clock() - start)
        return min(took)

    def _tag_sets(self, user: str) -> list[int]:
        from sqlalchemy import text

        with self.ledger._driver.reading() as connection:
            rows = connection.execute(text("SELECT id, tags FROM costguard_tag_sets")).fetchall()
        sets = [(number, json.loads(tags) if isinstance(tags, str) else tags) for number, tags in rows]
        return [number for number, tags in sets if tags.get("user") == user]

    def close(self) -> None:
        self.ledger.close()


def is_there(url: str) -> bool:
    return url.startswith("sqlite") and Path(ledgers.path_of(url)).exists()


def measure(
    small: Store, large: Store, rounds: int, only: str = "", until: float = float("inf")
) -> list[dict[str, Any]]:
    """Every question with `only` in its name, in turns on both; those that come up after `until` are left out, and
    once half of the time is over each is asked twice."""
    half = time.monotonic() + (until - time.monotonic()) / 2
    of_small = [one for one in (*QUESTIONS, *pages(small.ledger)) if only in one.name]
    of_large = [one for one in (*QUESTIONS, *pages(large.ledger)) if only in one.name]
    scans: dict[str, float | None] = {}
    rows: list[dict[str, Any]] = []
    for small_one, large_one in zip(of_small, of_large, strict=True):
        if time.monotonic() > until:
            rows.append({"question": large_one.name, "left_out": "no time left"})
            print(f"{large_one.name}: no time left", file=sys.stderr)
            continue
        failed, first = _first(small_one, small)
        if not failed:
            failed, first = _first(large_one, large)
        if failed:
            rows.append({"question": large_one.name, "failed": failed})
            print(f"{large_one.name}: {failed}", file=sys.stderr)
            continue
        took: dict[str, list[float]] = {"small": [], "large": []}
        most = rounds if time.monotonic() < half else 1
        while len(took["large"]) < most and sum(took["large"]) < ENOUGH_SECONDS:
            took["small"].append(small.seconds(small_one))
            took["large"].append(large.seconds(large_one))
        row: dict[str, Any] = {
            "question": large_one.name,
            "ms": _ms(min(took["large"])),
            "median": _ms(percentile(took["large"], 0.5)),
            "first_ms": _ms(first),
            "small_ms": _ms(min(took["small"])),
            "of_small": round(min(took["large"]) / min(took["small"]), 1),
        }
        if large_one.scan is not None:
            if large_one.scan not in scans:
                scans[large_one.scan] = _scan(large, large_one.scan)
            scan = scans[large_one.scan]
            if scan is not None:
                row["scan_ms"] = _ms(scan)
                row["faster"] = round(scan / min(took["large"]), 1)
        rows.append(row)
        print(".", end="", flush=True)
    print()
    return rows


def _first(question: Question, store: Store) -> tuple[str, float]:
    """Once, so that what is loaded at the first time is: why it cannot be asked, else nothing; seconds."""
    try:
        return "", store.seconds(question)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300], 0.0


def _scan(store: Store, name: str) -> float | None:
    """None where it took longer than the server allows: the report is measured all the same."""
    try:
        return store.scan(name)
    except Exception as error:
        print(f"scan {name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        return None


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def sizes(url: str) -> dict[str, Any]:
    """Bytes for each row of the entries in SQLite: the table, each of its indexes, and beside them the rollups."""
    connection = sqlite3.connect(ledgers.path_of(url))
    (rows,) = connection.execute("SELECT count(*) FROM costguard_entries").fetchone()
    of_table = dict(connection.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type IN ('table', 'index')"))
    parts: dict[str, float] = {}
    others: dict[str, float] = {}
    for name, size in connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
        into = parts if of_table.get(name) == "costguard_entries" else others
        into[name] = round(size / rows, 2)
    connection.close()
    return {
        "bytes_a_row": round(sum(parts.values()), 1),
        "parts": parts,
        "beside": {name: size for name, size in others.items() if size > 0.05},
    }
