"""Real standings and refusals, and a till: the smallest guard that a middleware can ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from costguard.budgets import Budget, Standing
from costguard.errors import BudgetExceeded
from costguard.tags import Tags

NANOS = 1_000_000_000


def standing(rule: str = "$5/day per user", *, user: str = "alice", spent: str = "4.98", held: str = "0") -> Standing:
    limit = Budget.parse(rule).limit_for(Tags(user=user), time.time_ns())
    return limit.standing(round(float(spent) * NANOS), round(float(held) * NANOS))


def over_budget(rule: str = "$5/day per user", *, busy: bool = False, user: str = "alice") -> BudgetExceeded:
    where = standing(rule, user=user, held="0.02" if busy else "0")
    return BudgetExceeded(str(where), standing=where, retry_after=2 if busy else 3600, busy=busy)


@dataclass
class Till:
    """Lets `allowed` users in, and knows one budget per user."""

    allowed: Callable[[Tags], bool] = lambda tags: True
    asked: list[Tags] = field(default_factory=list)

    def check(self, tags: Tags | None = None) -> None:
        self.asked.append(tags or Tags())
        if not self.allowed(tags or Tags()):
            raise over_budget()

    async def check_async(self, tags: Tags | None = None) -> None:
        self.check(tags)

    def standings(self, **tags: object) -> list[Standing]:
        return [standing("$500/month", spent="1"), standing(user=str(tags.get("user", "unattributed")))]

    async def standings_async(self, **tags: object) -> list[Standing]:
        return self.standings(**tags)
