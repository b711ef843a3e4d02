"""Adjustments of the ledger in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.events import Entry
from costguard.ledger.adjusting import Accounts, in_force, lacking, passed
from costguard.ledger.deeds import NOTHING, Adjusted, Deed, added
from costguard.ledger.memory_outbox import MemoryOutbox


class MemoryAdjusting:
    _lock: Lock
    _limits: dict[str, Limit]
    _balances: dict[str, list[int]]
    _entries: dict[str, Entry]
    _outbox: MemoryOutbox
    _deeds: dict[str, Deed]

    def adjust(self, adjustments: Sequence[Adjustment], deed: Deed, budgets: Sequence[Budget] = ()) -> Adjusted:
        with self._lock:
            new: list[Adjustment] = []
            for one in sorted(adjustments, key=lambda one: one.call_id):
                if one.call_id not in self._entries:
                    self._entries[one.call_id] = one
                    new.append(one)
            if not new:
                return NOTHING
            accounts = Accounts([*in_force(budgets, deed.at_ns), *self._limits.values()])
            nets = accounts.nets(new)
            for limit in lacking(nets, self._balances, deed.at_ns):
                self._balance(limit)
            crossings = []
            for key, (_, by) in sorted(nets.items()):
                if key in self._balances:
                    self._balances[key][0] += by
                    crossings += passed(self._limits[key], by, self._balances[key][0], deed.at_ns)
            crossings = [one for one in crossings if self._outbox.add(one)]
            known = self._deeds.setdefault(deed.nonce, deed)
            details = added(known.details, len(new), sum(one.nanos for one in new))
            self._deeds[deed.nonce] = replace(known, details=details)
            return Adjusted(frozenset([one.call_id for one in new]), tuple(crossings))

    def _balance(self, limit: Limit) -> list[int]:
        raise NotImplementedError

    def deeds(self, *, most: int = 100) -> list[Deed]:
        with self._lock:
            return list(self._deeds.values())[::-1][:most]
