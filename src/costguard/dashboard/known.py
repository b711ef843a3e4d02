"""The rules in force, as the dashboard knows them: from the guard of its process, else from what the store tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from costguard.alerts.rules import Rule, read_rules, rules_of_file
from costguard.budget_file import read_budgets
from costguard.budget_set import SOURCES, BudgetSet
from costguard.budgets import Budget
from costguard.dashboard.hiding import Hiding
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.rules import rules, seen
from costguard.ledger.stored_rules import Rules, StoredBudget

if TYPE_CHECKING:
    from costguard.guard import Guard

CODE, FILE, DATABASE = SOURCES


@dataclass(frozen=True, slots=True)
class KnownBudget:
    """A budget in force and where it comes from; `stored` is its row, if that is the database."""

    budget: Budget
    source: str
    stored: StoredBudget | None = None

    @property
    def title(self) -> str:
        return self.budget.title


class Known:
    """Looks once, when it is first asked, and then stays as it is: made for each request.

    ledger: not the one that hides values
    file:   the app's budget_file, where there is no guard that has read it
    """

    def __init__(self, ledger: Ledger, guard: Guard | None, file: Path | None, now_ns: int, hiding: Hiding) -> None:
        self.ledger = ledger
        self._hiding = hiding
        self._guard = guard
        self._file = file
        self._now_ns = now_ns

    @property
    def source(self) -> tuple[int, Path | None]:
        """What tells dashboards of one store apart that know different budgets."""
        return id(self._guard), self._file

    @cached_property
    def history(self) -> Rules:
        """Of the database, with what was replaced, removed and taken back. Raises StoreUnavailable."""
        return rules(self.ledger, history=True)

    @cached_property
    def chosen(self) -> BudgetSet:
        """As calls are counted by them. Raises ConfigError where rules contradict each other, StoreUnavailable."""
        if self._guard is not None:
            return self._guard._budgets
        with self._hiding.unnamed("the budgets in force cannot be put together; see: costguard budgets list"):
            return self._together()

    def _together(self) -> BudgetSet:
        together = BudgetSet()
        in_file = [] if self._file is None else read_budgets(self._file)
        elsewhere = {str(rule) for rule in in_file} | {stored.rule for stored in self.history.budgets}
        told: set[str] = set()
        for rule in seen(self.ledger, now_ns=self._now_ns):
            if str(rule) not in elsewhere and rule.identity not in told and not callable(rule.limit):
                told.add(rule.identity)
                try:
                    together.add(rule)
                except ConfigError:
                    continue  # a balance of a rule that another one has replaced since
        together.replace(FILE, in_file)
        together.replace(
            DATABASE,
            [stored.budget for stored in self.history.budgets if stored.removed_ns is None],
            [stored.grant for stored in self.history.grants if stored.removed_ns is None],
        )
        return together

    @cached_property
    def budgets(self) -> list[KnownBudget]:
        """Those in force, the database's first. Raises as `chosen`."""
        stored = {one.identity: one for one in self.history.budgets if one.removed_ns is None}
        found = [
            KnownBudget(rule, source, stored.get(rule.identity) if source == DATABASE else None)
            for source, rule in self.chosen.origins()
        ]
        order = {DATABASE: 0, FILE: 1, CODE: 2}
        return sorted(found, key=lambda one: (order[one.source], one.budget.is_local, one.title))

    @cached_property
    def alert_rules(self) -> Sequence[Rule]:
        """Those of the guard, else of the file. Raises ConfigError for a file that cannot be read."""
        schedule = getattr(self._guard, "_schedule", None)
        if schedule is not None:
            return read_rules(schedule.rules)
        return () if self._file is None else rules_of_file(self._file, lenient=True)

    def look(self) -> None:
        """Put what was just changed in force in this process; others look every two seconds."""
        guard = self._guard
        if guard is None:
            return
        source = guard._source
        if source is not None:
            source.look()
            return
        # A store in memory, which no other process sees, and nobody looks at.
        found = rules(self.ledger)
        guard._budgets.replace(
            DATABASE, [stored.budget for stored in found.budgets], [stored.grant for stored in found.grants]
        )
