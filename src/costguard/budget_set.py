"""All budgets of a guard, and which of them a call's tags fall under."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from costguard.budgets import Budget, Limit
from costguard.errors import ConfigError
from costguard.tags import Tags

MOST_CACHED = 4096
"""Tag sets whose limits are kept ready; tag values may come from clients, so the cache has an end."""

_NEVER = 1 << 63


class BudgetSet:
    """Budgets, in the order they were given. Two that count the same account are refused."""

    def __init__(self, budgets: Iterable[Budget | str] = ()) -> None:
        self._budgets: dict[str, Budget] = {}
        self._ready: dict[Tags, tuple[int, int, tuple[Limit, ...]]] = {}
        if isinstance(budgets, (str, Budget)):
            raise ConfigError(f"budgets must be a list, not one budget: budgets=[{str(budgets)!r}]")
        for budget in budgets:
            self.add(budget)

    def add(self, budget: Budget | str) -> Budget:
        """Add a budget; the same one twice is one. Raises ConfigError if another counts the same account."""
        if not isinstance(budget, Budget):
            budget = Budget.parse(budget)
        other = self._budgets.setdefault(budget.account, budget)
        if other != budget:
            raise ConfigError(
                f'budgets "{other}" and "{budget}" count the same calls in the same window; keep the one you mean'
            )
        # Replaced, not cleared: a thread that is in `limits` without the new budget writes to the old one.
        self._ready = {}
        return other

    def limits(self, tags: Tags, at_ns: int) -> tuple[Limit, ...]:
        """The limits that a call with these tags, made at this moment, counts against, in key order."""
        known = self._ready
        ready = known.get(tags)
        if ready is not None and ready[0] <= at_ns < ready[1]:
            return ready[2]
        # A copy: route decorators add budgets while other threads are here.
        found = [budget.limit_for(tags, at_ns) for budget in tuple(self._budgets.values()) if budget.counts(tags)]
        limits = tuple(sorted(found, key=lambda limit: limit.key))
        if len(known) >= MOST_CACHED:
            known.clear()
        since = max((limit.start for limit in limits), default=0)
        until = min((limit.end or _NEVER for limit in limits), default=_NEVER)
        known[tags] = (since, until, limits)
        return limits

    def __iter__(self) -> Iterator[Budget]:
        return iter(tuple(self._budgets.values()))

    def __len__(self) -> int:
        return len(self._budgets)
