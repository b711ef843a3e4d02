"""The rows of the outbox as people see them: what waits, what was told, and what was given up, with why.

for one in parcels(ledger, ("waiting", "given up")):
    print(one.parcel.key, one.state, one.error)
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from uuid import uuid4

from costguard.errors import ConfigError
from costguard.ledger.acts import write_down
from costguard.ledger.base import Ledger, Parcel
from costguard.ledger.deeds import Deed
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.memory_outbox import MemoryOutbox
from costguard.ledger.outbox import DELIVERED, GIVEN_UP, WAITING
from costguard.ledger.sql import SqlLedger

State = Literal["waiting", "told", "given up", "muted"]
STATES: tuple[State, ...] = ("waiting", "told", "given up", "muted")

MUTED = "muted by "
"""How the error of a row begins that is not told as somebody muted it."""

UNTOLD = "!"
"""Before the name of a channel in `Parcel.delivered` that can never be told."""

_MARKS = ("!", "@", "~")
_LATER = 2**62
"""More than any id."""

_COLUMNS = "id, key, payload, created, tries, delivered, state, due, finished, error"
_STATE = (
    f"CASE WHEN state = {WAITING} THEN 'waiting' WHEN state = {DELIVERED} THEN 'told' "
    f"WHEN substr(error, 1, {len(MUTED)}) = '{MUTED}' THEN 'muted' ELSE 'given up' END"
)


@dataclass(frozen=True, slots=True)
class Posted:
    """A row of the outbox.

    due_ns:      of one that waits, when it is tried next; 0: at once. While a worker is at it, when its claim ends
    finished_ns: when it was told, given up or found muted; None while it waits
    error:       what the last try said; "" where there was nothing to say
    """

    parcel: Parcel
    state: State
    due_ns: int
    finished_ns: int | None
    error: str

    @property
    def told_by(self) -> tuple[str, ...]:
        """The channels that have told it."""
        return tuple([name for name in self.parcel.delivered if not name.startswith(_MARKS)])


def parcels(
    ledger: Ledger, states: Sequence[State] = STATES, *, most: int = 50, before: int | None = None
) -> list[Posted]:
    """The latest rows in these states, newest first; `before` is an id, for the next page. Raises StoreUnavailable."""
    store = _below(ledger)
    if isinstance(store, SqlLedger):
        return store._driver.read(partial(_select, store._driver, tuple(states), most, before or _LATER))
    if isinstance(store, MemoryLedger):
        with store._lock:
            found = [_posted(store._outbox, key) for key in reversed(store._outbox._parcels)]
        return [one for one in found if one.state in states and one.parcel.id < (before or _LATER)][:most]
    return []


def parcel_counts(ledger: Ledger) -> dict[State, int]:
    """How many rows are in each state, of all processes. Raises StoreUnavailable."""
    store = _below(ledger)
    counts = dict.fromkeys(STATES, 0)
    if isinstance(store, SqlLedger):
        query = f"SELECT {_STATE}, count(*) FROM costguard_outbox GROUP BY 1"
        counts |= store._driver.read(lambda execute: dict(execute(query, ()).fetchall()))
    elif isinstance(store, MemoryLedger):
        with store._lock:
            for key in store._outbox._parcels:
                counts[_posted(store._outbox, key).state] += 1
    return counts


def tell_again(ledger: Ledger, number: int, *, author: str, reason: str = "", now_ns: int | None = None) -> Posted:
    """Have a row tried anew that was given up or muted, by the channels that have not told it; written into the audit.

    Raises ConfigError if there is no such row, or no author; StoreUnavailable.
    """
    now = time.time_ns() if now_ns is None else now_ns
    store = _below(ledger)
    (found,) = parcels(ledger, ("given up", "muted"), most=1, before=number + 1) or (None,)
    if found is None or found.parcel.id != number:
        raise ConfigError(f"no alert {number} is given up or muted; see them with: costguard alerts list")
    again = [name for name in found.parcel.delivered if not name.startswith(UNTOLD)]
    details = {"key": found.parcel.key, "was": found.state, "error": found.error}
    deed = Deed(uuid4().hex, now, author, "tell again", reason, details)
    if isinstance(store, SqlLedger):
        # As it is tried for so long from now on.
        values = (now // 1000, json.dumps(again), number, GIVEN_UP)
        store._driver.transact(_again, store._driver, values, deed)
    elif isinstance(store, MemoryLedger):
        with store._lock:
            kept = store._outbox._parcels[found.parcel.key]
            kept.done, kept.error, kept.due_ns, kept.tries, kept.created_ns = False, "", 0, 0, now
            kept.delivered, kept.finished_ns = again, None
            store._deeds[deed.nonce] = deed
    return found


def _again(execute: Execute, driver: Driver, values: tuple[Any, ...], deed: Deed) -> None:
    query = driver.text(
        f"UPDATE costguard_outbox SET state = {WAITING}, due = 0, tries = 0, created = ?, delivered = ?, "
        "finished = NULL, error = NULL WHERE id = ? AND state = ?"
    )
    if execute(query, values).rowcount == 1:
        write_down(execute, driver, deed)


def _select(driver: Driver, states: tuple[State, ...], most: int, before: int, execute: Execute) -> list[Posted]:
    those = ", ".join([f"'{state}'" for state in STATES if state in states]) or "''"
    query = driver.text(
        f"SELECT {_COLUMNS}, {_STATE} FROM costguard_outbox WHERE id < ? AND {_STATE} IN ({those}) "
        "ORDER BY id DESC LIMIT ?"
    )
    return [
        Posted(
            Parcel(number, key, json.loads(payload), created * 1000, tries, json.loads(delivered)), state, due * 1000,
            None if finished is None else finished * 1000, error or "",
        )
        for number, key, payload, created, tries, delivered, _, due, finished, error, state in execute(
            query, (before, most)
        ).fetchall()
    ]  # fmt: skip


def _posted(outbox: MemoryOutbox, key: str) -> Posted:
    kept = outbox._parcels[key]
    state: State = "waiting"
    if kept.done:
        state = "told" if kept.told else "muted" if kept.error.startswith(MUTED) else "given up"
    return Posted(kept.parcel(), state, kept.due_ns, kept.finished_ns, kept.error)


def _below(ledger: Ledger) -> Ledger:
    while (inner := getattr(ledger, "inner", None)) is not None:
        ledger = inner
    return ledger
