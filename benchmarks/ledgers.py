"""Ledgers of any size in seconds to minutes, filled past the verbs of a call: `python -m benchmarks.ledgers URL ROWS`.

The calls are those of `examples.traffic`, as rows of the real schema: tag sets, models and prices in their
dictionaries, entries in the order in which calls end, the balances of a few budgets, and the rollups. The same
arguments make the same ledger. For PostgreSQL give the URL of an empty database.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import urlsplit

from examples.realistic import BUDGETS, seeded_call_id
from examples.traffic import Traffic
from examples.traffic_shapes import ResponseIds, Shape

from costguard.budgets import Budget
from costguard.events import Entry
from costguard.ledger import months
from costguard.ledger.buckets import bucket
from costguard.ledger.dictionary import Dictionary
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.opening import open_ledger
from costguard.ledger.record import COLUMNS, stored, write_entry
from costguard.ledger.response_ids import pack
from costguard.ledger.rollups_sql import BUCKET, KEYS, change, of_day
from costguard.ledger.rule import limit_columns
from costguard.tags import Tags

DAYS, SEED = 30, 7
_DAY = 86_400 * 10**6
_AT, _TAGS, _RESPONSE = (COLUMNS.index(name) for name in ("at", "tags_id", "response_id"))


@dataclass(frozen=True, slots=True)
class Made:
    """`calls` rows were written in `seconds`, those of the rollups included; `since`: the midnight before the first."""

    calls: int
    since: datetime
    users: int
    tag_sets: int
    seconds: float


def make(
    url: str,
    calls: int,
    *,
    days: int = DAYS,
    seed: int = SEED,
    users: int | None = None,
    until: datetime | None = None,
) -> Made:
    """Fill an empty store with calls up to `until`, which is now if it is not given."""
    start = time.perf_counter()
    traffic = Traffic(calls, days=days, seed=seed, until=until or datetime.now(UTC), users=users)
    postgres = not url.startswith("sqlite")
    ledger: Any = open_ledger(url)
    driver = _driver(url)
    driver.open()
    try:
        dictionary = Dictionary(driver)
        tags = [dictionary.tags(one) for one in traffic.tag_sets]
        rows = _rows(traffic, dictionary, tags, seed, packs=driver.packs)
        (_copy if postgres else _insert)(url, driver, rows, traffic)
        of_number = dict(zip(tags, traffic.tag_sets, strict=True))
        _balance(driver, of_number, [Budget.parse(text) for text in BUDGETS])
    finally:
        driver.close()
        ledger.close()
    return Made(calls, traffic.since, traffic.users, len(traffic.tag_sets), round(time.perf_counter() - start, 1))


def fill_rollups(connection: sqlite3.Connection, first: int, last: int) -> None:
    """Those of rows that were written past the ledger, between two moments in microseconds since 1970."""
    connection.create_function(BUCKET, 1, bucket, deterministic=True)
    _roll(connection.execute, first, last, sqlite=True)


def _roll(execute: Callable[[str], Any], first: int, last: int, *, sqlite: bool) -> None:
    for day in range(first // _DAY, last // _DAY + 1):
        for table in KEYS:
            execute(change(table, of_day(table, day, sqlite=sqlite)))


def path_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _driver(url: str) -> Driver:
    if url.startswith("sqlite"):
        from costguard.ledger.sqlite import SqliteDriver

        return SqliteDriver(path_of(url), synchronous="OFF")
    from costguard.ledger.postgres import PostgresDriver
    from costguard.ledger.postgres_url import read_address

    return PostgresDriver(read_address(url))


def _rows(
    traffic: Traffic, dictionary: Dictionary, tags: list[int], seed: int, *, packs: bool
) -> Iterator[list[list[Any]]]:
    """Those of one day after the other."""
    rnd = Random(f"rows/{seed}")
    ids = ResponseIds(rnd)

    def template(shape: Shape) -> list[Any]:
        entry = Entry(
            seeded_call_id(0, rnd), 0, shape.provider, shape.model, shape.operation, shape.nanos, shape.usage,
            shape.rates, shape.status, shape.estimated, shape.streamed, shape.attempts, held_nanos=shape.held,
            duration_ns=shape.duration_ns, reason=shape.reason,
        )  # fmt: skip
        model = dictionary.model(shape.provider, shape.model, shape.operation)
        return list(write_entry(entry, model, 0, dictionary.price(shape.rates), None))

    by_shape: dict[int, list[Any]] = {}
    bits = rnd.getrandbits
    for day in traffic.each_day():
        rows = []
        for at, place, shape in day:
            known = by_shape.get(id(shape))
            if known is None:
                known = by_shape[id(shape)] = template(shape)
            row = known.copy()
            number = at // 1_000_000 << 80 | 7 << 76 | bits(12) << 64 | 2 << 62 | bits(62)
            row[0] = number.to_bytes(16, "big")
            row[_AT] = at // 1000
            row[_TAGS] = tags[place]
            if shape.identified:
                response_id = ids.next(shape.provider)
                row[_RESPONSE] = pack(response_id) if packs else response_id
            rows.append(row)
        yield rows


def _insert(url: str, driver: Driver, days: Iterator[list[list[Any]]], traffic: Traffic) -> None:
    connection = sqlite3.connect(path_of(url), isolation_level=None)
    # A file that is lost with the machine is made again.
    connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")
    names, marks = stored(COLUMNS, packs=True)
    for rows in days:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO costguard_entries ({', '.join(names)}) VALUES ({', '.join(marks)})", rows)
        connection.execute("COMMIT")
    fill_rollups(connection, *_bounds(traffic))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _copy(url: str, driver: Driver, days: Iterator[list[list[Any]]], traffic: Traffic) -> None:
    import psycopg

    made_ahead(url, _bounds(traffic)[0])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for rows in days:
            statement = f"COPY costguard_entries ({', '.join(COLUMNS)}) FROM STDIN".encode()
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
        _roll(lambda statement: connection.execute(statement.encode()), *_bounds(traffic), sqlite=False)
        connection.execute("VACUUM ANALYZE")


def made_ahead(url: str, first: int) -> None:
    """PostgreSQL's partition of the month of the first call (microseconds since 1970), which had come one day."""
    driver = _driver(url)
    try:
        if first < months.start_of(months.month_of(time.time_ns() // 1000)):
            driver.transact(months.make, months.month_of(first))
    finally:
        driver.close()


def _bounds(traffic: Traffic) -> tuple[int, int]:
    return int(traffic.since.timestamp()) * 10**6, int(traffic.until.timestamp()) * 10**6


def _balance(driver: Driver, tags: Mapping[int, Tags], budgets: Sequence[Budget]) -> None:
    """What the entries add up to on each budget."""
    query = f"SELECT tags_id, at / {_DAY}, sum(cost) FROM costguard_entries GROUP BY 1, 2"
    days = driver.read(lambda execute: execute(query, ()).fetchall())
    spent: dict[str, int] = {}
    columns: dict[str, tuple[Any, ...]] = {}
    for number, day, cost in days:
        for budget in budgets:
            if budget.counts(tags[number]):
                limit = budget.limit_for(tags[number], int(day) * _DAY * 1000)
                columns[limit.key] = limit_columns(limit)
                spent[limit.key] = spent.get(limit.key, 0) + int(cost or 0)
    statement = driver.text(
        "INSERT INTO costguard_balances (key, start, until, payer, budget, spent) VALUES (?, ?, ?, ?, ?, ?)"
    )

    def insert(execute: Execute) -> None:
        for key, values in sorted(columns.items()):
            execute(statement, (*values, spent[key]))

    driver.transact(insert)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledgers", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("rows", type=int)
    options = parser.parse_args()
    print(make(options.url, options.rows))


if __name__ == "__main__":
    main()
