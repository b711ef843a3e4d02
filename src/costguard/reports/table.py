"""A spend report as a table for people."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO

from costguard.money import show_usd
from costguard.reports.spend import Spend, SpendReport
from costguard.reports.unpriced import Unpriced


def as_table(report: SpendReport, *, width: int | None = None, color: bool = False) -> str:
    """The report as text: the rows (input and output in tokens), the total, and what the total does not say.

    width:  columns of the terminal, more if the amounts need more; None: as wide as it needs
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [_cells(report, row) for row in (*report.rows, report.total)]
    widths = [max(len(cell) for cell in column) for column in zip(_HEADINGS, *lines, strict=True)]
    table = Table(box=box.SIMPLE_HEAD, show_footer=bool(report.rows), pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(report.by):
        table.add_column(name, footer="total" if place == 0 else "", overflow="fold", min_width=_LEAST)
    for heading, footer, least in zip(_HEADINGS, lines[-1], widths, strict=True):
        table.add_column(heading, footer=footer, justify="right", no_wrap=True, min_width=least)
    for row, cells in zip(report.rows, lines, strict=False):
        # Text, not markup: a tag such as "[red]" is shown as it is.
        table.add_row(*(Text(_visible(row.group[name])) for name in report.by), *cells)
    if not report.by:
        table.add_row(*lines[-1])
    # A cut amount would be a wrong one: in a terminal too narrow for the amounts, the terminal breaks the lines.
    needed = sum(widths) + _LEAST * len(report.by) + 2 * (len(widths) + len(report.by))
    out = StringIO()
    console = Console(
        file=out,
        width=max(width, needed) if width else _AS_WIDE_AS_NEEDED,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    console.print(Text(_heading(report), style="bold"))
    console.print(table if report.total.calls else Text("No calls."))
    for note in _notes(report):
        console.print(Text(note))
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


_HEADINGS = ("cost", "share", "calls", "input", "output", "unpriced", "estimated")
_LEAST = 8
_MOST_UNPRICED = 20
_AS_WIDE_AS_NEEDED = 1000


def _cells(report: SpendReport, row: Spend) -> tuple[str, ...]:
    # A group whose calls all lack a price has no cost to show: "$0.00" would say that it was free.
    priced = row.calls > row.unpriced_calls or row.calls == 0
    return (
        show_usd(row.cost) if priced else "unpriced",
        _percent(report.share(row.cost)) if priced else "-",
        f"{row.calls:,}",
        f"{row.input_tokens:,}",
        f"{row.output_tokens:,}",
        f"{row.unpriced_calls:,}" if row.unpriced_calls else "-",
        f"{show_usd(row.estimated_cost)} ({row.estimated_calls:,})" if row.estimated_calls else "-",
    )


def _heading(report: SpendReport) -> str:
    since = "the first call" if report.since is None else f"{report.since:%Y-%m-%d %H:%M} UTC"
    until = "now" if report.until is None else f"{report.until:%Y-%m-%d %H:%M} UTC"
    where = ", ".join(f"{name}={_visible(value)}" for name, value in report.where.items())
    return f"Spend from {since} to {until}{f' where {where}' if where else ''}"


def _notes(report: SpendReport) -> list[str]:
    total = report.total
    notes = []
    if total.unpriced_calls:
        notes.append(
            f"Not in the total: {_count(total.unpriced_calls, 'call')} without a price "
            f"({_count(total.unpriced_tokens, 'token')}); they are not free."
        )
        notes += [_unpriced(one) for one in report.unpriced[:_MOST_UNPRICED]]
        if len(report.unpriced) > _MOST_UNPRICED:
            notes.append(f"  and {len(report.unpriced) - _MOST_UNPRICED:,} more models; --json has them all")
        notes.append("Once they have a price, past calls get it by: costguard reprice")
    if total.estimated_calls:
        notes.append(
            f"Estimated: {show_usd(total.estimated_cost)} of the total, {_count(total.estimated_calls, 'call')} "
            f"whose usage the provider did not report."
        )
    if report.unattributed:
        share = _percent(report.share(report.unattributed))
        notes.append(f"Unattributed: {show_usd(report.unattributed)} ({share}) lacks a tag asked for.")
    if total.errors:
        notes.append(f"Errors: {_count(total.errors, 'call')} refused or failed by the provider.")
    if report.lost_leases:
        notes.append(
            f"Not in the total: {show_usd(report.lost_leases)} charged on budgets for what workers that died had "
            f"leased; their calls in flight may have cost some of it."
        )
    return notes


def _unpriced(one: Unpriced) -> str:
    near = f"; near names: {', '.join(one.near)}" if one.near else ""
    name, way_out = _visible(one.name), _visible(one.way_out)
    return f"  {name}: {_count(one.calls, 'call')}, {_count(one.tokens, 'token')}{near}; {way_out}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _percent(share: Decimal) -> str:
    return f"{share * 100:.1f} %"


def _visible(text: str) -> str:
    """Without control characters: a tag comes from a user and could drive the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
