"""`costguard report` and `costguard top`: who spent what, over time and beside the period before."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from costguard.cli_store import (
    Json,
    Since,
    Store,
    Until,
    Where,
    Zone,
    chosen,
    ledger_at,
    one_line,
    one_of,
    show,
    show_json,
    since_or_all,
    terminal,
)
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.money import show_usd
from costguard.reports.series import Series
from costguard.reports.spend import Compare

_MOST_BARS = 40
_TRENDS = 200
"""Groups of a report that get a small line each; those beyond cost little."""

Comparing = Annotated[
    str | None,
    typer.Option("--compare", metavar="previous|SINCE,UNTIL", help="Beside the period before, or any other one"),
]
By = Annotated[str, typer.Option(help="Tags, or provider, model, operation, status, day, hour")]


def report(
    *,
    by: By = "user,feature",
    since: Since = "7d",
    until: Until = None,
    where: Where = None,
    tz: Zone = "UTC",
    compare: Comparing = None,
    grain: Annotated[
        str | None,
        typer.Option(
            metavar="hour|day|week|month",
            help="Over time: a line for each of them",
            autocompletion=one_of("hour", "day", "week", "month"),
        ),
    ] = None,
    most: Annotated[int, typer.Option(metavar="N", help="With --grain: groups with a column of their own")] = 5,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Beside the cost: share, calls, input, output, cached, written, reasoning, unpriced, estimated, "
            "errors, refused, repeats, per_call, latency, p50, p95",
        ),
    ] = None,
    trend: Annotated[
        bool | None, typer.Option("--trend/--no-trend", help="A small line for each group; by default in a terminal")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Spending by user and feature, or by anything else, with unpriced and estimated calls beside the total."""
    from costguard.reports.spend import spend
    from costguard.reports.table import USUAL, as_table, read_columns

    with one_line(), ledger_at(store) as ledger:
        asked: dict[str, Any] = {"since": since_or_all(since), "until": until, "where": chosen(where), "tz": tz}
        names = USUAL if columns is None else read_columns(columns)
        beside = comparison(compare)
        if grain is not None:
            _over_time(ledger, by, grain, beside, most, asked, as_json=as_json)
            return
        made = spend(ledger, by, **asked, compare=beside, percentiles=as_json or bool({"p50", "p95"} & set(names)))
        if as_json:
            show_json(made.to_json())
            return
        how = terminal()
        wanted = how["width"] is not None if trend is None else trend
        trends = _trends(ledger, made.by, asked) if wanted and made.total.calls else None
        show(as_table(made, **how, columns=names, trend=trends))


def comparison(text: str | None) -> Compare:
    """ "previous", or two times with a comma between."""
    if text is None:
        return None
    if text.strip().lower() == "previous":
        return "previous"
    since, comma, until = (part.strip() for part in text.partition(","))
    if not (since and comma and until):
        raise ConfigError(f"--compare {text!r} is not previous, nor SINCE,UNTIL, e.g. 2026-10-01,2026-11-01")
    return since, until


def _trends(ledger: Ledger, by: tuple[str, ...], asked: dict[str, Any]) -> Any:
    from costguard.reports.asked import TIMES
    from costguard.reports.series import finest_grain, series
    from costguard.reports.table import trend_of

    if any(name in TIMES for name in by):
        return None
    grain = finest_grain(ledger, _MOST_BARS, **asked)
    return None if grain is None else trend_of(series(ledger, by, grain=grain, most=_TRENDS, **asked))


def _over_time(  # noqa: PLR0917 - as they were asked for
    ledger: Ledger, by: str, grain: str, compare: Compare, most: int, asked: dict[str, Any], *, as_json: bool
) -> None:
    from costguard.reports.series import series

    made = series(ledger, by, grain=grain, most=most, compare=compare, **asked)
    if as_json:
        show_json(made.to_json())
        return
    _show_series(made)


def _show_series(made: Series) -> None:
    from costguard.reports.sparkline import bar
    from costguard.reports.table_series import headings, when
    from costguard.reports.terminal_table import Column, about, bold, counted, draw

    how = terminal()
    show(bold(f"Spend by {made.grain} from {made.since:%Y-%m-%d %H:%M} to {made.until:%Y-%m-%d %H:%M} UTC", **_of(how)))
    highest = max((point.cost for point in made.total.points), default=0)
    compared = made.before
    columns = [
        Column(made.grain, left=True),
        Column("cost"),
        *([Column("before", 2)] if compared else []),
        Column("calls", 3),
    ]
    columns += [Column("", 1, name=True), *(Column(name, 4) for name in headings(made))]
    rows = []
    for place, start in enumerate(made.starts):
        point = made.total.points[place]
        before = [show_usd(compared.points[place].cost)] if compared else []
        rows.append([
            when(start, made), show_usd(point.cost), *before, f"{point.calls:,}", bar(point.cost, highest, 24),
            *(about(cost) if (cost := line.points[place].cost) else "-" for line in made.lines),
        ])  # fmt: skip
    total = made.total.total
    footer = ["total", show_usd(total.cost), *([show_usd(compared.total.cost)] if compared else []), f"{total.calls:,}"]
    text, hidden = draw(
        columns, rows, footer=[*footer, "", *(about(line.total.cost) for line in made.lines)], **how
    )  # fmt: skip
    show(text)
    if total.unpriced_calls:
        show(f"Not in the total: {counted(total.unpriced_calls, 'call')} without a price; not free.")
    if hidden:
        show(f"Not shown in a terminal this narrow: {', '.join(filter(None, hidden))}.")


def _of(how: dict[str, Any]) -> dict[str, Any]:
    return {"color": how["color"]}


def top(
    by: Annotated[str, typer.Argument(metavar="NAMES", help="Tags, or provider, model, operation, status")] = "user",
    *,
    order: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="cost, calls, tokens, errors, unpriced or repeats",
            autocompletion=one_of("cost", "calls", "tokens", "errors", "unpriced", "repeats"),
        ),
    ] = "cost",
    most: Annotated[int, typer.Option("--most", "-n", metavar="N", help="So many")] = 10,
    since: Since = "7d",
    until: Until = None,
    where: Where = None,
    tz: Zone = "UTC",
    compare: Comparing = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """The groups with the most, and what all others come to. For single calls: costguard calls list --order dearest."""
    from costguard.reports.top import top as rank

    with one_line(), ledger_at(store) as ledger:
        made = rank(
            ledger, by, since=since_or_all(since), until=until, where=chosen(where), tz=tz, most=most, order=order,
            compare=comparison(compare),
        )  # fmt: skip
        if as_json:
            show_json(made.to_json())
        else:
            from costguard.reports.table_top import as_table

            show(as_table(made, **terminal()))
