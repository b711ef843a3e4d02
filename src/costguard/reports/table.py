"""A spend report as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from costguard.errors import ConfigError
from costguard.money import show_usd
from costguard.reports.series import Series
from costguard.reports.sparkline import sparkline
from costguard.reports.spend import Spend, SpendReport
from costguard.reports.terminal_table import Column, bold, counted, draw, render, visible
from costguard.reports.unpriced import Unpriced

USUAL = ("share", "calls", "input", "output", "unpriced", "estimated")
"""The columns beside the cost, unless others are asked for."""

Trend = Mapping[tuple[str, ...], Sequence[Decimal]]
"""What each group cost over time; without a name, all of them."""


def as_table(
    report: SpendReport,
    *,
    width: int | None = None,
    color: bool = False,
    columns: Sequence[str] = USUAL,
    trend: Trend | None = None,
) -> str:
    """The report as text: the rows (input and output in tokens), the total, and what the total does not say.

    width:   columns of the terminal: what matters less is left out where it is narrow; None: as wide as it needs
    columns: of `FIGURES`
    trend:   drawn as a small line for each group
    """
    figures = [FIGURES[name] for name in columns]
    compared = [_BEFORE, _CHANGE] if report.before is not None else []
    of_trend = [] if trend is None else [Column("trend", 5)]
    shown = [
        *(Column(name, name=True) for name in report.by), Column("cost"), *(one.column for one in compared), *of_trend,
        *(one.column for one in figures),
    ]  # fmt: skip

    def line(names: Sequence[str], row: Spend) -> list[str]:
        # A group whose calls all lack a price has no cost to show: "$0.00" would say that it was free.
        cost = show_usd(row.cost) if row.calls > row.unpriced_calls or row.calls == 0 else "unpriced"
        drawn = [] if trend is None else [sparkline(trend.get(tuple(row.group.values()), ()))]
        return [*names, cost, *(each.show(report, row) for each in compared), *drawn,
                *(each.show(report, row) for each in figures)]  # fmt: skip

    rows = [line([row.group[name] for name in report.by], row) for row in report.rows]
    total = line(["total" if place == 0 else "" for place in range(len(report.by))], report.total)
    text = [bold(_heading(report), color=color)]
    notes = _notes(report)
    if not report.total.calls and not (report.before is not None and report.rows):
        text.append("No calls.")
    else:
        drawn, hidden = draw(
            shown, rows or [total], footer=total if rows else None, width=width, color=color
        )  # fmt: skip
        text.append(drawn)
        if hidden:
            notes.append(f"Not shown in a terminal this narrow: {', '.join(hidden)}.")
    return "\n".join([*text, *(_wrapped(note, width) for note in notes)])


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of numbers."""

    column: Column
    show: Callable[[SpendReport, Spend], str]


def _figure(heading: str, drop: int, show: Callable[[SpendReport, Spend], str]) -> Figure:
    return Figure(Column(heading, drop), show)


def _percent_of(part: Decimal | None) -> str:
    return "-" if part is None else _percent(part)


def _seconds(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e9:,.2f} s"


def _share(report: SpendReport, row: Spend) -> str:
    return _percent(report.share(row.cost)) if row.calls > row.unpriced_calls or row.calls == 0 else "-"


def _estimated(_: SpendReport, row: Spend) -> str:
    return f"{show_usd(row.estimated_cost)} ({row.estimated_calls:,})" if row.estimated_calls else "-"


def _change(_: SpendReport, row: Spend) -> str:
    if row.change is None or not row.change:
        return "-" if row.change is None else "$0.00"
    share = "" if row.change_share is None else f" ({row.change_share * 100:+,.1f} %)"
    return f"{'+' if row.change > 0 else ''}{show_usd(row.change)}{share}"


def _spread(name: str) -> Callable[[SpendReport, Spend], str]:
    return lambda _, row: _seconds(None if row.spread is None else getattr(row.spread, name))


def _count_or_dash(name: str) -> Callable[[SpendReport, Spend], str]:
    return lambda _, row: f"{value:,}" if (value := getattr(row, name)) else "-"


def _number(name: str) -> Callable[[SpendReport, Spend], str]:
    return lambda _, row: f"{getattr(row, name):,}"


_BEFORE = _figure("before", 4, lambda _, row: "-" if row.before is None else show_usd(row.before.cost))
_CHANGE = _figure("change", 0, _change)

