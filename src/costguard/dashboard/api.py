"""The reports as JSON, under the same rules as the pages; and the pulse that pages ask for what is new."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from threading import Lock
from typing import Any, Literal

from costguard.dashboard.page_alerts import alerts
from costguard.dashboard.page_budgets import budgets
from costguard.dashboard.query import Query
from costguard.dashboard.receipts import receipt_of
from costguard.dashboard.tables import tables_of
from costguard.dashboard.view import View
from costguard.errors import StoreUnavailable
from costguard.ledger.rules import version
from costguard.reports.calls import calls
from costguard.reports.explain import explain
from costguard.reports.forecast import forecast
from costguard.reports.plain import plain_usd
from costguard.reports.refused import refused
from costguard.reports.savings import cache_savings
from costguard.reports.series import series
from costguard.reports.spend import spend
from costguard.reports.standings import at_risk
from costguard.reports.top import top

Answer = Callable[[View, Query], Any]

USUAL = "7d"


def _time(view: View, query: Query) -> dict[str, Any]:
    """What every report is asked: since=, until=, tz=, where.<name>=."""
    since = query.get("since", USUAL)
    return {
        "since": None if since == "all" else since, "until": query.get("until") or None, "where": query.where,
        "tz": query.get("tz", "UTC"), "now": view.now,
    }  # fmt: skip


def _spend(view: View, query: Query) -> Any:
    compare: Literal["previous"] | None = "previous" if query.get("compare") == "previous" else None
    return spend(view.ledger, query.names("by"), compare=compare, **_time(view, query)).to_json()


def _series(view: View, query: Query) -> Any:
    grain, most = query.get("grain", "day"), query.number("most", 8, most=100)
    return series(view.ledger, query.names("by"), grain=grain, most=most, **_time(view, query)).to_json()


def _top(view: View, query: Query) -> Any:
    by, most = query.names("by", ("user",)), query.number("most", 10, most=1000)
    return top(view.ledger, by, most=most, order=query.get("order", "cost"), **_time(view, query)).to_json()


def _calls(view: View, query: Query) -> Any:
    order, most = query.get("order", "newest"), query.number("most", 50, most=1000)
    after = query.get("after") or None
    return calls(view.ledger, order=order, most=most, after=after, **_time(view, query)).to_json()


def _explain(view: View, query: Query) -> Any:
    asked = _time(view, query)
    asked["since"] = query.get("since", USUAL)
    return explain(view.ledger, query.names("by"), **asked).to_json()


def _forecast(view: View, query: Query) -> Any:
    window, zone = query.get("window", "month"), query.get("tz", "UTC")
    return forecast(view.ledger, window=window, where=query.where, tz=zone, now=view.now).to_json()


def _savings(view: View, query: Query) -> Any:
    by = query.names("by", ("provider", "model"))
    return cache_savings(view.ledger, by, **_time(view, query)).to_json()


def _call(view: View, query: Query) -> Any:
    found = receipt_of(view, query.get("id"))
    if found is None:
        raise LookupError(f"no call has the id {query.get('id')}")
    return found.to_json()


def _at_risk(view: View, query: Query) -> Any:
    report = at_risk(view.known.ledger, view.known.chosen, now=view.now).to_json()
    for risk in report["risks"]:
        risk["budget"] = view.hiding.rule(risk["budget"])
        risk["title"] = view.hiding.title(risk["title"])
        risk["payer"] = view.hiding.show_all(risk["payer"])
    return report


def _refused(view: View, query: Query) -> Any:
    return refused(view.ledger, **_time(view, query)).to_json()


def _budgets(view: View, query: Query) -> Any:
    return {name: table.to_json() for name, table in tables_of(budgets(view, query)).items()}


def _alerts(view: View, query: Query) -> Any:
    return {name: table.to_json() for name, table in tables_of(alerts(view, query)).items()}


API: dict[str, Answer] = {
    "spend": _spend, "series": _series, "top": _top, "explain": _explain, "forecast": _forecast, "calls": _calls,
    "call": _call, "refused": _refused, "savings": _savings, "at_risk": _at_risk, "budgets": _budgets,
    "alerts": _alerts,
}  # fmt: skip
"""`api/<name>`: each is the report of that name; the parameters are those of its function, filters as `where.<tag>`."""


class Pulse:
    """What the last call was, and what today has cost: asked by every open page every few seconds, so that the store
    is asked once a second at most, however many there are."""

    EVERY = 1.0

    def __init__(self) -> None:
        self._lock = Lock()
        self._at = float("-inf")
        self._last: tuple[bytes, str] | StoreUnavailable = (b"", "")

    def beat(self, view: View) -> tuple[bytes, str]:
        """JSON, and its ETag: `today` in USD since midnight UTC, `calls` of it, and `version`, another one whenever
        anything is new. Raises StoreUnavailable."""
        with self._lock:
            if time.monotonic() - self._at >= self.EVERY:
                try:
                    self._last = self._look(view)
                except StoreUnavailable as error:
                    # Those who wait for the lock would wait for the store in vain, one after the other.
                    self._last = error
                self._at = time.monotonic()
            if isinstance(self._last, StoreUnavailable):
                raise StoreUnavailable(str(self._last), retry_after=self._last.retry_after)
            return self._last

    def _look(self, view: View) -> tuple[bytes, str]:
        ledger = view.known.ledger
        midnight = view.now.replace(hour=0, minute=0, second=0, microsecond=0)
        today = spend(ledger, (), since=midnight, now=view.now).total
        newest = ledger.entries({}, limit=1)
        last = newest[0].call_id if newest else ""
        known = [last, version(ledger), ledger.undelivered(), today.calls, plain_usd(today.cost)]
        seen = sha256(json.dumps(known).encode()).hexdigest()[:24]
        told = {"version": seen, "today": plain_usd(today.cost), "calls": today.calls}
        return json.dumps(told).encode(), f'"{seen}"'
