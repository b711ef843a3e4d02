"""A series as a chart: stacked bars with a colour for each group, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from costguard.dashboard.looks import count, usd
from costguard.dashboard.query import Query
from costguard.dashboard.tables import Column, Table
from costguard.dashboard.view import View
from costguard.reports.figures import Spend
from costguard.reports.series import Line, Series
from costguard.windows import zone

STEPS = {"hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
"""Seconds of a grain; of a month about."""

OTHER = "other"

Number = Decimal | int

MEASURES: Mapping[str, tuple[str, Callable[[Spend], Number]]] = {
    "cost": ("Cost", lambda one: one.cost),
    "calls": ("Calls", lambda one: one.calls),
    "tokens": ("Tokens", lambda one: one.tokens),
    "errors": ("Errors", lambda one: one.errors),
}
"""What a chart can show: in words, and how it is read from a point."""


@dataclass(frozen=True, slots=True)
class ChartColumn:
    """One colour.

    url:   narrows the page to it; "" for what is no one group
    total: None where nothing in it has a price
    """

    name: str
    place: int
    total: Number | None
    other: bool
    url: str


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One bar; `at`: seconds since 1970, moved by the offset of its zone, so that midnight is drawn as midnight."""

    at: int
    label: str
    values: tuple[Number, ...]
    total: Number


@dataclass(frozen=True, slots=True)
class Chart:
    """summary: what a person who does not see it is told first."""

    name: str
    title: str
    grain: str
    measure: str
    columns: tuple[ChartColumn, ...]
    rows: tuple[ChartRow, ...]
    summary: str

    @property
    def step(self) -> int:
        return STEPS[self.grain]

    @property
    def unit(self) -> str:
        return "usd" if self.measure == "cost" else "count"

    @property
    def any(self) -> bool:
        return any(row.total for row in self.rows)

    def say(self, value: Number | None) -> str:
        if value is None:
            return "unpriced"
        return usd(value) if isinstance(value, Decimal) else count(value)


def chart_of(view: View, found: Series, query: Query, *, measure: str = "cost", name: str = "series") -> Chart:
    """The lines of a series as columns; a series of nothing in particular has one, the total."""
    title, read = MEASURES[measure]
    lines = found.lines or (found.total,)
    columns = tuple(_column(view, line, place, query, read) for place, line in enumerate(lines))
    rows = tuple(
        _row(found, place, start, [read(line.points[place]) for line in lines], read)
        for place, start in enumerate(found.starts)
    )
    made = Chart(name, f"{title} by {found.grain}", found.grain, measure, columns, rows, "")
    highest = max(rows, key=lambda row: row.total, default=None)
    said = f"Bar chart: {made.title}, {made.say(read(found.total.total))} in all"
    if highest is not None and highest.total:
        said += f"; the highest is {made.say(highest.total)}, {highest.label}. The numbers are in the table below."
    return Chart(name, made.title, found.grain, measure, columns, rows, said)


def series_table(found: Series, empty: str) -> Table:
    """One row for each bar and group, as programs like it."""
    # A tag may have the name of a figure, which has a column of its own.
    names = {name: f"tag {name}" if name in ("start", *_NUMBERS) else name for name in found.by}
    tags = tuple(Column(names[name], name) for name in found.by)
    columns = (
        Column("start", "start (UTC)", "moment"), *tags,
        Column("cost", "cost", "usd"), Column("calls", "calls", "count"),
        Column("input_tokens", "input tokens", "tokens"), Column("output_tokens", "output tokens", "tokens"),
        Column("errors", "errors", "count"), Column("unpriced_calls", "unpriced calls", "count"),
    )  # fmt: skip
    rows = [
        {
            "start": start,
            **{names[name]: OTHER if line.group is None else line.group[name] for name in found.by},
            **{name: getattr(line.points[place], name) for name in _NUMBERS},
        }
        for place, start in enumerate(found.starts)
        for line in (found.lines or (found.total,))
        if line.points[place].calls
    ]
    return Table("series", f"Spend by {found.grain}", columns, rows, empty)


_NUMBERS = ("cost", "calls", "input_tokens", "output_tokens", "errors", "unpriced_calls")


def _column(view: View, line: Line, place: int, query: Query, read: Callable[[Spend], Number]) -> ChartColumn:
    total: Number | None = read(line.total)
    if isinstance(total, Decimal) and not total and line.total.unpriced_calls:
        total = None
    if not line.group:
        other = line.group is None
        return ChartColumn(OTHER if other else "all", place, total, other, "")
    url = ""
    if len(line.group) == 1:
        ((tag, value),) = line.group.items()
        url = view.narrowed(query, tag, value, before=None)
    return ChartColumn(" · ".join(line.group.values()), place, total, False, url)


def _row(
    found: Series, place: int, start: datetime, values: Sequence[Number], read: Callable[[Spend], Number]
) -> ChartRow:
    local = start.astimezone(zone(found.tz))
    offset = local.utcoffset()
    at = int(start.timestamp()) + (int(offset.total_seconds()) if offset else 0)
    label = f"{local:%b %Y}" if found.grain == "month" else f"{local.day} {local:%b}"
    if found.grain == "hour":
        label += f" {local:%H}:00"
    return ChartRow(at, label, tuple(values), read(found.total.points[place]))
