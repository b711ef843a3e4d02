"""Balances that were read a moment ago, for decisions that need no more: earlier buckets of a rolling window, and
the fractions of a limit at which a budget asks for another model or a shorter answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from costguard.budgets import Limit
from costguard.call import Call
from costguard.events import Hold
from costguard.ledger.base import Ledger

MOST_KEPT = 8192
KEPT_FOR = 1.0
"""Seconds."""

_SETTLING_NS = 60 * 10**9
"""So long after the start of a bucket, calls of the one before are often still running: it is read each time."""


class Readings:
    """Thread-safe: entries are replaced as a whole, and the store is right where two threads read at once.

    near: nothing that the ledger is made of needs a network
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._kept: dict[str, tuple[float, int, int]] = {}
        self.near = _is_near(ledger)

    def now(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        """(spent, held) of each: as it is in a near store, as it was at most a second ago in a far one."""
        return self._read(limits, 0.0 if self.near else KEPT_FOR)

    def before(self, limit: Limit, at_ns: int) -> int:
        """What the earlier buckets of a rolling limit have spent and hold, in its unit."""
        fresh = at_ns - limit.start < _SETTLING_NS
        return sum(spent + held for spent, held in self._read(limit.before, 0.0 if fresh else KEPT_FOR))

    def _read(self, limits: Sequence[Limit], age: float) -> list[tuple[int, int]]:
        kept, oldest = self._kept, time.monotonic() - age
        found = [kept.get(limit.key) for limit in limits]
        if age and all(each is not None and each[0] > oldest for each in found):
            return [(each[1], each[2]) for each in found if each is not None]
        balances = self._ledger.balances(limits)
        now = time.monotonic()
        if len(kept) > MOST_KEPT:
            kept.clear()
        for limit, (spent, held) in zip(limits, balances, strict=True):
            kept[limit.key] = (now, spent, held)
        return balances


def _is_near(ledger: Ledger) -> bool:
    """What is leased may be at hand while what it was leased from is far."""
    nothing = Hold(Call("costguard", "none"), (), 0, 0)
    layer: Any = ledger
    while layer is not None:
        if not layer.local(nothing):
            return False
        layer = getattr(layer, "inner", None)
    return True
