"""The page that explains an alert, found by the number that its message has."""

from __future__ import annotations

from costguard.alerts.links import page_of
from costguard.alerts.price_alert import alert_of
from costguard.budgets import Budget
from costguard.dashboard.hiding import HIDDEN
from costguard.dashboard.query import WHERE
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.ledger.parcels import parcels


def address_of(view: View, number: str) -> str:
    """Its payer as this dashboard shows it. Raises LookupError where there is no such alert, StoreUnavailable."""
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0
    (found,) = parcels(view.known.ledger, most=1, before=wanted + 1) or (None,)
    if found is None or found.parcel.id != wanted:
        raise LookupError(f"no alert has the number {number}; it was kept for as long as the store keeps it")
    alert = alert_of(found.parcel, view.known.ledger, tops=False)
    page, payer = page_of(alert)
    shown = {WHERE + name: view.hiding.show(name, value) for name, value in payer.items()}
    asked = {name: value for name, value in shown.items() if value != HIDDEN}
    if page == "budgets" and (key := _key(view, alert.budget)):
        asked["budget"] = key
    return view.url(page, asked)


def _key(view: View, rule: str) -> str:
    """Of the budget, if it is in force."""
    try:
        identity = Budget.parse(rule).identity
    except ConfigError:
        return ""
    return next((view.hiding.key(one.budget) for one in view.known.budgets if one.budget.identity == identity), "")
