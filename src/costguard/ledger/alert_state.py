"""What scheduled rules remember, so that any number of workers tell each thing once, and counts of what no entry shows.

None of it is in the path of a call. A rule is looked at by whoever claims it, at moments ("ticks") that are the same
for all workers; a worker that dies holds it until its lease ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from costguard.ledger.base import Ledger
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.sql import SqlLedger

BUCKET_NS = 300 * 10**9
"""Counts are kept for each five minutes."""

_CHANNEL = "channel: "


@dataclass(slots=True)
class Turn:
    """A rule that is this worker's to look at.

    done_ns: up to when it was looked at; the moment of the claim where it never was
    memory:  what it remembers, plain JSON values
    lease:   tells this claim from that of another worker
    """

    rule: str
    done_ns: int
    memory: dict[str, Any]
    lease: int
    first: bool = field(default=False)


@dataclass(frozen=True, slots=True)
class Count:
    """So many of `name` in the bucket that begins at `at_ns`; `subject`: plain JSON values that say of whom."""

    name: str
    at_ns: int
    subject: str
    count: int

    @property
    def about(self) -> dict[str, Any]:
        found = json.loads(self.subject)
        return found if isinstance(found, dict) else {}


class AlertState(Protocol):
    """Thread-safe. Raises StoreUnavailable."""

    def claim(self, rule: str, tick_ns: int, now_ns: int, lease_ns: int) -> Turn | None:
        """The turn of a rule that was not looked at up to this tick yet, unless another worker is at it."""
        ...

    def finish(self, turn: Turn, tick_ns: int, memory: Mapping[str, Any]) -> bool:
        """It was looked at up to this tick. False if the lease had ended and another worker has it."""
        ...

    def count(self, counts: Iterable[Count]) -> None:
        """Add these to what is counted, in one transaction."""
        ...

    def counts(self, name: str, since_ns: int, until_ns: int) -> list[Count]:
        """Of the buckets that begin in this time, oldest first."""
        ...

    def forget(self, before_ns: int) -> None:
        """Drop counts of buckets that began earlier."""
        ...

    def pause(self, channel: str, until_ns: int) -> None:
        """A channel of this name has said until when it wants no more; all workers are to know."""
        ...

    def pauses(self, now_ns: int) -> dict[str, int]:
        """Until when the channels want no more that have said so."""
        ...


class MemoryAlertState:
    def __init__(self) -> None:
        self._lock = Lock()
        self._rules: dict[str, list[Any]] = {}
        self._counts: dict[tuple[int, str, str], int] = {}
        self._pauses: dict[str, int] = {}
        self._claims = 0

    def claim(self, rule: str, tick_ns: int, now_ns: int, lease_ns: int) -> Turn | None:
        with self._lock:
            first = rule not in self._rules
            row = self._rules.setdefault(rule, [0, 0, 0, "{}"])
            if row[0] >= tick_ns or row[1] > now_ns:
                return None
            self._claims += 1
            row[1:3] = now_ns + lease_ns, self._claims
            return Turn(rule, row[0], json.loads(row[3]), self._claims, first or row[0] == 0)

    def finish(self, turn: Turn, tick_ns: int, memory: Mapping[str, Any]) -> bool:
        with self._lock:
            row = self._rules[turn.rule]
            if row[2] != turn.lease:
                return False
            row[0], row[1], row[3] = tick_ns, 0, json.dumps(dict(memory))
            return True

    def count(self, counts: Iterable[Count]) -> None:
        with self._lock:
            for one in counts:
                key = (one.at_ns, one.name, one.subject)
                self._counts[key] = self._counts.get(key, 0) + one.count

    def counts(self, name: str, since_ns: int, until_ns: int) -> list[Count]:
        with self._lock:
            found = sorted(self._counts.items())
        return [
            Count(of, at, subject, count)
            for (at, of, subject), count in found
            if of == name and since_ns <= at < until_ns
        ]

    def forget(self, before_ns: int) -> None:
        with self._lock:
            self._counts = {key: count for key, count in self._counts.items() if key[0] >= before_ns}

    def pause(self, channel: str, until_ns: int) -> None:
        with self._lock:
            self._pauses[channel] = max(until_ns, self._pauses.get(channel, 0))

    def pauses(self, now_ns: int) -> dict[str, int]:
        with self._lock:
            return {channel: until for channel, until in self._pauses.items() if until > now_ns}


class SqlAlertState:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        text = driver.text
        self._know = text("INSERT INTO costguard_alert_rules (rule) VALUES (?) ON CONFLICT (rule) DO NOTHING")
        self._claim = text(
            "UPDATE costguard_alert_rules SET until = ?, lease = lease + 1 "
            "WHERE rule = ? AND done < ? AND until <= ? RETURNING done, memory, lease"
        )
        self._finish = text(
            "UPDATE costguard_alert_rules SET done = ?, until = 0, memory = ? WHERE rule = ? AND lease = ?"
        )
        self._count = text(
            "INSERT INTO costguard_alert_counts (at, name, subject, count) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (at, name, subject) DO UPDATE SET count = costguard_alert_counts.count + excluded.count"
        )
        self._counts = text(
            "SELECT at, subject, count FROM costguard_alert_counts WHERE name = ? AND at >= ? AND at < ? "
            "ORDER BY at, subject"
        )
        self._forget = text("DELETE FROM costguard_alert_counts WHERE at < ?")
        # A row among those of the rules, whose texts begin otherwise.
        self._pause = text(
            "INSERT INTO costguard_alert_rules (rule, until) VALUES (?, ?) ON CONFLICT (rule) DO UPDATE SET "
            "until = excluded.until WHERE costguard_alert_rules.until < excluded.until"
        )
        self._pauses = text(
            f"SELECT rule, until FROM costguard_alert_rules WHERE until > ? AND substr(rule, 1, {len(_CHANNEL)}) = "
            f"'{_CHANNEL}'"
        )

    def claim(self, rule: str, tick_ns: int, now_ns: int, lease_ns: int) -> Turn | None:
        values = ((now_ns + lease_ns) // 1000, rule, tick_ns // 1000, now_ns // 1000)
        row = self._driver.transact(self._take, rule, values)
        if row is None:
            return None
        done, memory, lease = row
        return Turn(rule, done * 1000, json.loads(memory), lease, not done)

    def _take(self, execute: Execute, rule: str, values: tuple[Any, ...]) -> Any:
        execute(self._know, (rule,))
        return execute(self._claim, values).fetchone()

    def finish(self, turn: Turn, tick_ns: int, memory: Mapping[str, Any]) -> bool:
        values = (tick_ns // 1000, json.dumps(dict(memory), separators=(",", ":")), turn.rule, turn.lease)
        return self._driver.transact(lambda execute: execute(self._finish, values).rowcount == 1)

    def count(self, counts: Iterable[Count]) -> None:
        # In one order, so that two workers do not wait for each other.
        rows = sorted([(one.at_ns // 1000, one.name, one.subject, one.count) for one in counts])
        if rows:
            self._driver.transact_once(self._add, rows)

    def _add(self, execute: Execute, rows: list[tuple[Any, ...]]) -> None:
        for row in rows:
            execute(self._count, row)

    def counts(self, name: str, since_ns: int, until_ns: int) -> list[Count]:
        values = (name, since_ns // 1000, until_ns // 1000)
        rows = self._driver.read(lambda execute: execute(self._counts, values).fetchall())
        return [Count(name, at * 1000, subject, count) for at, subject, count in rows]

    def forget(self, before_ns: int) -> None:
        self._driver.transact(lambda execute: execute(self._forget, (before_ns // 1000,)).rowcount)

    def pause(self, channel: str, until_ns: int) -> None:
        values = (_CHANNEL + channel, until_ns // 1000)
        self._driver.transact(lambda execute: execute(self._pause, values).rowcount)

    def pauses(self, now_ns: int) -> dict[str, int]:
        rows = self._driver.read(lambda execute: execute(self._pauses, (now_ns // 1000,)).fetchall())
        return {rule.removeprefix(_CHANNEL): until * 1000 for rule, until in rows}


_states: WeakKeyDictionary[Ledger, AlertState] = WeakKeyDictionary()


def alert_state(ledger: Ledger) -> AlertState:
    """That of the store below all that wraps it, or of a wrapper that has one of its own."""
    while (inner := getattr(ledger, "inner", None)) is not None:
        own: AlertState | None = getattr(ledger, "alert_state", None)
        if own is not None:
            return own
        ledger = inner
    found = _states.get(ledger)
    if found is None:
        made = SqlAlertState(ledger._driver) if isinstance(ledger, SqlLedger) else MemoryAlertState()
        found = _states.setdefault(ledger, made)
    return found
