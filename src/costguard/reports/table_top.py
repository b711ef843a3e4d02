"""A ranking as a table for people."""

from __future__ import annotations

from decimal import Decimal

from costguard.money import show_usd
from costguard.reports.figures import Spend
from costguard.reports.sparkline import bar
from costguard.reports.terminal_table import Column, bold, counted, draw
from costguard.reports.top import Top

_BAR = 24


def as_table(made: Top, *, width: int | None = None, color: bool = False) -> str:
    """The rows with a bar each, the others in one line, the total."""
    since = "the first call" if made.period.since is None else f"{made.period.since:%Y-%m-%d %H:%M} UTC"
    until = "now" if made.period.until is None else f"{made.period.until:%Y-%m-%d %H:%M} UTC"
    heading = bold(f"Top {' and '.join(made.by)} by {made.order} from {since} to {until}", color=color)
    if not made.rows:
        return f"{heading}\nNo calls."
    compared = made.total.before is not None
    own = [] if made.order in _SHOWN else [Column(made.order)]
    columns = [Column("", name=False), *(Column(name, name=True) for name in made.by), Column("", 2, name=True),
               Column("cost"), *([Column("change", 3)] if compared else []), Column("share", 5), Column("calls", 4),
               Column("tokens", 6), *own, Column("unpriced", 1)]  # fmt: skip
    most = max((_measured(row, made.order) for row in made.rows), default=Decimal(0))
    names = len(made.by)

    def line(place: str, group: list[str], row: Spend, drawn: str) -> list[str]:
        priced = row.calls > row.unpriced_calls or row.calls == 0
        change = [] if not compared else ["-" if row.change is None else _signed(row.change)]
        return [
            place, *group, drawn, show_usd(row.cost) if priced else "unpriced", *change,
            f"{made.share(row.cost) * 100:.1f} %" if priced else "-", f"{row.calls:,}", f"{row.tokens:,}",
            *(f"{_measured(row, made.order):,}" for _ in own), f"{row.unpriced_calls:,}" if row.unpriced_calls else "-",
        ]  # fmt: skip

    rows = [
        line(
            f"{place}", [row.group[name] for name in made.by], row, bar(_measured(row, made.order), most, _BAR)
        )
        for place, row in enumerate(made.rows, 1)
    ]  # fmt: skip
    if made.groups > len(made.rows):
        rest = counted(made.groups - len(made.rows), "other")
        rows.append(line("", [rest, *[""] * (names - 1)], made.others, ""))
    total = line("", ["total", *[""] * (names - 1)], made.total, "")
    text, hidden = draw(columns, rows, footer=total, width=width, color=color)
    hidden = [name for name in hidden if name]
    notes = [f"Not shown in a terminal this narrow: {', '.join(hidden)}."] if hidden else []
    if made.total.unpriced_calls:
        notes.insert(
            0, f"Not in the total: {counted(made.total.unpriced_calls, 'call')} without a price; not free."
        )  # fmt: skip
    return "\n".join((heading, text, *notes))


_SHOWN = ("cost", "calls", "tokens", "unpriced")


def _measured(row: Spend, order: str) -> Decimal:
    found: dict[str, Decimal | int] = {
        "cost": row.cost, "calls": row.calls, "tokens": row.tokens, "errors": row.errors,
        "unpriced": row.unpriced_calls, "repeats": row.repeats,
    }  # fmt: skip
    return Decimal(found[order])


def _signed(amount: Decimal) -> str:
    return f"{'+' if amount > 0 else ''}{show_usd(amount)}"
