"""The budgets that `costguard budgets` and `costguard grants` can see, each with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from costguard.budget_file import read_budgets
from costguard.budget_set import SOURCES, BudgetSet
from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.rules import rules, seen
from costguard.ledger.stored_rules import Rules, StoredBudget
from costguard.units import Unit, show_number

CODE, FILE, DATABASE = SOURCES
"""Where a rule comes from, the weakest first. What calls were counted by and neither file nor database tells is taken
for the app's own; a file that was not given here cannot be told from its code."""

BudgetFile = Annotated[
    Path | None,
    typer.Option("--file", envvar="COSTGUARD_BUDGET_FILE", metavar="PATH", help="The app's budget_file, in TOML"),
]


@dataclass(frozen=True, slots=True)
class Found:
    """A rule and its source; `stored` of one of the database. `budget` is None if this version cannot read it."""

    rule: str
    source: str
    budget: Budget | None
    stored: StoredBudget | None = None

    def to_json(self) -> dict[str, Any]:
        stored = self.stored
        told: dict[str, Any] = {"rule": self.rule, "source": self.source}
        if stored is not None:
            told |= {"id": stored.id, "author": stored.author, "created": iso(stored.created_ns)}
            if stored.removed_ns is not None:
                told |= {"removed": iso(stored.removed_ns), "removed_by": stored.removed_by}
        return told


class KnownRules:
    """All there is to know of budgets from outside of the app.

    Raises ConfigError for a file that cannot be read, StoreUnavailable.
    """

    def __init__(self, ledger: Ledger, file: Path | None, now_ns: int) -> None:
        past = rules(ledger, history=True)
        self.now_ns = now_ns
        self.stored: Rules = rules(ledger)
        self.history = [Found(stored.rule, DATABASE, _read(stored), stored) for stored in past.budgets]
        self.database = [found for found in self.history if found.stored and found.stored.removed_ns is None]
        self.file = [] if file is None else [Found(str(rule), FILE, rule) for rule in read_budgets(file)]
        # A rule that was removed from the database is carried by balances until their windows end.
        elsewhere = {found.rule for found in (*self.history, *self.file)}
        self.code: list[Found] = []
        told = set()
        for rule in seen(ledger, now_ns=now_ns):
            if str(rule) not in elsewhere and rule.identity not in told and not callable(rule.limit):
                told.add(rule.identity)
                self.code.append(Found(str(rule), CODE, rule))

    @property
    def all(self) -> list[Found]:
        """The strongest first."""
        return [*self.database, *self.file, *self.code]

    def stronger(self, found: Found) -> Found | None:
        """The rule of the same identity, of a stronger source, that is used instead of this one."""
        for other in self.all:
            if other is found or found.budget is None:
                return None
            if other.budget is not None and other.budget.identity == found.budget.identity:
                return other
        return None

    def source_of(self, budget: Budget) -> str:
        return next((found.source for found in self.all if found.budget == budget), CODE)

    def chosen(self) -> BudgetSet:
        """As a guard puts them together. Raises ConfigError where rules contradict each other."""
        together = BudgetSet()
        for found in self.code:
            if found.budget is not None:
                together.add(found.budget)
        together.replace(FILE, [found.budget for found in self.file if found.budget is not None])
        together.replace(
            DATABASE,
            [stored.budget for stored in self.stored.budgets],
            [stored.grant for stored in self.stored.grants],
        )
        return together


def _read(stored: StoredBudget) -> Budget | None:
    try:
        return stored.budget
    except ConfigError:
        return None


def iso(ns: int) -> str:
    """Nanoseconds since 1970 in ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(ns // 10**9, UTC).isoformat().replace("+00:00", "Z")


def minute(ns: int) -> str:
    """For tables: to the minute, UTC."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%MZ}"


def plain(amount: Decimal, unit: Unit) -> str:
    """For programs: "12.50", "100000"."""
    return show_number(amount, unit).replace("$", "").replace(",", "")
