"""Budgets at risk, as the overview shows them."""

from __future__ import annotations

import time
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from costguard.dashboard.looks import usd
from costguard.dashboard.query import Query
from costguard.dashboard.view import View
from costguard.ledger.base import Ledger
from costguard.ledger.rules import version
from costguard.reports.standings import PayerStanding, RiskReport, at_risk
from costguard.units import show_amount, show_number

MOST = 6
WHY = {"spent": "used up", "near": "nearly used up", "heading": "will not last"}

KEPT_SECONDS = 15.0
"""A forecast for each of the fullest payers is the dearest part of the page, and moves slowly."""

_kept: WeakKeyDictionary[Ledger, tuple[float, object, RiskReport]] = WeakKeyDictionary()
_lock = Lock()


def risks(view: View) -> dict[str, Any]:
    """Who is at risk, and beside them the fullest of the others. At most `KEPT_SECONDS` old, a changed budget is seen
    at once. Raises StoreUnavailable, ConfigError where rules contradict each other."""
    report = _find(view)
    those = {one.at.limit.key for one in report.risks}
    others = [one for one in report.standings[: 2 * MOST] if one.limit.key not in those]
    return {
        "looked_at": report.looked_at,
        "risks": [
            _stand(view, one.at) | {"why": WHY[one.why], "bad": one.why == "spent", "reached": one.reached}
            for one in report.risks
        ],
        "others": [_stand(view, one) for one in others[: MOST - len(report.risks)]],
    }


def _find(view: View) -> RiskReport:
    ledger = view.known.ledger
    rules = (version(ledger), view.known.source)
    with _lock:
        at, of_rules, found = _kept.get(ledger, (float("-inf"), None, None))
    if found is not None and of_rules == rules and time.monotonic() - at < KEPT_SECONDS:
        return found
    found = at_risk(ledger, view.known.chosen, most=MOST, now=view.now)
    with _lock:
        _kept[ledger] = (time.monotonic(), rules, found)
    return found


def _stand(view: View, one: PayerStanding) -> dict[str, Any]:
    standing = one.standing
    payer = view.hiding.show_all(one.payer)
    query = Query()
    for name, value in payer.items():
        query = Query.read((view.narrowed(query, name, value) or str(query)).removeprefix("?"))
    money = standing.unit == "usd"
    return {
        "budget": view.hiding.budget(standing.budget).title,
        "payer": ", ".join(payer.values()) or "everyone",
        "spent": standing.spent,
        "held": standing.held,
        "limit": standing.limit,
        "spent_text": usd(standing.spent) if money else show_number(standing.spent, standing.unit),
        "limit_text": usd(standing.limit) if money else show_amount(standing.limit, standing.unit),
        "exact": show_amount(standing.spent, standing.unit),
        "resets_in": None if standing.resets_at is None else standing.resets_at - view.now,
        "url": view.url("budgets", query.href(budget=view.hiding.key(standing.budget))),
    }
