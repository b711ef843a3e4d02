"""Sums of a SQL ledger, from its rollups as far as they go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, count, repeat
from operator import attrgetter, eq, itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal, select

from costguard.ledger.columnar import from_rows
from costguard.ledger.figures import FACTS, MOMENTS, Sum, Wanted
from costguard.ledger.names import PARTS, Names
from costguard.ledger.rollups import ADJUSTED, COARSE, DAY, ERROR, HOUR
from costguard.ledger.selection import chosen, entries_table, entry, found_first, of_calls, one_moment, tables, within
from costguard.ledger.stretch import Stretch, cut

_DAYS, _HOURS = tables["costguard_days"].c, tables["costguard_hours"].c
_sets = tables["costguard_tag_sets"].alias("grouped_sets").c
_SPAN = {"day": DAY, "hour": HOUR}
_MOST_LOOKED_UP = 20_000


def sums(connection: Connection, by: Sequence[str], wanted: Wanted) -> list[Sum]:
    """In one statement, so that rollups and rows are of one moment."""
    one_moment(connection)
    keys = keys_of(by)
    grouped, many = coarse(by, wanted), False
    if grouped:
        stretch, columns, unit = cut(wanted.since, wanted.until, HOUR), _HOURS, _HOURS.hour
    elif "hour" in by:
        stretch, columns, unit = Stretch(None, ((1, wanted.since, wanted.until),)), _DAYS, _DAYS.day
    else:
        stretch, columns, unit = cut(wanted.since, wanted.until, DAY), _DAYS, _DAYS.day
        wanted = found_first(connection, wanted)
        many = wanted.sets is None
    sources: list[Select[Any]] = []
    if stretch.whole is not None:
        asked = [*chosen(wanted, columns), *of_calls(by, wanted, columns)]
        times = each(connection, unit, stretch.whole, wanted)
        query = select(*[_kept(key, columns).label(key) for key in keys], *_kept_counts(columns))
        sources.append(query.where(*times, *asked))
    for sign, *bounds in stretch.edges:
        query = select(*of_row(keys, grouped=grouped), *_row_counts(sign))
        sources.append(query.where(*of_rows(connection, by, wanted, bounds, many=many)))
    names = Names(by, wanted, grouped=grouped)
    # As the database's driver gives them: there may be a hundred thousand.
    result = connection.execute(names.added(sources, keys, _NAMES))
    lines: Sequence[Sequence[Any]] = result.cursor.fetchall()
    result.close()
    names.read(connection)
    first = len(keys)
    lines = [line for line in lines if line[first]]
    lines.sort(key=itemgetter(first + 1 + _COST), reverse=True)
    words, after = names.words(), first + 1
    found = from_rows(Sum, lines, lambda some: _fields(by, words, after, some))
    _name_order(found)
    return found


def _fields(
    by: Sequence[str], words: Sequence[tuple[int, Mapping[int, str]]], first: int, lines: Sequence[Sequence[Any]]
) -> Iterator[Iterable[Any]]:
    """Of `Sum`, for each of the lines, whose counts begin at `first`."""
    columns = list(zip(*lines, strict=True))
    values = [map(of_number.__getitem__, columns[place]) for place, of_number in words]
    yield map(dict, map(zip, repeat(by), zip(*values, strict=True))) if by else [{} for _ in lines]
    for place, counts in enumerate(columns[first:]):
        yield [duration * 1000 for duration in counts] if place == _DURATION else counts


def _name_order(found: list[Sum]) -> None:
    """Those of one cost, which are beside each other, in the order of their names; few are, and names are slow to
    compare."""
    costs = list(map(attrgetter("cost"), found))
    end = 0
    for place in compress(count(1), map(eq, costs, costs[1:])):
        if place < end:
            continue
        end = place + 1
        while end < len(costs) and costs[end] == costs[place]:
            end += 1
        found[place - 1 : end] = sorted(found[place - 1 : end], key=lambda one: tuple(one.group.values()))


def of_rows(
    connection: Connection, by: Iterable[str], wanted: Wanted, bounds: Sequence[int | None], *, many: bool = False
) -> list[ColumnElement[bool]]:
    """The entries that are asked for, of a time.

    many: of so many tag sets, and for so short a time, that no index leads from them to fewer rows
    """
    since, until = bounds
    indexed = not (many and since is not None and until is not None and until - since <= DAY)
    return [*within(connection, since, until), *chosen(wanted, entry, indexed=indexed), *of_calls(by, wanted, entry)]


def spent(connection: Connection, wanted: Wanted) -> int:
    return sum(one.cost for one in sums(connection, (), wanted))


_NAMES = (
    "entries", "calls", "cost", "input_tokens", "output_tokens", "cache_read_tokens", "unpriced_calls",
    "unpriced_tokens", "estimated_calls", "estimated_cost", "errors", "duration", "cache_write_tokens",
    "reasoning_tokens", "attempts",
)  # fmt: skip
"""How many entries, then the counts of `Sum` in their order; the duration in microseconds until it is read."""

_COST, _DURATION = _NAMES.index("cost") - 1, _NAMES.index("duration") - 1


def coarse(by: Iterable[str], wanted: Wanted) -> bool:
    """Whether no other tags are asked for than those that make a group."""
    return all(name in COARSE or name in FACTS or name in MOMENTS for name in (*by, *wanted.tags))


def keys_of(by: Iterable[str]) -> list[str]:
    """The columns that rows have to be told apart by, first of all."""
    keys = ["tags_id"] if any(name not in FACTS and name not in MOMENTS for name in by) else []
    keys += ["model_id"] if any(name in PARTS for name in by) else []
    return [*keys, *[name for name in ("status", *MOMENTS) if name in by]]


def _kept(key: str, columns: Any) -> ColumnElement[Any]:
    """A key in a table of rollups."""
    if key == "tags_id" and "group_id" in columns:
        return columns.group_id  # type: ignore[no-any-return]  # a group is a tag set
    if key == "day" and "hour" in columns:
        return columns.hour // 24  # type: ignore[no-any-return]
    return columns[key]  # type: ignore[no-any-return]


def _kept_counts(columns: Any) -> list[ColumnElement[Any]]:
    errors = case((columns.status == ERROR, columns.entries), else_=0)
    return [(errors if name == "errors" else columns[name]).label(name) for name in _NAMES]


def of_row(keys: Iterable[str], *, grouped: bool) -> list[ColumnElement[Any]]:
    """The keys of an entry; `grouped`: its tag set's group for the tag set."""
    found: dict[str, ColumnElement[Any]] = {}
    for key in keys:
        found[key] = entry.at // _SPAN[key] if key in _SPAN else entry[key]
    if "tags_id" in found:
        # Nothing is looked up by it: SQLite would go from tag sets to rows, and read all there are.
        found["tags_id"] = entry.tags_id + 0
    if grouped and "tags_id" in found:
        found["tags_id"] = (
            select(_sets.group_id).where(_sets.id == entry.tags_id).correlate(entries_table).scalar_subquery()
        )
    return [found[key].label(key) for key in keys]


