"""A table for people: as wide as it needs, or as a terminal lets it, without ever cutting a number.

In a narrow terminal names fold onto further lines, and columns that matter less are left out, and told of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from io import StringIO
from typing import Literal

from costguard.money import show_usd

LEAST = 8
"""Letters of a name before it folds."""

_AS_WIDE_AS_NEEDED = 1000
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """drop: where the terminal is narrow, columns are left out from the highest number down; 0: never
    name: text, to the left, which may fold; else a number, to the right, which may not; `left`: to the left
    """

    heading: str
    drop: int = 0
    name: bool = False
    left: bool = False


def draw(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    footer: Sequence[str] | None = None,
    width: int | None = None,
    color: bool = False,
) -> tuple[str, list[str]]:
    """The lines, and the headings of the columns that were left out.

    width: columns of the terminal; None: as wide as it needs. Numbers that do not fit even so are not cut: the
           terminal breaks the lines
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = [[visible(cell) for cell in row] for row in rows]
    last = None if footer is None else [visible(cell) for cell in footer]
    lines = [[column.heading for column in columns], *cells, *([last] if last else [])]
    needed = [max(cell_len(line[place]) for line in lines) for place in range(len(columns))]
    least = [min(LEAST, needed[place]) if column.name else needed[place] for place, column in enumerate(columns)]
    shown = list(range(len(columns)))
    if width is not None:
        while sum(least[place] + _GAP for place in shown) > width:
            droppable = [place for place in shown if columns[place].drop]
            if not droppable:
                break
            shown.remove(max(droppable, key=lambda place: (columns[place].drop, place)))
    table = Table(box=box.SIMPLE_HEAD, show_footer=last is not None, pad_edge=False, padding=(0, 1, 0, 0))
    for place in shown:
        column, end = columns[place], Text(last[place]) if last else ""
        if column.name:
            table.add_column(column.heading, footer=end, overflow="fold", min_width=least[place])
        else:
            side: Literal["left", "right"] = "left" if column.left else "right"
            table.add_column(column.heading, footer=end, justify=side, no_wrap=True, min_width=needed[place])
    for row in cells:
        # Text, not markup: a tag such as "[red]" is shown as it is.
        table.add_row(*(Text(row[place]) for place in shown))
    room = max(width or _AS_WIDE_AS_NEEDED, sum(least[place] + _GAP for place in shown))
    return render(table, room, color=color), [
        columns[place].heading for place in range(len(columns)) if place not in shown
    ]


def render(what: object, width: int | None, *, color: bool) -> str:
    """Anything that rich can draw, as text without blanks at the ends of its lines."""
    from rich.console import Console

    out = StringIO()
    console = Console(
        file=out, width=width or _AS_WIDE_AS_NEEDED, force_terminal=color, color_system="standard" if color else None,
        highlight=False, legacy_windows=False,
    )  # fmt: skip
    console.print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def bold(text: str, *, color: bool) -> str:
    """A heading; control characters are not shown."""
    from rich.text import Text

    return render(Text(visible(text), style="bold"), None, color=color)


def about(amount: Decimal) -> str:
    """USD for reading along a line: to the cent from a dollar on, below it to four digits. Not for sums that people
    check: those are shown in full."""
    size = abs(amount)
    places = 2 if size >= 1 or not size else max(2, 3 - size.adjusted())
    return show_usd(amount.quantize(Decimal(1).scaleb(-min(places, 9)), context=Context(prec=60)))


def counted(number: int, noun: str) -> str:
    """ "1 call", "1,200 calls"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """Without control characters, and marks that turn the direction of writing: a tag comes from a user and could
    drive the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
