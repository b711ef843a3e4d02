"""A table of a page, as a value: the page shows it, and the CSV beside it has the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

Kind = Literal["text", "usd", "count", "tokens", "share", "moment", "seconds", "link"]
"""How a cell is shown: text as it is; usd: Decimal, USD; count, tokens: int; share: Decimal, 0 to 1; moment: datetime,
UTC; seconds: float. None in any cell: there is no value."""


@dataclass(frozen=True, slots=True)
class Column:
    """name: of the value in a row, and the heading in the CSV; `title` is the heading that people see."""

    name: str
    title: str
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values by the names of the columns; what else a row has is for the template alone.

    name:  in the address of its CSV: `<page>.csv?table=<name>`
    empty: what is said where there are no rows: what to do first
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]] = ()
    empty: str = "Nothing here yet."
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values: amounts as strings, moments in ISO 8601."""
        return [{column.name: plain(row.get(column.name)) for column in self.columns} for row in self.rows]


def plain(value: Any) -> Any:
    """A cell for programs."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def tables_of(context: Mapping[str, Any]) -> dict[str, Table]:
    """Every table that a page's context has, by its name."""
    found: dict[str, Table] = {}
    for value in context.values():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, Table):
                found[one.name] = one
    return found