def _row_counts(sign: int) -> list[ColumnElement[Any]]:
    unpriced = entry.cost.is_(None)
    tokens = entry.input_tokens + entry.output_tokens
    # What was billed beside a call, at another model's price, is no call either.
    call = case((entry.status == ADJUSTED, 0), (entry.attempts == 0, 0), else_=1)
    told: dict[str, Any] = {
        "entries": literal(1),
        "calls": call,
        "cost": func.coalesce(entry.cost, 0),
        # An adjustment that gave a call its first price takes it from those without one.
        "unpriced_calls": case((unpriced, 1), (entry.covers.is_not(None), -1), else_=0),
        "unpriced_tokens": case((unpriced, tokens), else_=-func.coalesce(entry.covers, 0)),
        "estimated_calls": entry.estimated * call,
        "estimated_cost": case((entry.estimated == 1, func.coalesce(entry.cost, 0)), else_=0),
        "errors": case((entry.status == ERROR, 1), else_=0),
        "attempts": entry.attempts * call,
    }
    counts = [told[name] if name in told else entry[name] for name in _NAMES]
    return [(-count if sign < 0 else count).label(name) for name, count in zip(_NAMES, counts, strict=True)]


def each(
    connection: Connection, unit: ColumnElement[Any], bounds: tuple[int | None, int | None], wanted: Wanted
) -> list[ColumnElement[bool]]:
    """The days one by one, so that the few tag sets are looked up in each, where that is less than to look at all."""
    if wanted.sets is None:
        return between(unit, bounds)
    first, last = bounds
    oldest, newest = [connection.execute(select(of(unit))).scalar() for of in (func.min, func.max)]
    if oldest is None or newest is None:
        return between(unit, bounds)
    days = range(max(oldest, first or 0), newest + 1 if last is None else min(newest + 1, last))
    if len(days) * (len(wanted.sets) or 1) > _MOST_LOOKED_UP:
        return between(unit, bounds)
    return [unit.in_(list(days))]


def between(unit: ColumnElement[Any], bounds: tuple[int | None, int | None]) -> list[ColumnElement[bool]]:
    first, last = bounds
    found = [] if first is None else [unit >= first]
    return found if last is None else [*found, unit < last]
