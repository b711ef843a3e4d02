"""`costguard budgets standings`: where payers stand against their budgets, and which of them are at risk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from costguard.cli_rules import BudgetFile, KnownRules, minute
from costguard.cli_store import Json, Store, ledger_at, one_line, show, show_json, terminal
from costguard.units import show_amount

if TYPE_CHECKING:
    from costguard.reports.standings import PayerStanding, Risk

_BAR = 20
_WHY = {"spent": "spent", "near": "nearly spent", "heading": "heading for it"}


def standings(
    *,
    at_risk: Annotated[
        bool, typer.Option("--at-risk", help="Only those near their limit, or heading for it, with a forecast")
    ] = False,
    most: Annotated[int, typer.Option("--most", "-n", min=1, metavar="N", help="Payers, the fullest first")] = 20,
    file: BudgetFile = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """The payers that spent in the running windows of the budgets, the fullest first."""
    from costguard.reports.standings import at_risk as find_risks
    from costguard.reports.standings import standings as find_standings

    with one_line(), ledger_at(store) as ledger:
        known = KnownRules(ledger, file, time.time_ns()).chosen()
        if at_risk:
            found = find_risks(ledger, known, most=most)
            if as_json:
                show_json(found.to_json())
                return
            _table([one.at for one in found.risks], {one.at.limit.key: one for one in found.risks})
            if not found.risks:
                show(f"Nobody is at risk, of {found.looked_at:,} who spent.")
            return
        there = find_standings(ledger, known, most=most)[:most]
        if as_json:
            show_json([one.to_json() for one in there])
            return
        _table(list(there), {})
        if not there:
            show("Nobody has spent anything in the running windows.")


def _table(those: list[PayerStanding], risks: dict[str, Risk]) -> None:
    from costguard.reports.sparkline import bar
    from costguard.reports.terminal_table import Column, about, draw

    if not those:
        return
    columns = [
        Column("payer", name=True), Column("budget", name=True), Column("", 3, name=True), Column("used"),
        Column("spent", 2), Column("held", 4), Column("remaining"), Column("resets (UTC)", 5),
        *([Column("why", name=True), Column("expected", 3), Column("reached")] if risks else []),
    ]  # fmt: skip
    rows = []
    for one in those:
        standing, share, unit = one.standing, one.share, one.standing.unit
        risk = risks.get(one.limit.key)
        ahead = None if risk is None else risk.forecast
        rows.append([
            ",".join(f"{name}={value}" for name, value in one.payer.items()) or "everyone",
            f"{one.budget}{' (observed)' if one.budget.observe else ''}",
            "" if share is None else bar(min(int(share * 1000), 1000), 1000, _BAR),
            "-" if share is None else f"{share * 100:.1f} %",
            show_amount(standing.spent, unit), show_amount(standing.held, unit) if standing.held else "-",
            show_amount(standing.remaining, unit),
            "never" if one.limit.end is None else minute(one.limit.end).removesuffix("Z"),
            *([
                "-" if risk is None else _WHY[risk.why], "-" if ahead is None else about(ahead.expected),
                "-" if risk is None or risk.reached is None else risk.reached.isoformat(),
            ] if risks else []),
        ])  # fmt: skip
    text, hidden = draw(columns, rows, **terminal())
    show(text)
    if any(hidden):
        show(f"Not shown in a terminal this narrow: {', '.join(filter(None, hidden))}.")
