"""Budgets: what may be spent, where everybody stands, and who has changed what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from costguard.budgets import Budget
from costguard.dashboard.budget_forms import doing
from costguard.dashboard.hiding import NOBODY
from costguard.dashboard.known import KnownBudget
from costguard.dashboard.looks import count, usd
from costguard.dashboard.query import Query
from costguard.dashboard.standings import granted, stands_of
from costguard.dashboard.tables import Column, Table
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.grants import NEVER
from costguard.ledger.deeds import Deed
from costguard.ledger.stored_rules import StoredGrant
from costguard.reports.standings import PayerStanding
from costguard.tags import Tags
from costguard.units import Unit, from_rest, show_amount

FEW, MANY = 5, 200
"""Payers of each budget; of the one that was opened."""

_DEEDS = 50

STANDINGS = (
    Column("budget", "budget"), Column("payer", "payer"), Column("unit", "unit"), Column("limit", "limit", "usd"),
    Column("granted", "of it granted", "usd"), Column("spent", "spent", "usd"), Column("held", "held", "usd"),
    Column("remaining", "remaining", "usd"), Column("used", "used", "share"), Column("resets_at", "resets", "moment"),
)  # fmt: skip
RULES = (
    Column("rule", "budget"), Column("source", "from"), Column("mode", "mode"), Column("author", "set by"),
    Column("at", "at", "moment"),
)  # fmt: skip
GRANTS = (
    Column("id", "number", "count"), Column("payer", "payer"), Column("amount", "amount", "usd"),
    Column("unit", "unit"), Column("account", "on"), Column("at", "given", "moment"),
    Column("until", "until", "moment"), Column("author", "by"), Column("reason", "why"), Column("state", "state"),
)  # fmt: skip
DEEDS = (
    Column("at", "when", "moment"), Column("author", "who"), Column("action", "what"), Column("about", "of what"),
    Column("reason", "why"),
)  # fmt: skip


def budgets(view: View, query: Query) -> Mapping[str, Any]:
    """All budgets in force. `?budget=<key>` opens one: all its payers, and its forms."""
    known = view.known.budgets
    asked, query = query, Query([pair for pair in query if pair[0] not in ("do", "number")])
    opened = query.get("budget")
    payer = _payer(view, query)
    chosen = [one for one in known if not opened or view.hiding.key(one.budget) == opened]
    if opened and not chosen:
        raise LookupError("there is no such budget in force any more; it may have been removed or changed")
    ledger = view.known.ledger
    most = MANY if opened or payer else FEW
    # Nobody has spent nothing: it would be shown as if it were the standing of who was asked for.
    somebody = NOBODY not in payer.values()
    found = stands_of(ledger, view.known.chosen, view.now, most=most, payer=payer) if somebody else {}
    cards = [_card(view, query, one, found.get(one.budget.identity, [])) for one in chosen]
    if payer:
        cards = [card for card in cards if card["stands"]]
    cards.sort(key=lambda card: (card["local"], -max([stand["used"] for stand in card["stands"]], default=Decimal(-1))))
    deeds = [_deed(view, deed) for deed in ledger.deeds(most=_DEEDS)]
    return {
        "query": query,
        "cards": cards,
        "opened": opened,
        "doing": doing(view, asked, chosen),
        "payer": view.payer(payer) if payer else "",
        "all": query.href(budget=None),
        "standings": Table("standings", "Standings", STANDINGS, _rows(view, cards), "Nobody has spent anything yet."),
        "rules": Table("budgets", "Budgets", RULES, [_rule(view, one) for one in chosen], NO_BUDGETS),
        "grants": Table("grants", "Grants", GRANTS, _grants(view), "No grants."),
        "history": Table("history", "Who did what", DEEDS, deeds, "Nobody has changed anything yet."),
    }


NO_BUDGETS = 'No budgets yet. Give the guard one, budgets=["$5/day per user"], or set one here.'


def _payer(view: View, query: Query) -> dict[str, str]:
    """Of `?where.user=alice`: the values themselves."""
    found: dict[str, str] = {}
    for name, value in query.where.items():
        shown = value if isinstance(value, str) else value[-1]
        found[name] = view.raw(name, shown)
    return found


def _card(view: View, query: Query, one: KnownBudget, stands: list[PayerStanding]) -> dict[str, Any]:
    budget = view.hiding.budget(one.budget)
    key = view.hiding.key(one.budget)
    computed = not isinstance(budget.limit, Decimal)
    stored = one.stored
    return {
        "key": key,
        "title": budget.title,
        # Beside a badge that says whether it observes.
        "rule": budget.title if computed else str(replace(budget, observe=False)),
        "source": one.source,
        "computed": computed,
        "local": budget.is_local,
        "observe": budget.observe,
        "unit": budget.unit,
        "limit": None if computed else budget.limit,
        "limit_text": None if computed else show_amount(budget.limit, budget.unit),  # type: ignore[arg-type]
        "window": budget.period,
        "per": budget.per,
        "stored": None if stored is None else stored.id,
        "author": "" if stored is None else stored.author,
        "at": None if stored is None else _at(stored.created_ns),
        "source_text": _source(one),
        "url": query.href(budget=key),
        "to": lambda do: query.href(budget=key, do=do),
        "more": len(stands) >= FEW and bool(budget.per),
        "stands": [_stand(view, query, key, budget, stand) for stand in stands],
    }


def _source(one: KnownBudget) -> str:
    if one.stored is None:
        return f"from {'the file' if one.source == 'file' else 'code'}"
    return f"set by {one.stored.author}, {_at(one.stored.created_ns):%Y-%m-%d %H:%M} UTC"


def _stand(view: View, query: Query, key: str, budget: Budget, stand: PayerStanding) -> dict[str, Any]:
    standing = stand.standing
    more = granted(stand)
    shown = view.hiding.show_all(stand.payer)
    narrowed = query
    for name, value in shown.items():
        narrowed = Query.read(narrowed.narrowed(name, value).removeprefix("?"))
    alone = shown and all(view.narrowed(query, name, value) for name, value in shown.items())
    return {
        "payer": ", ".join(shown.values()) or "everyone",
        "tags": shown,
        "url": narrowed.href(budget=key) if alone else "",
        "limit": standing.limit,
        "spent": standing.spent,
        "held": standing.held,
        "remaining": standing.remaining,
        "granted": more,
        "used": stand.share if stand.share is not None else Decimal(1),
        "over": standing.spent >= standing.limit,
        "resets_at": standing.resets_at,
        "resets_in": None if standing.resets_at is None else standing.resets_at - view.now,
        "rolling": budget.span is not None,
        "spent_text": show_amount(standing.spent, budget.unit),
        **{
            f"{name}_short": _short(amount, budget.unit)
            for name, amount in (
                ("spent", standing.spent),
                ("limit", standing.limit),
                ("held", standing.held),
                ("remaining", standing.remaining),
                ("granted", more),
            )
        },
    }


def _short(amount: Decimal, unit: Unit) -> str:
    return usd(amount) if unit == "usd" else f"{count(int(amount))} {unit}"


def _rows(view: View, cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **{name: stand[name] for name in ("payer", "limit", "spent", "held", "remaining", "granted", "resets_at")},
            "used": stand["used"].quantize(Decimal("0.0001")),
            "budget": card["rule"],
            "unit": card["unit"],
        }
        for card in cards
        for stand in card["stands"]
    ]


def _rule(view: View, one: KnownBudget) -> dict[str, Any]:
    budget = view.hiding.budget(one.budget)
    return {
        "rule": str(budget),
        "source": one.source,
        "mode": "observe" if budget.observe else "enforce",
        "author": one.stored.author if one.stored else None,
        "at": _at(one.stored.created_ns) if one.stored else None,
    }


def _grants(view: View) -> list[dict[str, Any]]:
    rows = []
    for one in reversed(view.known.history.grants):
        try:
            until, account = _ends(one), _account(view, one)
        except (ConfigError, ValueError, TypeError):
            # It can be taken back all the same.
            until, account = one.until_ns, "of a newer version"
        over = until is not None and until <= view.now_ns
        rows.append(
            {
                "id": one.id,
                "payer": view.payer(one.payer),
                "amount": from_rest(one.amount, one.unit),
                "amount_text": show_amount(from_rest(one.amount, one.unit), one.unit),
                "unit": one.unit,
                "account": account,
                "at": _at(one.at_ns),
                "until": None if until is None else _at(until),
                "author": one.author,
                "reason": one.reason,
                "state": "taken back" if one.removed_ns is not None else "over" if over else "in force",
                "removed_by": one.removed_by,
            }
        )
    return sorted(rows, key=lambda row: row["state"] != "in force")[:MANY]


def _budget_of(one: StoredGrant) -> Budget:
    """A budget of the account that is topped up; its limit says nothing."""
    window, tz, per, where, *unit = json.loads(one.account)
    return Budget("1", window, per=per, where=where, tz=tz, unit=unit[0] if unit else "usd")  # type: ignore[arg-type]


def _account(view: View, one: StoredGrant) -> str:
    """The budget without its limit, as people write it: "/day per user"."""
    return "/" + str(view.hiding.budget(_budget_of(one))).partition("/")[2]


def _ends(one: StoredGrant) -> int | None:
    """Nanoseconds since 1970; None: never."""
    _, end = one.grant.in_force(_budget_of(one).limit_for(Tags(one.payer), one.at_ns))
    return None if end >= NEVER else end


def _deed(view: View, deed: Deed) -> dict[str, Any]:
    details = deed.details
    about = []
    budget = details.get("budget")
    if isinstance(budget, str) and budget:
        about.append(view.hiding.rule(budget))
    before = details.get("before")
    if isinstance(before, str) and before:
        about.append(f"instead of {view.hiding.rule(before)}")
    payer = details.get("payer")
    if isinstance(payer, dict) and payer:
        about.append(view.payer({str(name): str(value) for name, value in payer.items()}))
    if isinstance(details.get("amount"), str):
        about.append(f"{details['amount']} {details.get('unit', '')}".strip())
    if isinstance(details.get("number"), int):
        about.append(f"number {details['number']}")
    if isinstance(details.get("adjusted"), int) and details["adjusted"]:
        about.append(f"{details['adjusted']:,} entries")
    return {
        "at": _at(deed.at_ns),
        "author": deed.author,
        "action": deed.action,
        "about": ", ".join(about),
        "reason": deed.reason,
    }


def _at(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC)
