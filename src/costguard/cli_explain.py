"""`costguard explain` and `costguard forecast`: why spending changed, and where it is heading."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

import typer

from costguard.cli_report import comparison
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
    terminal,
)
from costguard.errors import ConfigError
from costguard.money import show_usd
from costguard.reports.explain import Explained, Explanation
from costguard.reports.forecast import Forecast
from costguard.reports.period import Period
from costguard.reports.terminal_table import about

_MEANS: Mapping[str, str] = {
    "volume": "more or fewer calls",
    "models": "other models",
    "tier": "other processing (batch, flex, priority)",
    "input": "longer or shorter input",
    "output": "longer or shorter output",
    "cache": "more or less of the input cached",
    "price": "other prices for the same tokens",
    "other": "searches, audio, fees, lost calls",
}
_METHODS = {
    "weekdays": "of each weekday",
    "weekends": "of working days and weekends",
    "level": "of all days alike",
    "today": "of today alone: a guess",
    "nothing": "of nothing: there was no call before",
}


def explain(
    *,
    by: Annotated[str, typer.Option(help="Also for each of these, such as model or feature")] = "",
    since: Since = "7d",
    until: Until = None,
    compare: Annotated[
        str, typer.Option("--compare", metavar="previous|SINCE,UNTIL", help="The earlier period")
    ] = "previous",
    most: Annotated[int, typer.Option("--most", "-n", metavar="N", help="Groups, those that changed most")] = 10,
    where: Where = None,
    tz: Zone = "UTC",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Why spending changed: the change split into its causes, which add up to it exactly."""
    from costguard.reports.explain import explain as split

    with one_line(), ledger_at(store) as ledger:
        if since.strip().lower() == "all":
            raise ConfigError("--since all has no period before it; give 7d, month or a date")
        made = split(
            ledger, by, since=since, until=until, compare=comparison(compare), where=chosen(where), tz=tz, most=most
        )
        if as_json:
            show_json(made.to_json())
        else:
            _show_explanation(made)


def _show_explanation(made: Explanation) -> None:
    from costguard.reports.terminal_table import Column, bold, draw

    how, total = terminal(), made.total
    share = "" if total.change_share is None else f" ({total.change_share * 100:+,.1f} %)"
    show(bold(f"{_signed(total.change)}{share}: {show_usd(total.after.cost)} in {_span(made.after)},", **_color(how)))
    show(bold(f"{show_usd(total.before.cost)} in {_span(made.before)}", **_color(how)))
    rows = [[part, _signed(amount), _MEANS.get(part, "")] for part, amount in total.parts.items() if amount]
    text, _ = draw(
        [Column("because of", name=True), Column("change"), Column("", 1, name=True)], rows,
        footer=["all of it", _signed(total.change), ""], **how,
    )  # fmt: skip
    show(text)
    if made.rows:
        parts = [part for part in total.parts if any(row.parts[part] for row in made.rows)]
        columns = [*(Column(name, name=True) for name in made.by), Column("before", 2), Column("after", 2),
                   Column("change"), *(Column(part, 3) for part in parts)]  # fmt: skip
        lines = [
            [*_group(row, made.by), about(row.before.cost), about(row.after.cost), _short(row.change),
             *(_short(row.parts[part]) if row.parts[part] else "-" for part in parts)]
            for row in made.rows
        ]  # fmt: skip
        text, hidden = draw(columns, lines, **how)
        show(text)
        if hidden:
            show(f"Not shown in a terminal this narrow: {', '.join(hidden)}.")
    if total.before.unpriced_calls or total.after.unpriced_calls:
        show(
            f"Not in it: calls without a price, {total.before.unpriced_calls:,} before and "
            f"{total.after.unpriced_calls:,} after; they are not free."
        )


def _group(row: Explained, by: tuple[str, ...]) -> list[str]:
    return ["all others", *[""] * (len(by) - 1)] if row.group is None else [row.group[name] for name in by]


def _signed(amount: Decimal) -> str:
    return f"{'+' if amount > 0 else ''}{show_usd(amount)}"


def _short(amount: Decimal) -> str:
    return f"{'+' if amount > 0 else ''}{about(amount)}"


def _span(period: Period) -> str:
    since = "the beginning" if period.since is None else f"{period.since:%Y-%m-%d %H:%M}"
    until = "now" if period.until is None else f"{period.until:%Y-%m-%d %H:%M}"
    return f"{since} to {until} UTC"


def _color(how: Mapping[str, bool]) -> dict[str, bool]:
    return {"color": how["color"]}


def forecast(
    *,
    window: Annotated[
        str, typer.Option(metavar="day|week|month", help="Until it ends", autocompletion=one_of("day", "week", "month"))
    ] = "month",
    limit: Annotated[str | None, typer.Option(metavar="USD", help="When will so much be reached?")] = None,
    where: Where = None,
    tz: Zone = "UTC",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """What will be spent when the day, week or month ends, and when a limit will be reached; with a range."""
    from costguard.reports.forecast import forecast as look_ahead

    with one_line(), ledger_at(store) as ledger:
        made = look_ahead(ledger, window=window, where=chosen(where), limit=limit, tz=tz)
        if as_json:
            show_json(made.to_json())
        else:
            _show_forecast(made)


def _show_forecast(made: Forecast) -> None:
    from costguard.reports.sparkline import bar
    from costguard.reports.terminal_table import Column, bold, counted, draw

    how = terminal()
    show(
        bold(
            f"{_cents(made.expected)} by the end of the {made.window}, {made.until:%Y-%m-%d %H:%M} UTC",
            **_color(how),
        )
    )
    show(f"Four of five times between {_cents(made.low)} and {_cents(made.high)}.")
    show(f"Spent so far: {show_usd(made.spent)}. Made from {made.days} full days, {_METHODS[made.method]}.")
    if made.limit is not None:
        show(_limit_said(made))
    if len(made.path) > 1:
        highest = max(one.high for one in made.path)
        columns = [
            Column("by the end of", left=True),
            Column("expected"),
            Column("low", 2),
            Column("high", 2),
            Column("", 1, name=True),
        ]
        rows = [
            [f"{one.day:%a %Y-%m-%d}", *(_cents(value) for value in (one.expected, one.low, one.high)),
             bar(one.expected, highest, 24)]
            for one in made.path
        ]  # fmt: skip
        show(draw(columns, rows, **how)[0])
    if made.unpriced_calls:
        show(f"Not in it: {counted(made.unpriced_calls, 'call')} without a price; not free.")


_CENT = Decimal("0.01")


def _cents(amount: Decimal) -> str:
    return show_usd(amount.quantize(_CENT))


def _limit_said(made: Forecast) -> str:
    limit = show_usd(made.limit or Decimal(0))
    if made.reached is None:
        early = "" if made.earliest is None else f"; at the earliest on {made.earliest:%a %Y-%m-%d}"
        return f"{limit} will not be reached before the {made.window} ends{early}."
    if made.spent >= (made.limit or 0):
        return f"{limit} is reached already."
    late = "after the window" if made.latest is None else f"{made.latest:%a %Y-%m-%d}"
    early = "" if made.earliest is None else f"{made.earliest:%a %Y-%m-%d}"
    return f"{limit} will be reached on {made.reached:%a %Y-%m-%d} ({early} to {late})."
