"""Alerts that people do not want to hear for a while: kept beside the ledger, with who, until when and why.

    mute(ledger, budget="$5/day per user", payer={"user": "alice"}, until_ns=..., author="ann")
    found = muted_by(mutes(ledger), parcel.payload)

A muted alert is not told, and stays in the outbox as one that was given up. Who mutes what is in the audit trail.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Lock
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakKeyDictionary, ref

from costguard.errors import ConfigError
from costguard.ledger.acts import act, write_down
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.sql import SqlLedger
from costguard.windows import LONGEST_SPAN

_LONGEST_NS = LONGEST_SPAN // timedelta(microseconds=1) * 1000
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
    """Where they are kept, and written down in the same transaction."""

    def put(self, mute: Mute, deed: Deed) -> Mute | None:
        """None if there is a deed of this nonce."""
        ...

    def take_back(self, mute: Mute, deed: Deed) -> bool: ...
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
    """Mute alerts from now on, and write it into the audit trail.

    Raises ConfigError for an end that is past or no author, StoreUnavailable.
    """
    now = time.time_ns() if now_ns is None else now_ns
    one = new_mute(author, until_ns, now, kind=kind, budget=budget, payer=payer or {}, reason=reason)
    made = mute_once(ledger, one, Deed(uuid4().hex, one.created_ns, one.author, "mute", reason))
    if made is None:
        # Of a nonce of its own: a store that lost its word of it was asked again.
        said = (one.author, one.created_ns)
        (made, *_) = [each for each in reversed(mutes(ledger, history=True)) if (each.author, each.created_ns) == said]
    return made


def new_mute(
    author: str,
    until_ns: int | None,
    now_ns: int,
    *,
    kind: str = "",
    budget: str = "",
    payer: Mapping[str, str],
    reason: str = "",
) -> Mute:
    """A mute that is not kept anywhere yet. Raises ConfigError."""
    if until_ns is not None and until_ns <= now_ns:
        raise ConfigError("a mute ends in the future; give a later end, such as 2h")
    if until_ns is not None and until_ns - now_ns > _LONGEST_NS:
        raise ConfigError(f"a mute ends within {LONGEST_SPAN.days} days; leave the end out for one that stays")
    # In whole microseconds, as stores keep them.
    end = None if until_ns is None else until_ns // 1000 * 1000
    return Mute(0, kind, budget, dict(payer), end, _by(author), reason, now_ns // 1000 * 1000)


def mute_once(ledger: Ledger, one: Mute, deed: Deed) -> Mute | None:
    """Keep this mute, unless there is a deed of this nonce already: then None. Raises StoreUnavailable."""
    return _kept(ledger).put(one, _told(deed, one))


def unmute(ledger: Ledger, number: int, author: str, *, reason: str = "", now_ns: int | None = None) -> Mute:
    """Tell again what was muted, and write it into the audit trail.

    Raises ConfigError if there is no such mute in force, StoreUnavailable.
    """
    now = time.time_ns() if now_ns is None else now_ns
    by = _by(author)
    found = [one for one in mutes(ledger, now_ns=now) if one.id == number]
    ended = replace(found[0], removed_ns=now // 1000 * 1000, removed_by=by) if found else None
    deed = Deed(uuid4().hex, now // 1000 * 1000, by, "unmute", reason, {"mute": number})
    if ended is None or not _kept(ledger).take_back(ended, _told(deed, ended)):
        raise ConfigError(f"no mute {number} is in force; see them with: costguard alerts list")
    return ended


def _told(deed: Deed, one: Mute) -> Deed:
    about = {"kind": one.kind, "budget": one.budget, "payer": dict(one.payer)}
    until = None if one.until_ns is None else one.until_ns // 10**9
    return replace(deed, details={**about, "until": until, **deed.details})


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
    def __init__(self, ledger: Ledger) -> None:
        # It keeps this one: not the other way round.
        self._ledger = ref(ledger)
        self._lock = Lock()
        self._all: list[Mute] = []

    def put(self, mute: Mute, deed: Deed) -> Mute | None:
        with self._lock:
            if self._written(deed) is not None:
                return None
            self._all.append(replace(mute, id=len(self._all) + 1))
            return self._all[-1]

    def take_back(self, mute: Mute, deed: Deed) -> bool:
        with self._lock:
            for place, one in enumerate(self._all):
                if one.id == mute.id and one.removed_ns is None:
                    self._all[place] = mute
                    self._written(deed)
                    return True
            return False

    def _written(self, deed: Deed) -> Deed | None:
        ledger = self._ledger()
        return act(ledger, deed) if isinstance(ledger, MemoryLedger) else None

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
        self._known = driver.text("SELECT 1 FROM costguard_audit WHERE nonce = ?")

    def put(self, mute: Mute, deed: Deed) -> Mute | None:
        until = None if mute.until_ns is None else mute.until_ns // 1000
        payer = json.dumps(dict(mute.payer), separators=(",", ":"), ensure_ascii=False)
        row = (mute.kind, mute.budget, payer, until, mute.author, mute.reason, mute.created_ns // 1000)
        number = self._driver.transact(self._insert, row, deed)
        return None if number is None else replace(mute, id=number)

    def _insert(self, execute: Execute, row: tuple[Any, ...], deed: Deed) -> int | None:
        if not write_down(execute, self._driver, deed):
            return None
        return int(execute(self._put, row).fetchone()[0])

    def take_back(self, mute: Mute, deed: Deed) -> bool:
        values = ((mute.removed_ns or 0) // 1000, mute.removed_by, mute.id)
        return self._driver.transact(self._end, values, deed)

    def _end(self, execute: Execute, values: tuple[Any, ...], deed: Deed) -> bool:
        if execute(self._take_back, values).rowcount == 1:
            return write_down(execute, self._driver, deed)
        # A store that lost its word of it is asked again.
        return execute(self._known, (deed.nonce,)).fetchone() is not None

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
        made = SqlMutes(ledger._driver) if isinstance(ledger, SqlLedger) else MemoryMutes(ledger)
        found = _all_kept.setdefault(ledger, made)
    return found


def _by(author: str) -> str:
    name = " ".join(author.split())
    if not name:
        raise ConfigError("a mute has an author; give a name")
    return name
