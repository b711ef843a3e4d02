"""`costguard doctor`: what is wrong with a set-up, and what to do about it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from costguard.cli_progress import busy
from costguard.cli_rules import BudgetFile
from costguard.cli_store import FAILED, Json, Store, one_line, show, show_json, terminal, visible
from costguard.doctor_finding import LEVELS, Finding

_COLORS = {"problem": "red", "warning": "yellow", "note": "cyan", "ok": "green"}


def doctor(
    *,
    app: Annotated[
        str | None, typer.Option("--app", metavar="MODULE:ATTR", help="Import this app, and look at it from inside")
    ] = None,
    factory: Annotated[bool, typer.Option("--factory", help="ATTR is a function that makes the app")] = False,
    prices: Annotated[
        list[str] | None,
        typer.Option("--prices", envvar="COSTGUARD_PRICES", metavar="FILE|URL", help="As in Guard(prices=...)"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings, too")] = False,
    file: BudgetFile = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Look at a set-up: SDKs, store, journals, prices, budgets, alerts, telemetry. Exit code 1: something is wrong."""
    from costguard.doctor import diagnose

    with one_line(), busy("looking"):
        found = diagnose(
            store, app=app, factory=factory, budget_file=None if file is None else Path(file), prices=prices or ()
        )
    if as_json:
        show_json(found.to_json())
    else:
        _show(found.findings)
    if not found.ok or (strict and found.of("warning")):
        raise typer.Exit(FAILED)


def _show(findings: tuple[Finding, ...]) -> None:
    how = terminal()
    width = how["width"] or 120
    for finding in sorted(findings, key=lambda each: LEVELS.index(each.level)):
        mark = f"{finding.level:<8}"
        lines = _wrapped(f"{finding.about}: {finding.text}", width)
        lines += _wrapped(f"-> {finding.way_out}", width) if finding.way_out else []
        show(f"{typer.style(mark, fg=_COLORS[finding.level]) if how['color'] else mark} {lines[0]}")
        for line in lines[1:]:
            show(f"{'':9}{line}")
    counts = {level: sum(each.level == level for each in findings) for level in LEVELS}
    show("")
    if counts["problem"] or counts["warning"]:
        show(f"{_count(counts['problem'], 'problem')}, {_count(counts['warning'], 'warning')}")
    else:
        show("Nothing is wrong.")


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(visible(text), max(width - 9, 30), break_long_words=False, break_on_hyphens=False) or [""]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
