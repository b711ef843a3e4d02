"""From a time to the ids of its entries in SQLite, which has no index of times; see `tables_ranges.IdRange`.

What is found here and the rows that are then read must be of one moment, so of one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from costguard.ledger.rollups import HOUR
from costguard.ledger.tables import metadata

_entries = metadata.tables["costguard_entries"].c
_ranges = metadata.tables["costguard_id_ranges"].c

_MOST_HOURS = 2_000
_MOST_PARTS = 20
"""Parts of a condition: nearer ones are read as one from there on."""

Ids = tuple[int, int]
"""The first and the last id."""


def of_time(connection: Connection, since: int | None, until: int | None) -> list[ColumnElement[bool]]:
    """Conditions on the ids of entries of a time in microseconds, beside those on the time itself; none are needed in
    PostgreSQL, nor without bounds."""
    if connection.dialect.name != "sqlite" or (since is None and until is None):
        return []
    if since is not None and until is not None and until - since <= _MOST_HOURS * HOUR:
        found = connection.execute(select(_ranges.first, _ranges.last).where(*_hours(since, until)))
        return [among(joined([(first, last) for first, last in found]))]
    first, last = connection.execute(
        select(func.min(_ranges.first), func.max(_ranges.last)).where(*_hours(since, until))
    ).one()
    return [_between((0, -1) if first is None else (first, last))]


def newest_first(
    connection: Connection, since: int | None, until: int | None, least: int
) -> Iterator[list[ColumnElement[bool]]]:
    """The entries of a time in parts, each of a time before the last part's and with about four times as many ids.

    least: ids in the first part
    """
    query = select(_ranges.hour, _ranges.first, _ranges.last).where(*_hours(since, until)).order_by(_ranges.hour.desc())
    bounds = at_times(since, until)
    parts: list[Ids] = []
    size = 0
    first_hour = last_hour = None
    for hour, first, last in connection.execute(query):
        if first_hour is not None and hour != first_hour and size >= least:
            yield [*at_times(first_hour * HOUR, ((last_hour or 0) + 1) * HOUR), *bounds, among(joined(parts))]
            parts, size, last_hour, least = [], 0, None, 4 * least
        first_hour, last_hour = hour, hour if last_hour is None else last_hour
        parts.append((first, last))
        size += last - first + 1
    if first_hour is not None and last_hour is not None:
        yield [*at_times(first_hour * HOUR, (last_hour + 1) * HOUR), *bounds, among(joined(parts))]


def at_times(since: int | None, until: int | None) -> list[ColumnElement[bool]]:
    """The entries of a time in microseconds since 1970, on any database."""
    found = [] if since is None else [_entries.at >= since]
    return found if until is None else [*found, _entries.at < until]


def _hours(since: int | None, until: int | None) -> list[ColumnElement[bool]]:
    found = [] if since is None else [_ranges.hour >= since // HOUR]
    return found if until is None else [*found, _ranges.hour <= until // HOUR]


def joined(ranges: Iterable[Ids]) -> list[Ids]:
    """In order, those that touch as one, and so few that a statement can name them."""
    found = _nearer_than(1, sorted(ranges))
    if len(found) > _MOST_PARTS:
        gaps = sorted(after[0] - before[1] for before, after in pairwise(found))
        found = _nearer_than(gaps[len(found) - _MOST_PARTS - 1], found)
    return found


def _nearer_than(gap: int, ranges: Iterable[Ids]) -> list[Ids]:
    """Those that begin at most so far behind the end of the one before as one with it."""
    found: list[Ids] = []
    for first, last in ranges:
        if found and first - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def among(ranges: list[Ids]) -> ColumnElement[bool]:
    return or_(*[_between(one) for one in ranges]) if ranges else _between((0, -1))


def _between(ids: Ids) -> ColumnElement[bool]:
    return and_(_entries.id >= ids[0], _entries.id <= ids[1])