FIGURES: Mapping[str, Figure] = {
    "share": _figure("share", 6, _share),
    "calls": _figure("calls", 2, _number("calls")),
    "input": _figure("input", 7, _number("input_tokens")),
    "output": _figure("output", 7, _number("output_tokens")),
    "cached": _figure("cached", 7, lambda _, row: _percent_of(row.cache_share)),
    "written": _figure("written", 7, _count_or_dash("cache_write_tokens")),
    "reasoning": _figure("reasoning", 7, _count_or_dash("reasoning_tokens")),
    "unpriced": _figure("unpriced", 1, _count_or_dash("unpriced_calls")),
    "estimated": _figure("estimated", 3, _estimated),
    "errors": _figure("errors", 4, _count_or_dash("errors")),
    "refused": _figure("refused", 4, _count_or_dash("refused")),
    "repeats": _figure("repeats", 6, _count_or_dash("repeats")),
    "per_call": _figure(
        "per call", 5, lambda _, row: "-" if row.cost_per_call is None else show_usd(row.cost_per_call)
    ),
    "latency": _figure("latency", 5, lambda _, row: _seconds(row.latency_ns)),
    "p50": _figure("p50", 5, _spread("latency_p50_ns")),
    "p95": _figure("p95", 5, _spread("latency_p95_ns")),
}
"""What can stand beside the cost: `cached` is the part of the input that was read from a cache, `p50` and `p95` are
what half of the calls, and 95 of 100, took."""


def read_columns(text: str) -> tuple[str, ...]:
    """Names of `FIGURES` with commas between. Raises ConfigError for one that is none."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in FIGURES:
            raise ConfigError(f"column {name!r} is not one of {', '.join(FIGURES)}")
    return names


def trend_of(series: Series) -> Trend:
    """The costs of the lines of a series, and of all of it."""
    found: dict[tuple[str, ...], list[Decimal]] = {(): [point.cost for point in series.total.points]}
    for line in series.lines:
        if line.group is not None:
            found[tuple(line.group.values())] = [point.cost for point in line.points]
    return found


_MOST_UNPRICED = 20


def _heading(report: SpendReport) -> str:
    since = "the first call" if report.since is None else f"{report.since:%Y-%m-%d %H:%M} UTC"
    until = "now" if report.until is None else f"{report.until:%Y-%m-%d %H:%M} UTC"
    where = ", ".join(
        f"{name}={visible(value if isinstance(value, str) else ' or '.join(value))}"
        for name, value in report.where.items()
    )
    return f"Spend from {since} to {until}{f' where {where}' if where else ''}"


def _notes(report: SpendReport) -> list[str]:
    total = report.total
    notes = []
    if total.unpriced_calls:
        notes.append(
            f"Not in the total: {counted(total.unpriced_calls, 'call')} without a price "
            f"({counted(total.unpriced_tokens, 'token')}); they are not free."
        )
        notes += [_unpriced(one) for one in report.unpriced[:_MOST_UNPRICED]]
        if len(report.unpriced) > _MOST_UNPRICED:
            notes.append(f"  and {len(report.unpriced) - _MOST_UNPRICED:,} more models; --json has them all")
        notes.append("Once they have a price, past calls get it by: costguard reprice --since 30d")
    if total.estimated_calls:
        notes.append(
            f"Estimated: {show_usd(total.estimated_cost)} of the total, {counted(total.estimated_calls, 'call')} "
            f"whose usage the provider did not report."
        )
    if report.unattributed:
        share = _percent(report.share(report.unattributed))
        notes.append(
            f"Unattributed: {show_usd(report.unattributed)} ({share}) lacks a tag asked for; the middleware or "
            f"bind_tags() gives it."
        )
    if total.errors:
        notes.append(f"Errors: {counted(total.errors, 'call')} refused or failed by the provider.")
    if report.lost_leases:
        notes.append(
            f"Not in the total: {show_usd(report.lost_leases)} charged on budgets for what workers that died had "
            f"leased; their calls in flight may have cost some of it."
        )
    return notes


def _unpriced(one: Unpriced) -> str:
    near = f"; near names: {', '.join(one.near)}" if one.near else ""
    name, way_out = visible(one.name), visible(one.way_out)
    return f"  {name}: {counted(one.calls, 'call')}, {counted(one.tokens, 'token')}{near}; {way_out}"


def _percent(share: Decimal) -> str:
    return f"{share * 100:.1f} %"


def _wrapped(note: str, width: int | None) -> str:
    from rich.text import Text

    return render(Text(note), width, color=False) if width is not None and len(note) > width else note
