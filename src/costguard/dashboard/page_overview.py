"""Overview: what was spent, whether that is more than before, where it goes, and what needs somebody's eye."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.dashboard.chart import chart_of, series_table
from costguard.dashboard.choices import TAGS, Choice, Chosen, grain_for, names_of, normal, times
from costguard.dashboard.query import Query
from costguard.dashboard.risks import risks
from costguard.dashboard.tables import Column, Table
from costguard.dashboard.view import View
from costguard.reports.forecast import forecast
from costguard.reports.refused import refused
from costguard.reports.savings import cache_savings
from costguard.reports.series import series
from costguard.reports.spend import spend
from costguard.reports.top import Top, top
from costguard.tags import UNATTRIBUTED

TOPS = ("user", "feature", "model")
MOST = 7

TOP_FIGURES = (Column("cost", "cost", "usd"), Column("share", "share", "share"), Column("calls", "calls", "count"))


def overview(view: View, query: Query) -> Mapping[str, Any]:
    """Raises ConfigError for a query that cannot be read."""
    query = normal(query)
    chosen = times(view, query)
    by = query.names("by", ("model",))
    where = query.where
    grain = grain_for(query, chosen)
    report = spend(view.ledger, (), **chosen.asked, where=where, compare=chosen.compare)
    drawn = series(view.ledger, by, grain=grain, **chosen.asked, where=where)
    nobody = spend(view.ledger, (), **chosen.asked, where={**where, "user": UNATTRIBUTED})
    turned_away = refused(view.ledger, **chosen.asked, where=where).total
    empty = "No calls in this time. Choose a longer one above."
    return {
        "query": query,
        "times": chosen,
        "by": by,
        "breakdowns": _breakdowns(view, query, by),
        "report": report,
        "total": report.total,
        "nobody": nobody.total,
        "first": not report.total.calls and not turned_away and not view.ledger.entries({}, limit=1),
        "refused": turned_away,
        "saved": cache_savings(view.ledger, (), **chosen.asked, where=where).total,
        "ahead": forecast(view.ledger, where=where, tz=chosen.tz, now=view.now),
        **risks(view),
        "chart": chart_of(view, drawn, query, name="spend"),
        "series": series_table(drawn, empty),
        "tops": [_top(view, query, chosen, name) for name in TOPS],
        "here": query.only("since", "until", "tz", "where."),
    }


def _breakdowns(view: View, query: Query, by: tuple[str, ...]) -> tuple[Choice, ...]:
    names = dict.fromkeys(("model", "provider", *TAGS, *by))
    known = [name for name in names_of(view) if name in names]
    return tuple(Choice(name, name, query.href(by=name), (name,) == by) for name in known)


def _top(view: View, query: Query, chosen: Chosen, name: str) -> Table:
    found = top(view.ledger, name, **chosen.asked, where=query.where, most=MOST)
    at_explore = query.only("since", "until", "tz", "where.")
    rows = [
        {
            name: row.group[name],
            # What has no price was not free.
            "cost": None if row.unpriced_calls and not row.cost else row.cost,
            "share": found.share(row.cost),
            "calls": row.calls,
            "links": {name: _inside(view, at_explore, name, row.group[name])},
        }
        for row in found.rows
    ]
    columns = (Column(name, name), *TOP_FIGURES)
    return Table(
        f"top-{name}", f"Top {name}s", columns, rows, "Nothing yet.", notes=_notes(view, found, at_explore, name)
    )


def _inside(view: View, at_explore: Query, name: str, value: str) -> str:
    """One group, broken down by something else."""
    narrowed = view.narrowed(at_explore, name, value, by="model" if name != "model" else "feature")
    return view.url("explore", narrowed) if narrowed else ""


def _notes(view: View, found: Top, at_explore: Query, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "all": view.url("explore", at_explore.href(by=name)),
        "more": max(0, found.groups - len(found.rows)),
        "others": found.others.cost,
    }
