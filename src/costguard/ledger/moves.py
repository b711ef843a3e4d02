"""How the balances change in one transaction: added up, so that each is touched once."""

from __future__ import annotations

from costguard.budgets import Limit
from costguard.events import Crossing
from costguard.ledger.marks import crossed

Step = tuple[int, Limit, int, int, bool]
"""What is spent, on which limit, when, by which settlement; True if it is the spending of the step before it again,
for another limit that shares the balance."""


class Moves:
    """Changes of `held` and `spent` by key, and the single steps of the spending, which may pass marks."""

    __slots__ = ("held", "limits", "spent", "steps")

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.limits: dict[str, Limit] = {}
        self.steps: dict[str, list[Step]] = {}

    def hold(self, key: str, by: int) -> None:
        self.held[key] = self.held.get(key, 0) + by

    def unspend(self, key: str, by: int) -> None:
        """Give back what was charged. Not on a balance that is also spent on: the steps would not add up."""
        self.spent[key] = self.spent.get(key, 0) - by

    def spend(self, limit: Limit, by: int, at_ns: int, place: int = 0) -> None:
        key = limit.key
        steps = self.steps.get(key)
        if steps is None:
            self.limits[key] = limit
            self.spent[key] = by
            self.steps[key] = [(by, limit, at_ns, place, False)]
        else:
            self.spent[key] += by
            steps.append((by, limit, at_ns, place, False))

    def share(self, limit: Limit) -> None:
        """This limit shares the balance of the last step: it may have other marks."""
        steps = self.steps[limit.key]
        by, _, at_ns, place, _ = steps[-1]
        steps.append((by, limit, at_ns, place, True))

    def by_key(self) -> list[tuple[str, int, int]]:
        """(key, held, spent) of the balances that change, in the order in which they are locked."""
        held, spent = self.held, self.spent
        return [
            (key, held.get(key, 0), spent.get(key, 0))
            for key in sorted(held.keys() | spent.keys())
            if held.get(key) or spent.get(key)
        ]

    def crossings(self, key: str, after: int) -> list[tuple[int, Crossing]]:
        """The marks passed on a balance that has spent so much now, each with the settlement that passed it."""
        steps = self.steps.get(key)
        if steps is None:
            return []
        before = after - self.spent[key]
        if len(steps) > 1:
            lowest = min([limit.marks[0][0] for limit in {step[1] for step in steps} if limit.marks], default=None)
            # Most spending is below the first mark, and most of the rest between two of them.
            if lowest is None or (after < lowest and all(step[0] >= 0 for step in steps)):
                return []
        found: list[tuple[int, Crossing]] = []
        since = before
        for by, limit, at_ns, place, again in steps:
            if not again:
                since, before = before, before + by
            if by > 0 and limit.marks and before >= limit.marks[0][0]:
                found += [(place, crossing) for crossing in crossed(limit, since, before, at_ns)]
        return found
