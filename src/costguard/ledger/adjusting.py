"""Where a correction counts: on every balance whose window has its time, and whose payer its tags name."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.events import Crossing
from costguard.ledger.marks import crossed
from costguard.windows import window_bounds

_MOST = 50_000
"""Balances that are remembered."""


def in_force(budgets: Iterable[Budget], now_ns: int) -> Iterator[Limit]:
    """A limit, of nobody, for each window of these budgets that is not over, with all buckets of a rolling one."""
    for budget in budgets:
        if not budget.is_local and not callable(budget.limit):
            limit = Limit(budget, (), *window_bounds(budget.window, budget.tz, now_ns, budget.span))
            yield from (limit, *limit.before)


class Accounts:
    """The accounts that balances are of, in their windows; `limits` has any one payer's of each, the likeliest last."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._windows: dict[tuple[int, int | None], dict[str, Budget]] = {}
        self._known: dict[tuple[int, str, tuple[str, ...]], Limit] = {}
        for limit in limits:
            if limit.unit == "usd":
                self._windows.setdefault((limit.start, limit.end), {})[limit.budget.account] = limit.budget

    def nets(self, adjustments: Sequence[Adjustment]) -> dict[str, tuple[Limit, int]]:
        """The balances that these count on, of which some may not be there yet, and what they come to on each."""
        earliest, latest = bounds(adjustments)
        windows = [
            (start, end, list(budgets.values()))
            for (start, end), budgets in self._windows.items()
            if start <= latest * 1000 and (end is None or end > earliest * 1000)
        ]
        nets: dict[str, tuple[Limit, int]] = {}
        for one in adjustments:
            # As stores keep it: in whole microseconds.
            at, tags = one.at_ns // 1000 * 1000, one.tags
            for start, end, budgets in windows:
                if start <= at and (end is None or at < end):
                    for budget in budgets:
                        if budget.counts(tags):
                            limit = self._limit(budget, tuple([tags.value(name) for name in budget.per]), start, end)
                            known = nets.get(limit.key)
                            nets[limit.key] = (limit, one.nanos + (0 if known is None else known[1]))
        return nets

    def _limit(self, budget: Budget, payer: tuple[str, ...], start: int, end: int | None) -> Limit:
        known = (start, budget.account, payer)
        limit = self._known.get(known)
        if limit is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            limit = Limit(budget, tuple(zip(budget.per, payer, strict=True)), start, end)
            self._known[known] = limit
        return limit


def lacking(nets: Mapping[str, tuple[Limit, int]], there: Container[str], now_ns: int) -> list[Limit]:
    """The limits whose balances are to be made for these changes.

    A call without a price makes none. Where the window is over nobody asks for it, and what is taken from a payer who
    was never counted is not given back either.
    """
    return [
        limit for key, (limit, by) in sorted(nets.items()) if by > 0 and key not in there and _counts(limit, now_ns)
    ]


def passed(limit: Limit, by: int, after: int, now_ns: int) -> list[Crossing]:
    """The marks that the spending has just passed, if the window is not over.

    Those of a rolling window lie between several balances: whoever adjusts looks at them when all is done.
    """
    if by <= 0 or not limit.marks or limit.budget.span is not None or not _counts(limit, now_ns):
        return []
    return crossed(limit, after - by, after, now_ns)


def _counts(limit: Limit, now_ns: int) -> bool:
    """Whether what is spent in this window counts at this moment."""
    if limit.end is None or limit.end > now_ns:
        return True
    budget = limit.budget
    if budget.span is None:
        return False
    current = Limit(budget, limit.payer, *window_bounds(budget.window, budget.tz, now_ns, budget.span))
    return limit.start >= current.before[0].start


def bounds(adjustments: Sequence[Adjustment]) -> tuple[int, int]:
    """The earliest and the latest time of these, in microseconds since 1970."""
    times = [adjustment.at_ns // 1000 for adjustment in adjustments]
    return min(times), max(times)
