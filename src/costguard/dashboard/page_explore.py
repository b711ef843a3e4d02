"""Explore: any calls, broken down by anything, over any time; from each row down to its calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.dashboard.chart import MEASURES, chart_of, series_table
from costguard.dashboard.choices import Choice, breakdowns, filters, grain_for, grains, names_of, normal, times
from costguard.dashboard.query import WHERE, Query
from costguard.dashboard.tables import Column, Table
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.reports.figures import Spend
from costguard.reports.period import GRAINS
from costguard.reports.series import series
from costguard.reports.spend import SpendReport, spend

MOST = 100
"""Rows shown; the CSV has all of them."""

MANY_VALUES = ("user", "session")
"""Tags with so many values that percentiles of each would be read from the rows."""

FIGURES = (
    Column("cost", "cost", "usd"),
    Column("share", "share", "share"),
    Column("change", "change", "text"),
    Column("calls", "calls", "count"),
    Column("cost_per_call", "per call", "usd"),
    Column("input_tokens", "input", "tokens"),
    Column("output_tokens", "output", "tokens"),
    Column("cache_share", "cached", "share"),
    Column("errors", "errors", "count"),
    Column("unpriced_calls", "unpriced", "count"),
)
SPREAD = (
    Column("latency_p50", "p50", "seconds"),
    Column("latency_p95", "p95", "seconds"),
)
MORE = (
    Column("refused", "refused", "count"),
    Column("attempts", "attempts", "count"),
    Column("cache_read_tokens", "cache reads", "tokens"),
    Column("cache_write_tokens", "cache writes", "tokens"),
    Column("reasoning_tokens", "reasoning", "tokens"),
    Column("estimated_calls", "estimated", "count"),
    Column("estimated_cost", "estimated cost", "usd"),
)
"""In the CSV; of these the page shows refusals, where there are any."""

_TAKEN = frozenset(column.name for column in (*FIGURES, *SPREAD, *MORE)) | {"before", "links"}

SORTS = ("cost", "change", "calls", "cost_per_call", "input_tokens", "output_tokens", "cache_share", "errors",
         "unpriced_calls", "latency_p95")  # fmt: skip


def explore(view: View, query: Query) -> Mapping[str, Any]:
    """One breakdown. Raises ConfigError for what cannot be read."""
    query = normal(query)
    chosen = times(view, query)
    by = query.names("by", ("model",))
    names = names_of(view)
    measure, sort = query.get("show", "cost"), query.get("sort", "cost")
    if measure not in MEASURES:
        raise ConfigError(f"show={measure!r} is not one of {', '.join(MEASURES)}")
    if sort not in SORTS:
        raise ConfigError(f"sort={sort!r} is not one of {', '.join(SORTS)}")
    grain = grain_for(query, chosen)
    if grain not in GRAINS:
        raise ConfigError(f"grain={grain!r} is not one of {', '.join(GRAINS)}")
    spread = not set(by) & set(MANY_VALUES)
    where = query.where
    report = spend(view.ledger, by, **chosen.asked, where=where, compare=chosen.compare, percentiles=spread)
    drawn = series(view.ledger, by, grain=grain, **chosen.asked, where=where, order=measure)
    rows = sorted((_row(view, query, report, row) for row in report.rows), key=lambda row: _place(row, sort))
    columns = (*(tag_column(name) for name in by), *FIGURES, *(SPREAD if spread else ()))
    refused = MORE[:1] if any(row["refused"] for row in rows) else ()
    empty = _empty(query)
    return {
        "query": query,
        "times": chosen,
        "by": by,
        "names": names,
        "filters": filters(names),
        "breakdowns": breakdowns(query, names, by),
        "grains": grains(query, grain, chosen),
        "measures": tuple(
            Choice(name, text, query.href(show=name), name == measure) for name, (text, _) in MEASURES.items()
        ),
        "sorts": {name: query.href(sort=name) for name in SORTS},
        "sort": sort,
        "total": report.total,
        "report": report,
        "foot": _figures(report, report.total) | {"links": {}},
        "chart": chart_of(view, drawn, query, measure=measure),
        "series": series_table(drawn, empty),
        "table": Table("spend", f"Spend by {', '.join(by)}", (*columns, *MORE), rows, empty),
        "columns": (*columns, *refused),
        "tags": tuple(tag_column(name).name for name in by),
        "most": MOST,
        "calls": view.url("calls", query.only("since", "until", "tz", WHERE).text()),
    }


def _row(view: View, query: Query, report: SpendReport, row: Spend) -> dict[str, Any]:
    at_calls = query.only("since", "until", "tz", WHERE)
    links = {}
    for name, value in row.group.items():
        if name in ("day", "hour"):
            continue
        links[tag_column(name).name] = view.narrowed(query, name, value, sort=None)
        # All of the values together are what the calls of this row have.
        at_calls = Query.read(at_calls.narrowed(name, value).removeprefix("?"))
    links["calls"] = view.url("calls", str(at_calls)) if all(links.values()) else ""
    values = {tag_column(name).name: value for name, value in row.group.items()}
    return {**values, **_figures(report, row), "links": links}


def tag_column(name: str) -> Column:
    """A tag may have the name of a figure, which has a column of its own."""
    return Column(f"tag {name}" if name in _TAKEN else name, name)


def _figures(report: SpendReport, row: Spend) -> dict[str, Any]:
    spread = row.spread
    unpriced = row.unpriced_calls > 0 and not row.cost
    return {
        # What has no price was not free.
        "cost": None if unpriced else row.cost,
        "share": None if unpriced else report.share(row.cost),
        "change": row.change,
        "before": None if row.before is None else row.before.cost,
        "calls": row.calls,
        "cost_per_call": None if unpriced else row.cost_per_call,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cache_share": row.cache_share,
        "errors": row.errors or None,
        "unpriced_calls": row.unpriced_calls or None,
        **{column.name: getattr(row, column.name) for column in MORE},
        "latency_p50": None if spread is None or spread.latency_p50_ns is None else spread.latency_p50_ns / 1e9,
        "latency_p95": None if spread is None or spread.latency_p95_ns is None else spread.latency_p95_ns / 1e9,
    }


def _place(row: Mapping[str, Any], sort: str) -> Any:
    value = row.get(sort)
    return (value is None, 0 if value is None else -value)


def _empty(query: Query) -> str:
    if query.where:
        return "No call of this time has all of these values. Take a filter away, or look at a longer time."
    return "No calls in this time. Choose a longer one above."
