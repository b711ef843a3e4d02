"""The statements of the holds: money set aside for running calls, and charged when they are lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from costguard.budgets import Limit
from costguard.events import Entry
from costguard.ledger.balances import Balances, read_keys
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.lost import lost_entry
from costguard.ledger.record import INSERT, write_entry
from costguard.tags import Tags

MOST = 500
"""Holds charged in one transaction, so that it stays a short one."""


class Holds:
    def __init__(self, driver: Driver, balances: Balances) -> None:
        self._balances = balances
        text = driver.text
        self._insert = text(
            "INSERT INTO costguard_holds (call_id, amount, expires, at, model_id, tags_id, streamed, keys) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call_id) DO NOTHING"
        )
        self._delete = text("DELETE FROM costguard_holds WHERE call_id = ? RETURNING amount, keys")
        self._expired = text(
            "SELECT h.call_id, h.amount, h.at, h.model_id, h.tags_id, h.streamed, h.keys, "
            "m.provider, m.model, m.operation, t.tags FROM costguard_holds h "
            "JOIN costguard_models m ON m.id = h.model_id JOIN costguard_tag_sets t ON t.id = h.tags_id "
            "WHERE h.expires <= ? ORDER BY h.expires, h.call_id"
        )
        self._insert_entry = text(INSERT)
        self._find = text("SELECT amount FROM costguard_holds WHERE call_id = ?")

    def add(self, execute: Execute, row: Sequence[Any]) -> bool:
        """False if this call has its hold already."""
        return execute(self._insert, row).rowcount == 1

    def amount(self, execute: Execute, call_id: bytes) -> int | None:
        """What this call holds, None if nothing was taken for it."""
        row = execute(self._find, (call_id,)).fetchone()
        return None if row is None else int(row[0])

    def take_away(self, execute: Execute, call_id: bytes) -> tuple[int, str] | None:
        """Delete a hold; its amount and the keys of its balances, which are left as they are."""
        row: tuple[int, str] | None = execute(self._delete, (call_id,)).fetchone()
        return row

    def expired(self, execute: Execute, now_ns: int, *, on: Sequence[Limit] | None = None) -> list[Sequence[Any]]:
        """The holds that have expired, at most `MOST`; only those on these limits."""
        rows = execute(self._expired, (now_ns // 1000,)).fetchall()
        if on is not None:
            wanted = {limit.key for limit in on}
            rows = [row for row in rows if not wanted.isdisjoint(read_keys(row[6]))]
        return rows[:MOST]

    def charge(self, execute: Execute, rows: Sequence[Sequence[Any]], now_ns: int) -> list[Entry]:
        """Turn these holds into entries of status `lost`.

        All the holds first, then the entries, then the balances by key: in this order everybody takes
        their locks, and two never wait for each other.
        """
        # Another process may have been faster: what is gone is not charged.
        rows = [row for row in rows if self.take_away(execute, row[0]) is not None]
        charged: list[Entry] = []
        moves: list[tuple[Limit, int, int]] = []
        for row in rows:
            entry = _lost(row)
            _, amount, _, model_id, tags_id, _, keys, *_ = row
            added = execute(self._insert_entry, write_entry(entry, model_id, tags_id, None, keys)).rowcount == 1
            limits = self._balances.limits(execute, keys)
            moves += [(limit, -amount, amount if added else 0) for limit in limits]
            charged += [entry] if added else []
        for limit, held, spent in sorted(moves, key=lambda move: move[0].key):
            self._balances.move(execute, (limit,), held, spent, now_ns)
        return charged


def _lost(row: Sequence[Any]) -> Entry:
    call_id, amount, at, _, _, streamed, _, provider, model, operation, tags = row
    return lost_entry(
        str(UUID(bytes=bytes(call_id))), at * 1000, provider, model, operation,
        streamed=bool(streamed), tags=Tags(json.loads(tags) if isinstance(tags, str) else tags), amount=amount,
    )  # fmt: skip
