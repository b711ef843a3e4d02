"""Every report says the same on every store, on a ledger as an app would have filled it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from examples.realistic import BUDGETS, realistic

from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.reports import (
    at_risk,
    cache_savings,
    calls,
    explain,
    forecast,
    series,
    spend,
    standings,
    top,
)
from tests.ledger.stores import new_url
from tests.reports.scenes import at

NOW = at("2026-11-22 12:00")

REPORTS: dict[str, Callable[[Ledger], Any]] = {
    "spend": lambda store: spend(store, "user,feature", since="30d", compare="previous", percentiles=True, now=NOW),
    "spend of a few": lambda store: spend(
        store, "model,day", since="7d", where={"feature": ["chat", "agent"]}, now=NOW
    ),
    "series": lambda store: series(store, "user", since="30d", most=3, tz="Europe/Berlin", compare="previous", now=NOW),
    "series by hours": lambda store: series(store, "model", grain="hour", since="3d", tz="Asia/Kolkata", now=NOW),
    "top": lambda store: top(store, "team", since="month", order="tokens", compare="previous", now=NOW),
    "explain": lambda store: explain(store, "feature", since="20d", most=3, now=NOW),
    "savings": lambda store: cache_savings(store, since="30d", now=NOW),
    "forecast": lambda store: forecast(store, limit="150", tz="America/New_York", now=NOW),
    "at risk": lambda store: at_risk(store, BUDGETS, now=NOW),
    "standings": lambda store: standings(store, BUDGETS, now=NOW),
    "calls": lambda store: calls(store, order="dearest", most=5, where={"provider": ["openai"]}, now=NOW),
}


def said(store: Ledger, name: str) -> Any:
    made = REPORTS[name](store)
    return [one.to_json() for one in made] if isinstance(made, tuple) else made.to_json()


def filled(url: str) -> Ledger:
    store = open_ledger(url)
    realistic(store, days=60, calls=1_500, until=NOW)
    return store


@pytest.fixture(scope="module")
def memory() -> Ledger:
    return filled("memory://")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    store = filled(new_url(request.param, Path(tmp_path_factory.mktemp("agree"))))
    yield store
    store.close()


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_says_the_same_on_every_store(memory: Ledger, base: Ledger, name: str) -> None:
    assert said(base, name) == said(memory, name)


def test_reports_agree_with_each_other(memory: Ledger) -> None:
    whole = spend(memory, "", since="30d", now=NOW).total
    assert whole.calls > 400
    assert series(memory, "user", since="30d", now=NOW).total.total.cost == whole.cost
    assert top(memory, "model", since="30d", now=NOW).total.cost == whole.cost
    assert explain(memory, "user", since="30d", now=NOW).total.after.cost == whole.cost
    assert cache_savings(memory, since="30d", now=NOW).total.cache_read_tokens == whole.cache_read_tokens
