"""The statements of the holds: money set aside for running calls, and charged when they are lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

from costguard.budgets import Limit
from costguard.events import Entry
from costguard.ledger.balances import Balances
from costguard.ledger.base import LEASE
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.keys import read_keys, write_keys
from costguard.ledger.lost import lost_entry
from costguard.ledger.moves import Moves
from costguard.ledger.record import LOST, insert, write_entry
from costguard.ledger.rollups import ROLLED, Rolls
from costguard.tags import Tags

MOST = 500
"""Holds charged in one transaction, so that it stays a short one."""


_ID = itemgetter(0)


class Holds:
    """rolls:   begins the changes of the rollups in a transaction
    crossed: what was charged has passed marks; taken back by whoever tells of it"""

    def __init__(self, driver: Driver, balances: Balances, rolls: Callable[[Execute], Rolls]) -> None:
        self._balances = balances
        self._rolls = rolls
        self._bulk = driver.bulk
        self.crossed = False
        text = driver.text
        self._insert = text(
            "INSERT INTO costguard_holds (call_id, amount, expires, at, model_id, tags_id, streamed, keys) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call_id) DO NOTHING"
        )
        self._delete = text("DELETE FROM costguard_holds WHERE call_id = ? RETURNING amount, keys")
        self._delete_known = text("DELETE FROM costguard_holds WHERE call_id = ? AND amount = ? AND keys = ?")
        self._expired = text(
            "SELECT h.call_id, h.amount, h.at, h.model_id, h.tags_id, h.streamed, h.keys, "
            "m.provider, m.model, m.operation, t.tags FROM costguard_holds h "
            "JOIN costguard_models m ON m.id = h.model_id JOIN costguard_tag_sets t ON t.id = h.tags_id "
            "WHERE h.expires <= ? ORDER BY h.expires, h.call_id"
        )
        self._insert_entry = text(insert(packs=driver.packs))
        self._take_expired = text(
            "DELETE FROM costguard_holds WHERE call_id = ? AND expires <= ? RETURNING amount, keys"
        )
        rolled = ", ".join(ROLLED)
        self._forget = text(
            f"DELETE FROM costguard_entries WHERE call_id = ? AND status = {LOST} RETURNING cost, keys, {rolled}"
        )
        self._charged = text(f"SELECT {rolled} FROM costguard_entries WHERE call_id = ? AND status = {LOST}")
        self._lower = text(f"UPDATE costguard_entries SET cost = ?, keys = ? WHERE call_id = ? AND status = {LOST}")
        self._find = text("SELECT 1 FROM costguard_holds WHERE call_id = ?")

    def add(self, execute: Execute, row: Sequence[Any]) -> bool:
        """False if this call has its hold already."""
        return execute(self._insert, row).rowcount == 1

    def exists(self, execute: Execute, call_id: bytes) -> bool:
        return execute(self._find, (call_id,)).fetchone() is not None

    def take_away(self, execute: Execute, call_id: bytes) -> tuple[int, str] | None:
        """Delete a hold; its amount and keys (see `read_keys`). Its balances are left as they are."""
        row: tuple[int, str] | None = execute(self._delete, (call_id,)).fetchone()
        return row

    def take_away_known(self, execute: Execute, call_id: bytes, amount: int, keys: str) -> bool:
        """Delete a hold if it is as said: for less than half of what it costs to hear how it is."""
        return execute(self._delete_known, (call_id, amount, keys)).rowcount == 1

    def give_back(self, execute: Execute, call_id: bytes) -> bool:
        """Delete a hold, or what it was charged as, and give its balances what there was of it."""
        moves = Moves()
        freed = self.take_away(execute, call_id)
        if freed is not None:
            for key, amount in read_keys(freed[1], freed[0]).items():
                moves.hold(key, -amount)
        else:
            charged = execute(self._forget, (call_id,)).fetchone()
            if charged is None:
                return False
            for key, amount in read_keys(charged[1] or "", charged[0] or 0).items():
                moves.unspend(key, amount)
            rolls = self._rolls(execute)
            rolls.gone(charged[2:])
        self._balances.move(execute, moves)
        if freed is None:
            self._bulk.roll(execute, rolls)
        return True

    def shrink(self, execute: Execute, lease: bytes, by: int) -> int:
        """Give back a part of a lease, which is on one balance; how much it was."""
        held = self._bulk.holds(execute, [lease]).get(lease)
        given = 0 if held is None else min(held[0], by)
        if held is not None and given:
            self._bulk.draw(execute, {lease: given})
            moves = Moves()
            moves.hold(held[1], -given)
            self._balances.move(execute, moves)
        return given

    def lower(self, execute: Execute, lease: bytes, charge: int, keys: str, rolls: Rolls, *, money: bool) -> None:
        """What is left of the charge for a lost lease, which is on one balance."""
        if not charge:
            gone = execute(self._forget, (lease,)).fetchone()
            if gone is not None:
                rolls.gone(gone[2:])
        elif money:
            before = execute(self._charged, (lease,)).fetchone()
            if before is not None:
                execute(self._lower, (charge, keys, lease))
                rolls.gone(before)
                rolls.come([charge if name == "cost" else each for name, each in zip(ROLLED, before, strict=True)])
        else:
            (key,) = read_keys(keys, 0)
            execute(self._lower, (None, write_keys({key: charge}), lease))

    def expired(self, execute: Execute, now_ns: int, *, on: Sequence[Limit] | None = None) -> list[Sequence[Any]]:
        """The holds that have expired, at most `MOST`; only those on these limits."""
        rows = execute(self._expired, (now_ns // 1000,)).fetchall()
        if on is not None:
            wanted = {limit.key for limit in on}
            rows = [row for row in rows if not wanted.isdisjoint(read_keys(row[6], 0))]
        return rows[:MOST]

    def charge(self, execute: Execute, rows: Sequence[Sequence[Any]], now_ns: int) -> list[Entry]:
        """Turn these holds into entries of status `lost`.

        All the holds first, then the entries, then the balances by key: in this order everybody takes
        their locks, and two never wait for each other.
        """
        # Another process may have been faster, or an owner has extended it: what is not there as read is not charged.
        taken = {
            row[0]: execute(self._take_expired, (row[0], now_ns // 1000)).fetchone() for row in sorted(rows, key=_ID)
        }
        moves, rolls = Moves(), self._rolls(execute)
        charged: list[Entry] = []
        for row in rows:
            held = taken[row[0]]
            if held is None:
                continue
            amount, keys = held
            amounts = read_keys(keys, amount)
            for key, part in amounts.items():
                moves.hold(key, -part)
            limits = self._balances.limits(execute, amounts)
            if row[7:10:2] == LEASE:
                if not amount:
                    continue
                if any(limit.unit != "usd" for limit in limits):
                    # Tokens or calls are no money: the entry has no cost, its keys say what it was charged with.
                    keys, amount = write_keys(amounts), 0
            entry = _lost(row, amount)
            _, _, _, model_id, tags_id, *_ = row
            written = write_entry(entry, model_id, tags_id, None, keys)
            if execute(self._insert_entry, written).rowcount == 1:
                rolls.written(written)
                for limit in limits:
                    moves.spend(limit, amounts[limit.key], now_ns)
                charged.append(entry)
        self.crossed |= bool(self._balances.move(execute, moves))
        self._bulk.roll(execute, rolls)
        return charged


def _lost(row: Sequence[Any], amount: int) -> Entry:
    call_id, _, at, _, _, streamed, _, provider, model, operation, tags = row
    return lost_entry(
        str(UUID(bytes=bytes(call_id))), at * 1000, provider, model, operation,
        streamed=bool(streamed), tags=Tags(json.loads(tags) if isinstance(tags, str) else tags), amount=amount,
    )  # fmt: skip
