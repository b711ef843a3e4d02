"""How budgets are called in telemetry: no more of them than can have series, and nobody's id who is to be hidden."""

from __future__ import annotations

from dataclasses import replace

from costguard.budgets import Budget
from costguard.telemetry.attributes import Hide
from costguard.telemetry.heavy import HeavyHitters

_MOST = 100

HIDDEN = "hidden"


class Names:
    """hide: what is told of a user's id. A rule may be for one user: "$20/day per user for user=alice"."""

    def __init__(self, hide: Hide | None = None) -> None:
        self._hide = hide
        self._few = HeavyHitters(_MOST, first=_MOST)

    def of(self, budget: Budget) -> str:
        """Its line, "other" for most of very many."""
        return self._few.name(self._line(budget), 0)

    def _line(self, budget: Budget) -> str:
        if self._hide is None or not any(name == "user" for name, _ in (*budget.where, *budget.for_)):
            return str(budget)
        shown = replace(budget, where=self._shown(budget.where), for_=self._shown(budget.for_))
        return str(shown)

    def _shown(self, tags: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        hide = self._hide
        if hide is None:
            return tags
        return tuple([(name, (hide(value) or HIDDEN) if name == "user" else value) for name, value in tags])
