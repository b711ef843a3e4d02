"""What calls of a SQL ledger took and cost: from the spreads of whole days, else from rows counted by the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Select, case, func, literal_column, select

from costguard.ledger.buckets import BORDERS
from costguard.ledger.figures import Percentiles, Wanted
from costguard.ledger.names import Names
from costguard.ledger.rollups import ANSWERED, COST_PARTS, DAY, ERROR, WIDTH
from costguard.ledger.rollups_sql import BUCKET
from costguard.ledger.selection import chosen, entry, found_first, of_calls, one_moment, tables
from costguard.ledger.stretch import Stretch, cut
from costguard.ledger.sums import between, coarse, keys_of, of_row, of_rows
from costguard.ledger.totals import Spread

_SPREADS = tables["costguard_spreads"].c
_PLACES = tuple([f"c{place}" for place in range(WIDTH)])


def percentiles(connection: Connection, by: Sequence[str], wanted: Wanted) -> list[Percentiles]:
    """In one statement, so that spreads and rows are of one moment."""
    one_moment(connection)
    keys = keys_of(by)
    kept = coarse(by, wanted) and "hour" not in by and "status" not in (*by, *wanted.facts)
    wanted = wanted if kept else found_first(connection, wanted)
    stretch = cut(wanted.since, wanted.until, DAY) if kept else Stretch(None, ((1, wanted.since, wanted.until),))
    sources: list[Select[Any]] = []
    if stretch.whole is not None:
        own = [{"tags_id": _SPREADS.group_id, "model_id": _SPREADS.model_id, "day": _SPREADS.day}[key] for key in keys]
        query = select(
            *[column.label(key) for key, column in zip(keys, own, strict=True)],
            _SPREADS.part.label("part"),
            *[_SPREADS[name] for name in _PLACES],
        )
        asked = [*chosen(wanted, _SPREADS), *of_calls(by, wanted, _SPREADS)]
        sources.append(query.where(*between(_SPREADS.day, stretch.whole), *asked))
    for sign, *bounds in stretch.edges:
        sources += [_rows(connection, by, wanted, bounds, cost=cost, sign=sign, grouped=kept) for cost in (False, True)]
    names = Names(by, wanted, grouped=kept)
    lines = connection.execute(names.added(sources, [*keys, "part"], _PLACES)).fetchall()
    names.read(connection)
    spread = Spread(by)
    for group, line in zip(names.groups(lines), lines, strict=True):
        part = int(line[len(keys)])
        for place, count in enumerate(line[len(keys) + 1 :], part % COST_PARTS * WIDTH):
            if count:
                spread.add(group, cost=part >= COST_PARTS, place=place, count=int(count))
    return spread.percentiles()


def _rows(
    connection: Connection,
    by: Sequence[str],
    wanted: Wanted,
    bounds: Sequence[int | None],
    *,
    cost: bool,
    sign: int,
    grouped: bool,
) -> Select[Any]:
    """Rows of a time, as rows of the spreads."""
    keys = keys_of(by)
    asked = of_rows(connection, by, wanted, bounds)
    asked += [entry.status.in_(sorted(ANSWERED)), entry.attempts > 0]
    if cost:
        asked += [entry.cost.is_not(None), entry.status != ERROR]
    columns = of_row(keys, grouped=grouped)
    place = _bucket(connection, entry.cost if cost else entry.duration).label("place")
    counted = select(*columns, place, func.count().label("calls")).where(*asked).group_by(*columns, place)
    lines = counted.subquery().c
    part = lines.place // WIDTH + (COST_PARTS if cost else 0)
    counts = [
        case((lines.place % WIDTH == one, lines.calls * sign), else_=0).label(name) for one, name in enumerate(_PLACES)
    ]
    return select(*[lines[key] for key in keys], part.label("part"), *counts)


def _bucket(connection: Connection, number: ColumnElement[int] | ColumnElement[int | None]) -> ColumnElement[int]:
    if connection.dialect.name == "postgresql":
        numbers = ",".join([str(border) for border in BORDERS])
        borders: ColumnElement[Any] = literal_column(f"ARRAY[{numbers}]::bigint[]")
        return func.width_bucket(number, borders)
    found: ColumnElement[int] = getattr(func, BUCKET)(number, type_=Integer)
    return found
