"""`costguard reprice`: past calls priced anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from costguard.cli_progress import progress
from costguard.cli_rules import BudgetFile, KnownRules, iso, minute
from costguard.cli_store import (
    Author,
    Json,
    Store,
    author_or_login,
    ledger_at,
    one_line,
    show,
    show_json,
    show_table,
    visible,
)
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.money import exact_sum, from_nanos, show_usd
from costguard.repricing import KEPT, Difference, Repricing

_MOST_LINES = 30
"""Of a table; the rest is added up in one line."""


def reprice(
    *,
    since: Annotated[str | None, typer.Option(help="Of the calls: 7d, 24h, 2026-11-01 (UTC), or all")] = None,
    until: Annotated[str | None, typer.Option(help="The same; not included")] = None,
    model: Annotated[str | None, typer.Option(help="Only calls that this model answered")] = None,
    provider: Annotated[str | None, typer.Option(help="Only calls of this provider")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what differs")] = False,
    prices: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|URL", help="The app's own prices, as in Guard(prices=...); repeatable"),
    ] = None,
    reported: Annotated[bool, typer.Option("--reported", help="Also calls whose provider said what they cost")] = False,
    overridden: Annotated[
        bool, typer.Option("--overridden", help="Also calls that the app's own prices had priced, by the shipped list")
    ] = False,
    per: Annotated[str, typer.Option(metavar="TAG", help="The tag that names the payers")] = "user",
    author: Author = None,
    reason: Annotated[str, typer.Option(help="Why, for those who read the history")] = "",
    history: Annotated[bool, typer.Option("--history", help="Only show who has repriced what, and when")] = False,
    balances: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The Valkey or Redis with the balances, if the app has Guard(balances=...)"),
    ] = None,
    file: BudgetFile = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Price past calls anew, and record what differs as adjustments: in reports, and in the windows of budgets."""
    with one_line(), ledger_at(store) as opened, _with_balances(opened, balances) as ledger:
        if history:
            _history(ledger, as_json=as_json)
            return
        if since is None:
            raise ConfigError("no time given: add --since 7d, or --since all")
        from costguard.pricing.book import PriceBook
        from costguard.reprice import reprice as price_anew

        book = PriceBook(prices or None)
        if problems := book.look():
            raise ConfigError("; ".join(problems))
        with progress("looking at entries") as tell:
            found = price_anew(
                ledger,
                book,
                since=None if since == "all" else since,
                until=until,
                provider=provider,
                model=model,
                per=per,
                dry_run=dry_run,
                reported=reported,
                overridden=overridden,
                author=None if dry_run and author is None else author_or_login(author),
                reason=reason,
                budgets=[one.budget for one in KnownRules(ledger, file, time.time_ns()).all[::-1] if one.budget],
                progress=tell,
            )
        if as_json:
            show_json(found.to_json())
        else:
            _show(found)


@contextmanager
def _with_balances(ledger: Ledger, balances: str | None) -> Iterator[Ledger]:
    if balances is None:
        yield ledger
        return
    from costguard.ledger.valkey import ValkeyLedger

    over = ValkeyLedger(ledger, balances)
    over.open()
    try:
        yield over
    finally:
        over.close()


def _show(found: Repricing) -> None:
    since = "the first call" if found.since is None else f"{found.since:%Y-%m-%d %H:%M} UTC"
    until = "now" if found.until is None else f"{found.until:%Y-%m-%d %H:%M} UTC"
    show(f"Calls from {since} to {until}, by the prices of their time as they are known now")
    if found.differences:
        total = found.total
        for headings, names in ((("provider", "model"), ("provider", "model")), ((found.per,), (found.per,))):
            show("")
            _table(headings, found.by(*names), total)
    show("")
    for note in _notes(found):
        show(note)


def _table(headings: tuple[str, ...], lines: list[Difference], total: Difference) -> None:
    rows = [(*one.group.values(), *_cells(one)) for one in lines[:_MOST_LINES]]
    rest = lines[_MOST_LINES:]
    blank = ("",) * (len(headings) - 1)
    if rest:
        calls, unpriced = sum(one.calls for one in rest), sum(one.unpriced for one in rest)
        before, after = exact_sum(one.before for one in rest), exact_sum(one.after for one in rest)
        others = Difference({}, calls, unpriced, before, after)
        rows.append((f"... {len(rest):,} more", *blank, *_cells(others)))
    rows.append(("total", *blank, *_cells(total)))
    show_table((*headings, "calls", "unpriced before", "recorded", "costs", "difference"), rows, none="")


def _cells(one: Difference) -> tuple[str, ...]:
    sign = "+" if one.difference > 0 else ""
    return (
        f"{one.calls:,}", f"{one.unpriced:,}" if one.unpriced else "-", show_usd(one.before), show_usd(one.after),
        f"{sign}{show_usd(one.difference)}",
    )  # fmt: skip


def _notes(found: Repricing) -> Iterator[str]:
    total = found.total
    yield f"{_count(found.calls, 'call')} looked at, {found.unchanged:,} cost what is recorded"
    for why, number in found.kept.items():
        yield f"{_count(number, 'call')} {'keep their' if number > 1 else 'keeps its'} cost: {KEPT[why]}"
    for (provider, model), (calls, tokens) in sorted(found.unpriced.items()):
        yield f"Without a price: {visible(f'{provider}/{model}')}, {_count(calls, 'call')}, {_count(tokens, 'token')}"
    if found.partial:
        yield f"Of those that differ, {_count(found.partial, 'call')} used something that has no price: a partial cost"
    if not total.calls:
        yield "Nothing differs."
    elif found.dry_run:
        yield "Nothing was recorded. To record it: the same without --dry-run"
    else:
        yield f"{_count(found.written, 'adjustment')} recorded"
        if found.written < total.calls:
            yield f"{_count(total.calls - found.written, 'call')}: another reprice was faster; see: the same again"
        if found.crossings:
            yield f"{_count(found.crossings, 'alert')} to be told by a running guard"


def _history(ledger: Ledger, *, as_json: bool) -> None:
    deeds = [deed for deed in ledger.deeds() if deed.action == "reprice"]
    if as_json:
        show_json(
            [
                {"at": iso(deed.at_ns), "author": deed.author, "reason": deed.reason, "details": dict(deed.details)}
                for deed in deeds
            ]
        )
        return
    lines = []
    for deed in deeds:
        told = dict(deed.details)
        nanos, number = told.pop("nanos", 0), told.pop("adjusted", 0)
        amount = show_usd(from_nanos(nanos)) if isinstance(nanos, int) else "-"
        which = ", ".join(f"{name} {value}" for name, value in told.items()) or "all"
        lines.append((minute(deed.at_ns), deed.author, f"{number:,}", amount, which, deed.reason))
    show_table(("at", "author", "adjustments", "sum", "calls", "reason"), lines, none="Nothing was ever repriced.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
