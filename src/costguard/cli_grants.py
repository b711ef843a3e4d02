"""`costguard grants add | list | remove`: dated top-ups of one payer's limit."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from costguard.budgets import Budget
from costguard.cli_rules import BudgetFile, KnownRules, iso, minute, plain
from costguard.cli_store import (
    BY_HAND,
    Author,
    Json,
    Reason,
    Store,
    author_or_login,
    deed_of,
    ledger_at,
    one_line,
    pairs,
    show,
    show_json,
    show_table,
    visible,
)
from costguard.errors import ConfigError
from costguard.grants import NEVER, Grant
from costguard.ledger.rules import rules
from costguard.ledger.stored_rules import StoredGrant
from costguard.tags import Tags
from costguard.units import from_rest, read_amount, show_amount

app = typer.Typer(help="Top-ups: more for one payer, for a while.", no_args_is_help=True)

_SPAN = re.compile(r"(\d{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command("add")
def add_grant(
    rule: Annotated[
        str, typer.Argument(metavar="RULE", help="The budget, as `budgets list` shows it; any limit will do")
    ],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="In the unit of the budget, e.g. 10 or $2.50")],
    *,
    payer: Annotated[list[str] | None, typer.Option(metavar="TAG=VALUE", help="Whose limit; repeatable")] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What it is for; kept with it")],
    until: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="7d, 24h, 2026-12-24 (UTC); without it, the rest of the running window"),
    ] = None,
    author: Author = None,
    file: BudgetFile = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add to the limit of one payer, in the running window or until a moment."""
    from costguard.ledger.rulings import add_grant as add

    with one_line():
        now = time.time_ns()
        budget = Budget.parse(rule)
        grant = Grant(
            budget.account,
            tuple(pairs(payer or [], "--payer").items()),
            read_amount(amount, budget.unit, what="grant"),
            budget.unit,
            now,
            None if until is None else _moment(until, now),
            author_or_login(author),
            " ".join(reason.split()),
        )
        with ledger_at(store) as ledger:
            known = any(
                found.budget is not None and found.budget.account == budget.account
                for found in KnownRules(ledger, file, now).all
            )
            deed = deed_of("grant", grant.author, reason, now, budget=budget.title)
            add(ledger, grant, deed)
            stored = next(one for one in rules(ledger, history=True).grants if one.nonce == deed.nonce)
            if as_json:
                show_json(_json(stored) | {"known_budget": known})
                return
            show(f"grant {stored.id}: {show_amount(grant.amount, grant.unit)} for {_payer(stored)}, {_until(stored)}")
            show(
                "Workers see it within seconds."
                if known
                else f"No budget that is known here counts that ({visible(budget.account)}): it has an effect only if "
                f"the app's code has one. Was it mistyped? costguard grants remove {stored.id}"
            )


@app.command("list")
def list_grants(
    *,
    history: Annotated[bool, typer.Option("--history", help="Also those that are over or were taken back")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """The grants in force, oldest first."""
    with one_line(), ledger_at(store) as ledger:
        now = time.time_ns()
        found = [grant for grant in rules(ledger, history=history).grants if history or not _is_over(grant, now)]
        if as_json:
            show_json({"grants": [_json(grant) for grant in found]})
            return
        lines = [
            (
                str(grant.id), _payer(grant), show_amount(from_rest(grant.amount, grant.unit), grant.unit),
                _account(grant), minute(grant.at_ns), _until(grant), grant.author, grant.reason,
            )
            for grant in found
        ]  # fmt: skip
        show_table(("", "payer", "amount", "on", "at", "in force", "by", "reason"), lines, none="No grants.")


@app.command("remove")
def remove_grant(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="As `grants list` shows it")],
    *,
    reason: Reason = BY_HAND,
    author: Author = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Take a grant back. What was spent of it stays spent."""
    from costguard.ledger.rulings import remove_grant as remove

    with one_line():
        who = author_or_login(author)
        with ledger_at(store) as ledger:
            now = time.time_ns()
            found = next((one for one in rules(ledger).grants if one.id == number), None)
            if found is None:
                raise ConfigError(f"the database has no grant {number}; see them with: costguard grants list")
            gone = remove(ledger, number, deed_of("take back grant", who, reason, now))
            # None: a store that lost its word of it was asked again, and had done it.
            stored = gone or replace(found, removed_ns=now, removed_by=who)
            if as_json:
                show_json(_json(stored))
            else:
                show(f"grant {stored.id} of {_payer(stored)} is taken back\nWorkers see it within seconds.")


def _moment(text: str, now_ns: int) -> int:
    """When a grant ends, in nanoseconds since 1970."""
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        if not int(span[1]):
            raise ConfigError(f"--until {text} is over already; give a moment to come")
        return now_ns + timedelta(**{_UNITS[span[2]]: int(span[1])}) // timedelta(microseconds=1) * 1000
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"--until {text!r} is not a time; write it as 7d, 24h, 2026-12-24 or 2026-12-24T18:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    ns = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    if ns <= now_ns:
        raise ConfigError(f"--until {text} is over already; give a moment to come")
    return ns


def _ends(stored: StoredGrant) -> int | None:
    """When a grant ends, nanoseconds since 1970; None: never."""
    if stored.until_ns is not None:
        return stored.until_ns
    limit = _budget(stored).limit_for(Tags(stored.payer), stored.at_ns)
    _, end = stored.grant.in_force(limit)
    return None if end >= NEVER else end


def _budget(stored: StoredGrant) -> Budget:
    """A budget of the account that is topped up; its limit says nothing."""
    window, tz, per, where, *unit = json.loads(stored.account)
    return Budget("1", window, per=per, where=where, tz=tz, unit=unit[0] if unit else "usd")  # type: ignore[arg-type]


def _is_over(stored: StoredGrant, now_ns: int) -> bool:
    end = _ends(stored)
    return stored.removed_ns is not None or (end is not None and end <= now_ns)


def _until(stored: StoredGrant) -> str:
    if stored.removed_ns is not None:
        return f"taken back {minute(stored.removed_ns)} by {stored.removed_by}"
    end = _ends(stored)
    return "for good" if end is None else f"until {minute(end)}"


def _payer(stored: StoredGrant) -> str:
    return visible(",".join(f"{name}={value}" for name, value in stored.payer.items())) or "everyone"


def _account(stored: StoredGrant) -> str:
    """The budget without its limit, as people write it: "/day per user"."""
    return str(_budget(stored)).partition("/")[2]


def _json(stored: StoredGrant) -> dict[str, Any]:
    end = _ends(stored)
    told: dict[str, Any] = {
        "id": stored.id,
        "account": _account(stored),
        "payer": dict(stored.payer),
        "amount": plain(from_rest(stored.amount, stored.unit), stored.unit),
        "unit": stored.unit,
        "at": iso(stored.at_ns),
        "until": None if end is None else iso(end),
        "author": stored.author,
        "reason": stored.reason,
    }
    if stored.removed_ns is not None:
        told |= {"removed": iso(stored.removed_ns), "removed_by": stored.removed_by}
    return told
