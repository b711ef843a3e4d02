"""Alerts that people do not want to hear for a while: kept beside the ledger, with who, until when and why.

    mute(ledger, budget="$5/day per user", payer={"user": "alice"}, until_ns=..., author="ann")
    found = muted_by(mutes(ledger), parcel.payload)

A muted alert is not told, and stays in the outbox as one that was given up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.sql import SqlLedger

_COLUMNS = "id, kind, budget, payer, until, author, reason, created, removed, removed_by"


@dataclass(frozen=True, slots=True)
class Mute:
    """What is not told. Each of `kind`, `budget` and `payer` that is empty covers all.

    kind:     of an alert, such as "budget", "burn" or "digest"
    budget:   the rule of a budget, or its name; of an alert that a rule makes, the rule's text or name
    payer:    tag values that the alert's payer has
    until_ns: when it ends; None: when somebody ends it
    """

    id: int
    kind: str
    budget: str
    payer: Mapping[str, str]
    until_ns: int | None
    author: str
    reason: str
    created_ns: int
    removed_ns: int | None = field(default=None)
    removed_by: str | None = field(default=None)

    def covers(self, payload: Mapping[str, Any]) -> bool:
        """Whether the alert of this outbox payload is meant."""
        facts = payload.get("facts") or {}
        names = {payload.get("budget"), payload.get("name"), facts.get("rule"), facts.get("budget"), facts.get("name")}
        payer = payload.get("payer") or facts.get("payer") or {}
        return (
            self.kind in ("", payload.get("kind", "budget"))
            and (not self.budget or self.budget in names)
            and all(payer.get(name) == value for name, value in self.payer.items())
        )

    @property
    def what(self) -> str:
        """In words: "budget $5.00/day per user, user=alice"."""
        parts = [self.kind and f"kind {self.kind}", self.budget and f"budget {self.budget}"]
        parts += [f"{name}={value}" for name, value in self.payer.items()]
        return ", ".join([part for part in parts if part]) or "all alerts"


class Mutes(Protocol):
    """Where they are kept."""

    def put(self, mute: Mute) -> Mute: ...
    def take_back(self, number: int, author: str, at_ns: int) -> bool: ...
    def all(self) -> list[Mute]: ...


def mute(
    ledger: Ledger,
    *,
    author: str,
    until_ns: int | None,
    kind: str = "",
    budget: str = "",
    payer: Mapping[str, str] | None = None,
    reason: str = "",
    now_ns: int | None = None,
) -> Mute:
    """Mute alerts from now on. Raises ConfigError for an end that is past or no author, StoreUnavailable."""
    now = time.time_ns() if now_ns is None else now_ns
    if until_ns is not None and until_ns <= now:
        raise ConfigError("a mute ends in the future; give a later end, such as 2h")
    # In whole microseconds, as stores keep them.
    end = None if until_ns is None else until_ns // 1000 * 1000
    return _kept(ledger).put(Mute(0, kind, budget, dict(payer or {}), end, _by(author), reason, now // 1000 * 1000))


def unmute(ledger: Ledger, number: int, author: str, *, now_ns: int | None = None) -> Mute:
    """Tell again what was muted. Raises ConfigError if there is no such mute in force, StoreUnavailable."""
    now = time.time_ns() if now_ns is None else now_ns
    kept = _kept(ledger)
    found = [one for one in mutes(ledger, now_ns=now) if one.id == number]
    if not found or not kept.take_back(number, _by(author), now):
        raise ConfigError(f"no mute {number} is in force; see them with: costguard alerts list")
    return replace(found[0], removed_ns=now, removed_by=_by(author))


def mutes(ledger: Ledger, *, history: bool = False, now_ns: int | None = None) -> list[Mute]:
    """Those in force, oldest first; with `history` the past ones too. Raises StoreUnavailable."""
    now = time.time_ns() if now_ns is None else now_ns
    found = _kept(ledger).all()
    return [
        one
        for one in found
        if history or (one.removed_ns is None and (one.until_ns is None or one.until_ns > now))
    ]  # fmt: skip


def muted_by(those: Iterable[Mute], payload: Mapping[str, Any]) -> Mute | None:
    """The first of these mutes that covers the alert of an outbox payload; None if it is to be told."""
    return next((one for one in those if one.covers(payload)), None)


class MemoryMutes:
    def __init__(self) -> None:
        self._lock = Lock()
        self._all: list[Mute] = []

    def put(self, mute: Mute) -> Mute:
        with self._lock:
            self._all.append(replace(mute, id=len(self._all) + 1))
            return self._all[-1]

    def take_back(self, number: int, author: str, at_ns: int) -> bool:
        with self._lock:
            for place, one in enumerate(self._all):
                if one.id == number and one.removed_ns is None:
                    self._all[place] = replace(one, removed_ns=at_ns, removed_by=author)
                    return True
            return False

    def all(self) -> list[Mute]:
        with self._lock:
            return list(self._all)


class SqlMutes:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._put = driver.text(
            "INSERT INTO costguard_mutes (kind, budget, payer, until, author, reason, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id"
        )
        self._take_back = driver.text(
            "UPDATE costguard_mutes SET removed = ?, removed_by = ? WHERE id = ? AND removed IS NULL"
        )

    def put(self, mute: Mute) -> Mute:
        until = None if mute.until_ns is None else mute.until_ns // 1000
        payer = json.dumps(dict(mute.payer), separators=(",", ":"), ensure_ascii=False)
        row = (mute.kind, mute.budget, payer, until, mute.author, mute.reason, mute.created_ns // 1000)
        # What nobody knows whether it was done is done again: two of the same mute do no more than one.
        return replace(mute, id=self._driver.transact(lambda execute: int(execute(self._put, row).fetchone()[0])))

    def take_back(self, number: int, author: str, at_ns: int) -> bool:
        values = (at_ns // 1000, author, number)
        return self._driver.transact(lambda execute: execute(self._take_back, values).rowcount == 1)

    def all(self) -> list[Mute]:
        return [_read(row) for row in self._driver.read(_select)]


def _select(execute: Execute) -> list[Any]:
    return execute(f"SELECT {_COLUMNS} FROM costguard_mutes ORDER BY id", ()).fetchall()


def _read(row: Any) -> Mute:
    number, kind, budget, payer, until, author, reason, created, removed, removed_by = row
    ns: Callable[[int | None], int | None] = lambda at: None if at is None else at * 1000  # noqa: E731
    return Mute(
        number, kind, budget, json.loads(payer), ns(until), author, reason, created * 1000, ns(removed), removed_by
    )


_all_kept: WeakKeyDictionary[Ledger, Mutes] = WeakKeyDictionary()


def _kept(ledger: Ledger) -> Mutes:
    """Those of the store below all that wraps it."""
    while (inner := getattr(ledger, "inner", None)) is not None:
        ledger = inner
    found = _all_kept.get(ledger)
    if found is None:
        made = SqlMutes(ledger._driver) if isinstance(ledger, SqlLedger) else MemoryMutes()
        found = _all_kept.setdefault(ledger, made)
    return found


def _by(author: str) -> str:
    name = " ".join(author.split())
    if not name:
        raise ConfigError("a mute has an author; give a name")
    return name
