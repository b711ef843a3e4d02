"""How far spending can have passed a limit because calls cost more than was held for them.

In `strict` holds that does not happen; in `learned` it is the price of not refusing wrongly, and it is told.
"""

from __future__ import annotations

import logging
import os
from decimal import Decimal
from threading import Lock
from weakref import WeakSet

from costguard.errors import StoreUnavailable
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from costguard.money import exact_sum
from costguard.refusals import amount_of

log = logging.getLogger("costguard")

_sums: WeakSet[Overshoot] = WeakSet()


class Overshoot:
    """Adds up, for the calls of this process, what they cost beyond their hold while their limit was used up.

    An upper bound: what was spent and held beyond a limit at that moment may have been covered later, by calls
    that cost less than was held for them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._nanos = 0
        self._by_budget: dict[str, Decimal] = {}
        self.forked()
        _sums.add(self)

    def forked(self) -> None:
        """In a child process, where the thread that may have held the lock is not."""
        self._lock = Lock()

    def add(self, entry: Entry, hold: Hold) -> None:
        """A settled call that cost more than its hold."""
        if self.from_ledger is not None:
            return
        limits = [limit for limit in hold.limits if limit.refuses and entry.on(limit) > hold.on(limit)]
        if not limits:
            return
        try:
            balances = self._ledger.balances(limits)
        except StoreUnavailable as error:
            log.warning("what call %s cost beyond its hold is taken for overshoot: %s", entry.call_id, error)
            balances = [(limit.most, entry.on(limit)) for limit in limits]
        beyond = []
        for limit, (spent, held) in zip(limits, balances, strict=True):
            most = min(entry.on(limit) - hold.on(limit), spent + held - limit.most)
            if most > 0:
                beyond.append((limit, most))
        if not beyond:
            return
        with self._lock:
            for limit, most in beyond:
                title = limit.budget.title
                self._by_budget[title] = exact_sum((self._by_budget.get(title, Decimal(0)), amount_of(limit, most)))
            self._nanos += max((most for limit, most in beyond if limit.unit == "usd"), default=0)

    @property
    def from_ledger(self) -> int | None:
        """Leases know it themselves, as they are drawn in this process: what was drawn beyond them."""
        nanos = getattr(self._ledger, "overshoot", None)
        return nanos if isinstance(nanos, int) else None

    @property
    def nanos(self) -> int:
        """Nano-dollars; of a call that passed several limits, the most it passed one by."""
        known = self.from_ledger
        return self._nanos if known is None else known

    @property
    def by_budget(self) -> dict[str, Decimal]:
        """By the title of the budget, in its unit."""
        known = getattr(self._ledger, "overshoots", None)
        if isinstance(known, dict):
            return {title: amount_of(limit, most) for title, (limit, most) in known.items()}
        with self._lock:
            return dict(self._by_budget)


def _after_fork() -> None:
    for each in list(_sums):
        each.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
