"""Marks on many rows of the outbox in one transaction: forty that were told in one message are told all or none.

With a transaction for each, under load, the lease of the last ones could end before they are marked, and another worker
would tell them again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from costguard.ledger.base import Ledger, Parcel
from costguard.ledger.driver import Execute
from costguard.ledger.outbox import DELIVERED, GIVEN_UP
from costguard.ledger.sql import SqlLedger

Wait = tuple[Parcel, int, str]
"""A parcel, until when it waits (nanoseconds since 1970), and why."""


def mark(ledger: Ledger, told: Sequence[Parcel], waiting: Sequence[Wait], now_ns: int) -> None:
    """`Ledger.delivered` for these, and `Ledger.postpone` for those. Raises StoreUnavailable."""
    store: Any = ledger
    while (inner := getattr(store, "inner", None)) is not None:
        store = inner
    if isinstance(store, SqlLedger):
        if told or waiting:
            store._driver.transact(_mark, store._outbox, told, waiting, now_ns)
        return
    for parcel in told:
        store.delivered(parcel, now_ns)
    for parcel, until_ns, error in waiting:
        store.postpone(parcel, until_ns, error)


def _mark(execute: Execute, outbox: Any, told: Sequence[Parcel], waiting: Sequence[Wait], now_ns: int) -> None:
    # In the order of the ids: two that mark the same rows wait for each other, and never crosswise.
    for parcel in sorted(told, key=lambda one: one.id):
        values = (DELIVERED, now_ns // 1000, json.dumps(parcel.delivered), None, parcel.id, GIVEN_UP)
        execute(outbox._finish, values)
    for parcel, until_ns, error in sorted(waiting, key=lambda one: one[0].id):
        execute(
            outbox._postpone, (until_ns // 1000, json.dumps(parcel.delivered), error[:500], parcel.id, parcel.tries)
        )
