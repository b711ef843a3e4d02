"""What `benchmarks.reports` asks a ledger: each report, each page of the dashboard, the same from the rows alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from examples.realistic import BUDGETS

from costguard.budget_set import BudgetSet
from costguard.dashboard import Dashboard
from costguard.ledger.base import Ledger
from costguard.pricing.book import PriceBook
from costguard.reports import at_risk, cache_savings, calls, explain, forecast, refused, series, spend, top
from costguard.reports.priced import priced

PAGES = ("", "explore", "budgets", "calls", "alerts", "prices")
BOOK = PriceBook()


@dataclass(frozen=True, slots=True)
class Asked:
    """A ledger, and of whom it is asked: the busiest user and one in the middle; `since`: its first midnight."""

    ledger: Ledger
    now: datetime
    since: datetime
    busiest: str
    usual: str


@dataclass(frozen=True, slots=True)
class Question:
    """scan: its name in `SCANS`; None where the rows are what is asked for."""

    name: str
    ask: Callable[[Asked], Any]
    scan: str | None = None


def _edge(asked: Asked) -> datetime:
    """A time that is no start of a day, nor of an hour."""
    return asked.since + timedelta(days=22, hours=10, minutes=17)


ALL_USERS = "all users x day, 30 days"
ONE_USER = "one user x day, 30 days"

QUESTIONS = (
    Question("day, 30 days", lambda a: spend(a.ledger, "day", since=a.since, now=a.now), "day"),
    Question(ALL_USERS, lambda a: spend(a.ledger, "user,day", since=a.since, now=a.now), "user x day"),
    Question(
        "all users x day, from 10:17", lambda a: spend(a.ledger, "user,day", since=_edge(a), now=a.now), "user x day"
    ),
    Question("user", lambda a: spend(a.ledger, "user", since=a.since, now=a.now), "user"),
    Question(
        "feature, model, with percentiles",
        lambda a: spend(a.ledger, "feature,model", since=a.since, percentiles=True, now=a.now),
        "user x model",
    ),
    Question(
        "team, against the week before",
        lambda a: spend(a.ledger, "team", since="7d", compare="previous", now=a.now),
        "user",
    ),
    Question(
        ONE_USER,
        lambda a: spend(a.ledger, "day", since=a.since, where={"user": a.usual}, now=a.now),
        "one user x day",
    ),
    Question(
        "busiest user x day, 30 days",
        lambda a: spend(a.ledger, "day", since=a.since, where={"user": a.busiest}, now=a.now),
        "busiest user x day",
    ),
    Question(
        "one user, from 10:17",
        lambda a: spend(a.ledger, "feature", since=_edge(a), where={"user": a.usual}, now=a.now),
        "one user x day",
    ),
    Question("series of features, day", lambda a: series(a.ledger, "feature", since=a.since, now=a.now), "user x day"),
    Question(
        "series of models, hour, 2 days",
        lambda a: series(a.ledger, "model", grain="hour", since="2d", now=a.now),
        None,
    ),
    Question("top users", lambda a: top(a.ledger, "user", since=a.since, now=a.now), "user"),
    Question("explain, 7 days", lambda a: explain(a.ledger, "feature", now=a.now), "user x model"),
    Question("forecast, month", lambda a: forecast(a.ledger, now=a.now), "user x day"),
    Question("budgets at risk", lambda a: at_risk(a.ledger, BudgetSet(BUDGETS), now=a.now), None),
    Question("cache savings", lambda a: cache_savings(a.ledger, since=a.since, now=a.now), "user x model"),
    Question("refused", lambda a: refused(a.ledger, since=a.since, now=a.now), None),
    Question("prices in use", lambda a: priced(a.ledger, BOOK), None),
    Question("calls, newest 50", lambda a: calls(a.ledger, now=a.now), None),
    Question("calls of one user", lambda a: calls(a.ledger, where={"user": a.usual}, now=a.now), None),
    Question("calls of the busiest user", lambda a: calls(a.ledger, where={"user": a.busiest}, now=a.now), None),
    Question("calls, dearest 50 of 7 days", lambda a: calls(a.ledger, order="dearest", since="7d", now=a.now), None),
)

_SUMS = (
    "count(*), sum(cost), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(duration), "
    "sum(CASE WHEN cost IS NULL THEN 1 ELSE 0 END), sum(CASE WHEN status = 1 THEN 1 ELSE 0 END)"
)
_FROM = "FROM costguard_entries WHERE at >= :since"
_DAY = 86_400_000_000

SCANS = {
    "user x day": f"SELECT tags_id, at / {_DAY}, {_SUMS} {_FROM} GROUP BY 1, 2",
    "day": f"SELECT at / {_DAY}, {_SUMS} {_FROM} GROUP BY 1",
    "user": f"SELECT tags_id, {_SUMS} {_FROM} GROUP BY 1",
    "user x model": f"SELECT tags_id, model_id, {_SUMS} {_FROM} GROUP BY 1, 2",
    "one user x day": f"SELECT at / {_DAY}, {_SUMS} {_FROM} AND tags_id IN :usual GROUP BY 1",
    "busiest user x day": f"SELECT at / {_DAY}, {_SUMS} {_FROM} AND tags_id IN :busiest GROUP BY 1",
}
"""By the numbers of tag sets alone, which a report still has to read and add up by the tag it is asked for."""


def pages(ledger: Ledger) -> list[Question]:
    """Each page as a browser asks for it, written out in HTML."""
    from starlette.testclient import TestClient

    clients: list[TestClient] = []

    def get(path: str) -> Callable[[Asked], Any]:
        def ask(asked: Asked) -> Any:
            if not clients:
                clients.append(TestClient(Dashboard(ledger, authorize=lambda request: "viewer")))
            answer = clients[0].get(f"/{path}")
            if answer.status_code != 200:
                raise RuntimeError(f"/{path} answered {answer.status_code}: {answer.text[:300]}")
            return answer

        return ask

    return [Question(f"page /{path}", get(path)) for path in PAGES]
