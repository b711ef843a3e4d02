"""The months of PostgreSQL's entries: a partition for each, made ahead, dropped as a whole when it is old.

A call id begins with its time in milliseconds (UUIDv7), so a month is a range of ids. Ids that are no times, such as
those made of a provider's response id, and months that nobody made, go to the default partition: no row is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from costguard.ledger.driver import Execute
from costguard.ledger.rollups import DAY, ROLLED
from costguard.ledger.rollups_sql import KEYS, POSTGRES_BUCKET, added_up, change

AHEAD = 3
"""Months that are made beyond the current one, so that a process that runs for months finds them."""

TABLE = "costguard_entries"

_MOST = 5000
_LOCK = 0x636F7374  # of the two-number advisory locks: the first is ours, the second says what for
_TWO_SECONDS = "SET LOCAL lock_timeout = '2s'"
_NAMES = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = to_regclass(%s) ORDER BY 1"
)
_NAME = re.compile(rf"{TABLE}_(\d{{4}})_(\d\d)")


def lock(what: int) -> str:
    """A statement that lets one process at a time go on, until its transaction ends."""
    return f"SELECT pg_advisory_xact_lock({_LOCK}, {what})"


def month_of(at: int) -> tuple[int, int]:
    """Year and month (UTC) of microseconds since 1970."""
    moment = datetime.fromtimestamp(at // 10**6, UTC)
    return moment.year, moment.month


def start_of(month: tuple[int, int]) -> int:
    """Microseconds since 1970."""
    return int(datetime(*month, 1, tzinfo=UTC).timestamp()) * 10**6


def following(month: tuple[int, int]) -> tuple[int, int]:
    year, number = month
    return (year, number + 1) if number < 12 else (year + 1, 1)


def missing(execute: Execute, at: int) -> list[tuple[int, int]]:
    """Of the month of this time and those after it, the ones without a partition."""
    there = set(_made(execute))
    month = month_of(at)
    wanted = []
    for _ in range(AHEAD + 1):
        wanted.append(month)
        month = following(month)
    return [month for month in wanted if month not in there]


def make(execute: Execute, month: tuple[int, int]) -> None:
    """In a transaction: the partition of a month, with the rows of it that went to the default one."""
    execute(lock(1), ())
    if month in _made(execute):
        return
    name = f"{TABLE}_{month[0]:04}_{month[1]:02}"
    low, high = _id(start_of(month)), _id(start_of(following(month)))
    execute(_TWO_SECONDS, ())
    execute(f"LOCK TABLE {TABLE}_default IN ACCESS EXCLUSIVE MODE", ())
    execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)", ())
    execute(
        f"WITH moved AS (DELETE FROM {TABLE}_default WHERE call_id >= {low} AND call_id < {high} RETURNING *) "
        f"INSERT INTO {name} SELECT * FROM moved",
        (),
    )
    # Attached, not created as a partition: that would wait for every reader of the table.
    execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})", ())


def old(execute: Execute, before: int) -> list[tuple[int, int]]:
    """The months with a partition that ended by this time."""
    return [month for month in _made(execute) if start_of(following(month)) <= before]


def drop(execute: Execute, month: tuple[int, int]) -> int:
    """In a transaction: forget a month; how many entries it had."""
    name = f"{TABLE}_{month[0]:04}_{month[1]:02}"
    execute(_TWO_SECONDS, ())
    # What is still written to it waits, and finds it gone.
    execute(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE", ())
    count = int(execute(f"SELECT count(*) FROM {name}", ()).fetchone()[0])
    days = list(_days(execute, name))
    for table in KEYS:
        for day in days:
            # One at a time, as a statement must not take long.
            when = f"e.at >= {day * DAY} AND e.at < {(day + 1) * DAY}"
            gone = added_up(table, entries=f"{name} e", when=when, bucket=POSTGRES_BUCKET, sign="-", ordered=True)
            execute(change(table, gone), ())
    execute(f"DROP TABLE {name}", ())
    return count


def _days(execute: Execute, name: str) -> Iterator[int]:
    """The days, since 1970, of which a partition has entries."""
    day = -1
    while True:
        (first,) = execute(f"SELECT min(at) FROM {name} WHERE at >= {(day + 1) * DAY}", ()).fetchone()
        if first is None:
            return
        day = first // DAY
        yield day


def drop_strays(execute: Execute, before: int) -> list[Sequence[Any]]:
    """In a transaction: forget some entries of the default partition; their `ROLLED`, nothing when none is left."""
    month = start_of(month_of(before))
    some = f"SELECT ctid FROM {TABLE}_default WHERE at < %s LIMIT {_MOST}"
    deleted = f"DELETE FROM {TABLE}_default WHERE ctid = ANY (ARRAY ({some})) RETURNING {', '.join(ROLLED)}"
    return execute(deleted, (month,)).fetchall()


def _made(execute: Execute) -> Iterator[tuple[int, int]]:
    for (name,) in execute(_NAMES, (TABLE,)).fetchall():
        if found := _NAME.fullmatch(name):
            yield int(found[1]), int(found[2])


def _id(at: int) -> str:
    """The least call id of a time, as a literal: bounds of partitions are no values of a statement."""
    return f"'\\x{at // 1000:012x}{0:020x}'"
