"""The pages: a name, a function that makes what its template shows, and a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from costguard.dashboard.acts_alerts import ALERT_ACTS
from costguard.dashboard.acts_budgets import BUDGET_ACTS
from costguard.dashboard.form import Act
from costguard.dashboard.page_alerts import alerts
from costguard.dashboard.page_budgets import budgets
from costguard.dashboard.page_calls import call, calls
from costguard.dashboard.page_explore import explore
from costguard.dashboard.page_overview import overview
from costguard.dashboard.page_prices import prices
from costguard.dashboard.query import Query
from costguard.dashboard.view import View

Make = Callable[[View, Query], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    path: below the mount, "" for the first; a parameter in it, as in "calls/{id}", is `view.param("id")`
    make: blocking, runs in a thread; raises ConfigError for a query it cannot read, LookupError for what is not there
    acts: what forms of this page do, by their field "do"
    """

    name: str
    path: str
    title: str
    make: Make
    acts: Mapping[str, Act] = field(default_factory=dict)

    @property
    def template(self) -> str:
        return f"{self.name}.html"


PAGES = (
    Page("overview", "", "Overview", overview),
    Page("explore", "explore", "Explore", explore),
    Page("budgets", "budgets", "Budgets", budgets, BUDGET_ACTS),
    Page("calls", "calls", "Calls", calls),
    Page("call", "calls/{id}", "Call", call),
    Page("alerts", "alerts", "Alerts", alerts, ALERT_ACTS),
    Page("prices", "prices", "Prices", prices),
)
