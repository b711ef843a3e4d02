"""`costguard budgets list | set | remove`: the rules, where they come from, and which of them wins."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

import typer

from costguard.budgets import Budget, Limit
from costguard.cli_rules import BudgetFile, Found, KnownRules, iso, minute, plain
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
from costguard.ledger.base import Ledger
from costguard.ledger.stored_rules import StoredBudget
from costguard.tags import Tags
from costguard.units import at_rest, from_rest, show_amount

app = typer.Typer(help="What may be spent: list, set and remove budgets, for all workers.", no_args_is_help=True)

_SEEN_LATER = "Workers see it within seconds. What was spent in the window counts."


@app.command("list")
def list_budgets(
    *,
    tags: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG=VALUE", help="What wins for a call with these tags, and where it stands; repeatable"),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Of the database: also what was replaced or removed")
    ] = False,
    file: BudgetFile = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """The budgets of database and file, and those of code that calls were counted by lately."""
    with one_line(), ledger_at(store) as ledger:
        if tags and history:
            raise ConfigError("--tags and --history do not go together: what was replaced decides nothing")
        known = KnownRules(ledger, file, time.time_ns())
        if tags:
            _standings(ledger, known, Tags(pairs(tags, "--tags")), as_json=as_json)
        elif history:
            _history(known, as_json=as_json)
        else:
            _all(known, as_json=as_json)


@app.command("set")
def set_budget(
    rule: Annotated[str, typer.Argument(metavar="RULE", help='Such as "$5/day per user"')],
    *,
    reason: Reason = BY_HAND,
    author: Author = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Put a budget in force, in place of the one of the database that counts the same for the same payers."""
    from costguard.ledger import rulings
    from costguard.ledger.rules import rules

    with one_line():
        budget = Budget.parse(rule)
        who = author_or_login(author)
        with ledger_at(store) as ledger:
            before = {stored.identity: stored for stored in rules(ledger).budgets}.get(budget.identity)
            deed = deed_of("budget", who, reason, time.time_ns())
            stored = before
            if before is None or before.rule != str(budget):
                # A store that lost its word of it was asked again, and has it already.
                stored = rulings.set_budget(ledger, budget, deed) or _in_force(ledger, budget)
            assert stored is not None  # noqa: S101 - it was set
            if as_json:
                show_json(Found(stored.rule, "database", budget, stored).to_json())
            elif before is not None and before.id == stored.id:
                show(f"budget {stored.id} is that already: {visible(stored.rule)}")
            else:
                instead = "" if before is None else f", in place of {before.id}: {before.rule}"
                show(f"budget {stored.id} is set: {visible(f'{stored.rule}{instead}')}\n{_SEEN_LATER}")


