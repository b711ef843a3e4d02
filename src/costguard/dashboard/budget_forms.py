"""The form of one change on the page of budgets: which one, and what it begins with, is in the address."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from costguard.dashboard.hiding import HIDDEN
from costguard.dashboard.known import KnownBudget
from costguard.dashboard.query import Query
from costguard.dashboard.view import View
from costguard.units import show_amount

_PLAIN = {"usd": "US dollars", "tokens": "tokens", "calls": "calls"}


def doing(view: View, query: Query, chosen: Sequence[KnownBudget]) -> dict[str, Any] | None:
    """`?do=set`, `?do=limit|grant|observe|enforce|remove&budget=<key>` or `?do=take back&number=<grant>`."""
    do, number = query.get("do"), query.get("number")
    form: dict[str, Any] = {
        "kind": do, "do": do, "budget": "", "number": "", "action": query.href(), "note": "",
        "back": query.href(do=None, number=None),
    }  # fmt: skip
    if do == "set":
        return form | {"title": "Set a budget, for all workers", "label": "Set"}
    if do == "take back" and number:
        note = "What was spent of it stays spent."
        return form | {"title": f"Take back grant {number}", "label": "Take back", "number": number, "note": note}
    if not query.get("budget") or len(chosen) != 1:
        return None
    return _of_budget(view, query, chosen[0], form)


def _of_budget(view: View, query: Query, one: KnownBudget, form: dict[str, Any]) -> dict[str, Any] | None:
    budget = view.hiding.budget(one.budget)
    do = form["kind"]
    form |= {"budget": view.hiding.key(one.budget), "unit": _PLAIN[budget.unit], "window": budget.period}
    fixed = isinstance(budget.limit, Decimal)
    elsewhere = "" if one.stored else f" That of the {one.source} stays as it is, and is overruled by the database."
    if do == "grant" and not budget.is_local:
        shown = {name: value for name, value in query.where.items() if isinstance(value, str) and value != HIDDEN}
        return form | {"title": f"Grant more on {budget.title}", "label": "Grant", "per": budget.per, "payer": shown}
    if isinstance(budget.limit, Decimal) and do == "limit":
        amount = show_amount(budget.limit, budget.unit)
        note = f"It is {amount}. What was spent in the running window counts.{elsewhere}"
        plain = f"{budget.limit:f}"
        return form | {
            "do": "set", "title": f"Change the limit of {budget}", "label": "Change", "limit": plain, "note": note,
        }  # fmt: skip
    if fixed and do == "observe":
        note = f"Every decision is recorded, nothing is refused.{elsewhere}"
        return form | {"title": f"Only observe {budget}", "label": "Only observe", "note": note}
    if fixed and do == "enforce":
        note = f"Calls that do not fit are refused from now on.{elsewhere}"
        return form | {"title": f"Enforce {budget}", "label": "Enforce", "note": note}
    if do == "remove" and one.stored is not None:
        note = "A budget of code or of the file that counts the same is in force again, if there is one."
        return form | {"title": f"Remove {budget}", "label": "Remove", "number": one.stored.id, "note": note}
    return None
