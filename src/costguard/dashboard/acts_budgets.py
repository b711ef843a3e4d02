"""What the forms of the page of budgets do: set, observe, enforce, remove; grant, and take back."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from costguard.budgets import Budget
from costguard.dashboard.form import Act, Form
from costguard.dashboard.known import KnownBudget
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.ledger import rulings
from costguard.ledger.deeds import Deed
from costguard.units import read_amount
from costguard.windows import read_span


def set_rule(view: View, form: Form) -> str:
    """A budget from its line of text, or the limit of one that is there."""
    if form.get("budget"):
        one = _fixed(view, form)
        limit = read_amount(form.get("limit"), one.budget.unit, what="limit")
        return _put(view, form, replace(one.budget, limit=limit), "set", _number(one))
    made = view.meant_rule(Budget.parse(form.get("rule")))
    if form.get("observe"):
        made = replace(made, observe=True)
    return _put(view, form, made, "set")


def observe(view: View, form: Form) -> str:
    """From now on it refuses nothing. Of code or a file: the database's rule is used instead."""
    one = _fixed(view, form)
    return _put(view, form, replace(one.budget, observe=True), "observe", _number(one))


def enforce(view: View, form: Form) -> str:
    one = _fixed(view, form)
    return _put(view, form, replace(one.budget, observe=False), "enforce", _number(one))


def remove(view: View, form: Form) -> str:
    """Of the database alone: that of code or a file is used again where there is one."""
    done = rulings.remove_budget(view.known.ledger, form.number("number"), _deed(form, "remove budget"))
    view.known.look()
    return "again" if done is None else "removed"


def grant(view: View, form: Form) -> str:
    """More for one payer, for the rest of the window or until a moment."""
    budget = _found(view, form).budget
    now = time.time_ns()
    given = {name: form.get(f"payer.{name}") for name in budget.per}
    for name, value in given.items():
        if not value:
            raise ConfigError(f"a grant on a budget per {','.join(budget.per)} is for one of them; fill in {name}")
    payer = tuple([(name, view.meant(name, value)) for name, value in given.items()])
    amount = read_amount(form.get("amount"), budget.unit, what="grant")
    made = Grant(
        budget.account, payer, amount, budget.unit, now, _until(form.get("until"), now), form.author, form.reason
    )  # fmt: skip
    new = rulings.add_grant(view.known.ledger, made, _deed(form, "grant", budget=budget.title))
    view.known.look()
    return "granted" if new else "again"


def take_back(view: View, form: Form) -> str:
    done = rulings.remove_grant(view.known.ledger, form.number("number"), _deed(form, "take back grant"))
    view.known.look()
    return "again" if done is None else "taken"


BUDGET_ACTS: dict[str, Act] = {
    "set": set_rule, "observe": observe, "enforce": enforce, "remove": remove, "grant": grant, "take back": take_back,
}  # fmt: skip


def _put(view: View, form: Form, made: Budget, done: str, instead_of: int | None = None) -> str:
    deed = _deed(form, "budget" if done == "set" else done)
    with view.hiding.unnamed("this budget was changed meanwhile, or does not go with others: costguard budgets list"):
        stored = rulings.set_budget(view.known.ledger, made, deed, instead_of=instead_of)
    view.known.look()
    return "again" if stored is None else done


def _number(one: KnownBudget) -> int:
    """Of what a part is changed: with another one there by now, the rest of that would be lost."""
    return 0 if one.stored is None else one.stored.id


def _found(view: View, form: Form) -> KnownBudget:
    # What another process has changed is in force here seconds later, and would be undone by what is made of the old.
    view.known.look()
    wanted = form.get("budget")
    for one in view.known.budgets:
        if view.hiding.key(one.budget) == wanted:
            return one
    raise ConfigError("this budget is not in force any more; load the page again")


def _fixed(view: View, form: Form) -> KnownBudget:
    one = _found(view, form)
    if not isinstance(one.budget.limit, Decimal):
        raise ConfigError(f"budget {one.budget.title!r} computes its limit in the app's code; change it there")
    return one


def _deed(form: Form, action: str, **details: object) -> Deed:
    return Deed(form.nonce, time.time_ns(), form.author, action, form.reason, details)


def _until(text: str, now_ns: int) -> int | None:
    """Nanoseconds since 1970; None: the rest of the running window."""
    if not text:
        return None
    span = read_span(text)
    if span is not None:
        return now_ns + int(span.total_seconds()) * 10**9
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"until {text!r} is not a time; write it as 7d, 24h or 2026-12-24 (UTC)") from None
    ends = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 10**9
    if ends <= now_ns:
        raise ConfigError(f"until {text} is over already; give a moment to come")
    return ends
