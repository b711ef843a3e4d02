"""The stores that the proofs run over, and their books read with SQL of our own, past the library."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from costguard import Guard
from costguard.ledger.base import Ledger
from costguard.ledger.record import STATUSES
from costguard.ledger.stack import build

ALL = ("memory", "sqlite", "postgres", "valkey", "leases")
"""Leases are those over PostgreSQL; there is "leases-sqlite" too."""


@dataclass(frozen=True)
class Place:
    """Where a proof keeps its books; plain values, so that it can be told to another process.

    engine:   "direct" (each call in the store) or "leases" (over the journal over the store)
    balances: URL of a Valkey, where the balances are in one
    journal:  folder of the journals of all processes
    """

    name: str
    url: str
    engine: str = "direct"
    balances: str | None = None
    journal: str | None = None

    @property
    def address(self) -> str:
        """The URL without the library's own options."""
        return re.split(r"[?&](?=pool_size|patience)", self.url)[0]

    def on_host(self, number: int) -> Place:
        """The same store as one of several hosts uses it, with a disk of its own."""
        return replace(self, journal=f"{self.journal}-{number}")

    def ledger(self) -> Ledger:
        """As a guard builds it."""
        ledger = build(self.url, engine=self.engine, journal=self.journal, balances=self.balances)  # type: ignore[arg-type]
        ledger.open()
        return ledger

    def guard(self, ledger: Ledger | None = None, **options: Any) -> Guard:
        """`ledger` is this place's in the hands of somebody else."""
        if ledger is not None:
            return Guard(ledger, **options)
        return Guard(self.url, engine=self.engine, journal=self.journal, balances=self.balances, **options)  # type: ignore[arg-type]


def place(name: str, folder: Path) -> Place:
    """A new, empty one, in a folder of its own. Starts the server it needs, which ends with this process."""
    if name == "memory":
        return Place(name, "memory://")
    journal = f"{folder}/journal"
    engine = "leases" if name.startswith("leases") else "direct"
    if name in ("sqlite", "leases-sqlite"):
        return Place(name, f"sqlite:///{folder}/costs.db", engine, journal=journal)
    from tests.ledger import postgres, valkey

    if name in ("postgres", "leases"):
        return Place(name, postgres.server().database(), engine, journal=journal)
    if name == "valkey":
        return Place(name, postgres.server().database(), engine, valkey.server().url(), journal)
    raise ValueError(f"no store {name!r}; there are {', '.join(ALL)}")


@dataclass
class Row:
    """An entry as it is in the table.

    keys: of the balances that a lost one was charged to
    """

    call_id: str
    cost: int | None
    status: str
    tags: dict[str, str]
    response_id: str | None
    provider: str
    keys: list[str]

    @property
    def is_lease(self) -> bool:
        """What a dead process had leased of one limit and not spent: no call's cost."""
        return self.provider == "costguard"


@dataclass
class Books:
    """What is in the tables of a store, added up here and not by the library; nano-dollars.

    spent, held: of the balance of each payer, told as "user=alice" ("" is everyone)
    on_hold:     what the rows of the holds, and of the leases, add up to for each
    payers:      the payer of each balance's key
    """

    rows: list[Row] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    on_hold: dict[str, int] = field(default_factory=dict)
    payers: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> list[Row]:
        return [row for row in self.rows if not row.is_lease]

    @property
    def cost(self) -> int:
        return _sum(self.calls)

    def by(self, tag: str) -> dict[str, list[Row]]:
        """The calls."""
        found: dict[str, list[Row]] = {}
        for row in self.calls:
            found.setdefault(row.tags.get(tag, ""), []).append(row)
        return found

    def leased(self, payer: str) -> int:
        """What of this payer's budget was leased by processes that died, and charged."""
        return self.leases().get(payer, 0)

    def leases(self) -> dict[str, int]:
        """The same of each payer."""
        found: dict[str, int] = {}
        for row in self.rows:
            if row.is_lease:
                payer = self.payers[row.keys[0]]
                found[payer] = found.get(payer, 0) + (row.cost or 0)
        return found

    def differences(self, tag: str = "") -> list[str]:
        """Where the balances are not what the rows add up to; none is what we want.

        tag: the scope of the budgets beside the one of everyone
        """
        said = []
        wanted = {"": self.cost}
        if tag:
            wanted |= {f"{tag}={value}": _sum(rows) for value, rows in self.by(tag).items()}
        leases = self.leases()
        for payer in wanted.keys() | self.spent.keys():
            recorded, truth = self.spent.get(payer, 0), wanted.get(payer, 0) + leases.get(payer, 0)
            if recorded != truth:
                said.append(f"spent of {payer or 'everyone'} is {recorded}, its rows add up to {truth}")
        for payer in self.held.keys() | self.on_hold.keys():
            recorded, truth = self.held.get(payer, 0), self.on_hold.get(payer, 0)
            if recorded != truth:
                said.append(f"held of {payer or 'everyone'} is {recorded}, its holds add up to {truth}")
        twice = [call for call, times in Counter(row.call_id for row in self.rows).items() if times > 1]
        return said + [f"{call} is recorded twice" for call in twice]


def _sum(rows: Iterable[Row]) -> int:
    return sum(row.cost or 0 for row in rows)


_ENTRIES = """
    SELECT e.call_id, e.cost, e.status, t.tags, e.response_id, m.provider, e.keys
    FROM costguard_entries e
    JOIN costguard_tag_sets t ON t.id = e.tags_id
    JOIN costguard_models m ON m.id = e.model_id
"""


def books(place: Place) -> Books:
    """Read all tables of the store in one transaction."""
    found = Books()
    with _reading(place.address) as execute:
        for call_id, cost, status, tags, response_id, provider, keys in execute(_ENTRIES):
            read = json.loads(tags) if isinstance(tags, str) else tags
            row = Row(str(UUID(bytes=bytes(call_id))), cost, STATUSES[status], read, response_id, provider, [])
            row.keys = (keys or "").split("\n")
            found.rows.append(row)
        for key, payer, spent, held in execute("SELECT key, payer, spent, held FROM costguard_balances"):
            name = found.payers[key] = ",".join(f"{tag}={value}" for tag, value in json.loads(payer))
            found.spent[name] = found.spent.get(name, 0) + spent
            found.held[name] = found.held.get(name, 0) + held
        for amount, keys in execute("SELECT amount, keys FROM costguard_holds"):
            for key in keys.split("\n"):
                name = found.payers[key]
                found.on_hold[name] = found.on_hold.get(name, 0) + amount
    return found


@contextmanager
def _reading(url: str) -> Iterator[Any]:
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as connection:
            connection.execute("BEGIN")
            yield connection.execute
        return
    import psycopg

    with psycopg.connect(url) as server:
        server.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield server.execute