@app.command("remove")
def remove_budget(
    which: Annotated[str, typer.Argument(metavar="NUMBER|RULE", help="As `budgets list` shows it; any limit will do")],
    *,
    reason: Reason = BY_HAND,
    author: Author = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Take a budget of the database out of force. Those of code and files are removed there."""
    from costguard.ledger import rulings

    with one_line():
        chosen = int(which) if which.isascii() and which.isdigit() and len(which) < 10 else Budget.parse(which)
        who = author_or_login(author)
        with ledger_at(store) as ledger:
            now = time.time_ns()
            found = _in_force(ledger, chosen)
            if found is None:
                asked = chosen if isinstance(chosen, int) else str(chosen)
                raise ConfigError(f"the database has no budget {asked!r}; see them with: costguard budgets list")
            gone = rulings.remove_budget(ledger, found.id, deed_of("remove budget", who, reason, now))
            stored = gone or replace(found, removed_ns=now, removed_by=who)
            if as_json:
                show_json(Found(stored.rule, "database", None, stored).to_json())
            else:
                show(f"budget {stored.id} is removed: {visible(stored.rule)}\nWorkers see it within seconds.")


def _in_force(ledger: Ledger, which: Budget | int) -> StoredBudget | None:
    """Of the database: by its number, or one of the same kind, whatever its limit."""
    from costguard.ledger.rules import rules

    return next(
        (
            one
            for one in rules(ledger).budgets
            if (one.id == which if isinstance(which, int) else one.identity == which.identity)
        ),
        None,
    )


def _all(known: KnownRules, *, as_json: bool) -> None:
    if as_json:
        told = []
        for found in known.all:
            stronger = known.stronger(found)
            told.append(found.to_json() | {"overruled_by": None if stronger is None else stronger.source})
        show_json({"version": known.stored.version, "budgets": told})
        return
    lines = []
    for found in known.all:
        stored = found.stored
        stronger = known.stronger(found)
        note = "cannot be read by this version" if found.budget is None else ""
        if stronger is not None:
            note = f"overruled by the {stronger.source}"
        lines.append((
            str(stored.id) if stored else "-", found.rule, found.source, stored.author if stored else "-",
            minute(stored.created_ns) if stored else "-", note,
        ))  # fmt: skip
    show_table(("", "budget", "from", "set by", "at", ""), lines, none="No budgets.")


def _history(known: KnownRules, *, as_json: bool) -> None:
    if as_json:
        show_json({"version": known.stored.version, "budgets": [found.to_json() for found in known.history]})
        return
    lines = []
    for stored in [found.stored for found in known.history if found.stored]:
        end = "" if stored.removed_ns is None else f"{minute(stored.removed_ns)} by {stored.removed_by}"
        lines.append((str(stored.id), stored.rule, stored.author, minute(stored.created_ns), end))
    show_table(("", "budget", "set by", "at", "replaced or removed"), lines, none="No budgets in the database.")


def _standings(ledger: Ledger, known: KnownRules, tags: Tags, *, as_json: bool) -> None:
    chosen = known.chosen()
    limits = [*chosen.limits(tags, known.now_ns), *chosen.local_limits(tags, known.now_ns)]
    told = [_standing(ledger, known, limit) for limit in limits]
    others = _passed_over(known, tags, limits)
    if as_json:
        show_json(
            {
                "tags": dict(tags),
                "standings": told,
                "passed_over": [found.to_json() | {"why": why} for found, why in others],
            }
        )
        return
    show_table(
        ("payer", "budget", "from", "limit", "spent", "held", "remaining", "resets"),
        [_cells(limit, one) for limit, one in zip(limits, told, strict=True)],
        none="No budget counts calls with these tags.",
    )
    for limit, one in zip(limits, told, strict=True):
        if "granted" in one:
            show(visible(f"Granted to {one['payer']}: {_amount(limit, one['granted'])} of the limit of {limit.budget}"))
    for found, why in others:
        show(visible(f"Passed over: {found.rule} ({found.source}), {why}"))


def _passed_over(known: KnownRules, tags: Tags, limits: list[Limit]) -> list[tuple[Found, str]]:
    """The rules that are meant for these tags too, and why another one decides."""
    winners = {limit.budget.account: limit.budget for limit in limits}
    passed = []
    for found in known.all:
        budget = found.budget
        winner = None if budget is None else winners.get(budget.account)
        if budget is None or winner is None or any(tags.value(name) != value for name, value in budget.for_):
            continue
        stronger = known.stronger(found)
        if stronger is not None:
            passed.append((found, f"overruled by the {stronger.source}: {stronger.rule}"))
        elif budget.identity != winner.identity:
            passed.append((found, f"{winner} is more specific, or tighter"))
    return passed


def _standing(ledger: Ledger, known: KnownRules, limit: Limit) -> dict[str, Any]:
    budget = limit.budget
    unit = limit.unit
    granted = from_rest(limit.most - at_rest(budget.limit, unit), unit)  # type: ignore[arg-type]  # a limit has one
    told: dict[str, Any] = {
        "payer": ",".join(f"{name}={value}" for name, value in limit.payer) or "everyone",
        "rule": str(budget),
        "source": known.source_of(budget),
        "unit": unit,
    }
    if granted:
        told["granted"] = plain(granted, unit)
    if budget.is_local:
        # Counted in the worker that makes the call: nobody outside knows.
        return told | {"limit": plain(from_rest(limit.most, unit), unit)}
    before = sum(spent + held for spent, held in ledger.balances(limit.before))
    ((spent, held),) = ledger.balances([limit])
    standing = limit.over(before).standing(spent, held)
    return told | {
        "limit": plain(standing.limit, unit),
        "spent": plain(standing.spent, unit),
        "held": plain(standing.held, unit),
        "remaining": plain(standing.remaining, unit),
        "resets_at": None if limit.end is None else iso(limit.end),
    }


def _cells(limit: Limit, told: dict[str, Any]) -> tuple[str, ...]:
    amounts = [_amount(limit, told[name]) if name in told else "-" for name in ("limit", "spent", "held", "remaining")]
    resets = f"each {limit.budget.window}" if limit.budget.is_local else "never"
    if limit.end is not None:
        resets = minute(limit.end)
    return (told["payer"], told["rule"], told["source"], *amounts, resets)


def _amount(limit: Limit, text: str) -> str:
    return show_amount(Decimal(text), limit.unit)
