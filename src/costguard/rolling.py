"""Marks of rolling windows that corrections have passed: they lie between several balances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.events import Crossing
from costguard.ledger.base import Ledger
from costguard.windows import window_bounds


@dataclass(slots=True)
class _Change:
    limit: Limit
    by: int


class Rolling:
    """Adds up what corrections come to in the spans of these budgets that end now."""

    def __init__(self, budgets: Iterable[Budget], now_ns: int) -> None:
        self._now_ns = now_ns
        self._budgets = [
            (budget, window_bounds(budget.window, budget.tz, now_ns, budget.span))
            for budget in budgets
            if budget.span is not None and budget.unit == "usd" and not callable(budget.limit)
        ]
        self._changes: dict[str, _Change] = {}

    def add(self, adjustments: Iterable[Adjustment]) -> None:
        for one in adjustments if self._budgets else ():
            for budget, (start, end) in self._budgets:
                if budget.counts(one.tags) and all(one.tags.value(name) == value for name, value in budget.for_):
                    limit = Limit(budget, tuple([(name, one.tags.value(name)) for name in budget.per]), start, end)
                    change = self._changes.setdefault(f"{limit.key}{budget.for_}", _Change(limit, 0))
                    if one.at_ns >= change.limit.before[0].start:
                        change.by += one.nanos

    def tell(self, ledger: Ledger) -> int:
        """Put what was passed into the outbox; how many were new."""
        told = 0
        for change in self._changes.values():
            limit = change.limit
            if change.by > 0 and limit.marks:
                after = sum(spent for spent, _ in ledger.balances([limit, *limit.before]))
                for mark, fraction in limit.marks:
                    if after - change.by < mark <= after:
                        told += ledger.tell(Crossing(limit, fraction, after, self._now_ns))
        return told
