"""A ledger of ten million calls in a fraction of the time: each of a smaller one's some times over, at other moments.

`python -m benchmarks.enlarging sqlite:///1m.db sqlite:///10m.db 10`, or with the URLs of two PostgreSQL databases. Who
calls, for what and for how much is as it was; moments are up to ten minutes earlier in the same hour, ids are new. So
each line of the rollups and each balance is what it was, so many times over.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Iterable
from random import Random
from typing import Any

from benchmarks.ledgers import made_ahead, path_of
from costguard.ledger.opening import open_ledger
from costguard.ledger.record import COLUMNS, EPOCH, stored
from costguard.ledger.rollups_sql import KEYS, VALUES

_DAY, _HOUR = 86_400 * 10**6, 3_600 * 10**6
_SPREAD = 600 * 10**6
_COPIED = ("tag_sets", "tag_values", "models", "prices")
_MULTIPLIED = {
    "balances": (("key", "start", "until", "payer", "budget", "held"), ("spent",)),
    **{table: (KEYS[table], VALUES[table]) for table in KEYS},
}
"""Tables with what is copied of them, and what is multiplied."""


def enlarge(small: str, url: str, times: int, seed: int = 7) -> float:
    """Seconds that it took to fill an empty store. In PostgreSQL ids are not made from the seed."""
    start = time.perf_counter()
    open_ledger(url).close()
    if url.startswith("sqlite"):
        _in_sqlite(small, url, times, seed)
    else:
        _in_postgres(small, url, times)
    return round(time.perf_counter() - start, 1)


def _multiplied(table: str, times: int) -> tuple[str, str]:
    """Its columns, and what is selected for them."""
    same, more = _MULTIPLIED[table]
    return ", ".join((*same, *more)), ", ".join((*same, *[f"{name} * {times}" for name in more]))


def _days(first: int, last: int) -> Iterable[int]:
    return range(first // _DAY * _DAY, last + 1, _DAY)


def _in_sqlite(small: str, url: str, times: int, seed: int) -> None:
    bits = Random(seed).getrandbits
    connection = sqlite3.connect(f"file:{path_of(url)}", uri=True, isolation_level=None)
    connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -1500000")
    connection.create_function(
        "call_id", 1, lambda at: (at // 1000 << 80 | 7 << 76 | bits(12) << 64 | 2 << 62 | bits(62)).to_bytes(16, "big")
    )
    connection.execute("ATTACH ? AS small", (f"file:{path_of(small)}?mode=ro",))
    connection.execute("BEGIN IMMEDIATE")
    for table in _COPIED:
        connection.execute(f"INSERT INTO costguard_{table} SELECT * FROM small.costguard_{table}")
    for table in _MULTIPLIED:
        names, values = _multiplied(table, times)
        connection.execute(f"INSERT INTO costguard_{table} ({names}) SELECT {values} FROM small.costguard_{table}")
    connection.execute("COMMIT")
    first, last = connection.execute("SELECT min(at), max(at) FROM small.costguard_entries").fetchone()
    numbers = " UNION ALL ".join([f"SELECT {number} AS n" for number in range(times)])
    own = {"call_id": "call_id(moment)", "at": f"moment - {EPOCH}", "response_id": "randomblob(length(response_id))"}
    names, _ = stored(COLUMNS, packs=True)
    for day in _days(first, last):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            f"INSERT INTO costguard_entries ({', '.join(names)}) "
            f"SELECT {', '.join([own.get(name, name) for name in COLUMNS])} FROM ("
            f"SELECT {', '.join([f'e.{name}' for name in COLUMNS if name != 'at'])}, "
            f"e.at - abs(random()) % min({_SPREAD}, e.at % {_HOUR} + 1) AS moment "
            f"FROM small.costguard_entries e, ({numbers}) WHERE e.at >= {day} AND e.at < {day + _DAY}) ORDER BY moment"
        )
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


# The time of a UUIDv7, its version, and the rest of a random one.
_CALL_ID = (
    "set_byte(substring(int8send(new_at / 1000) FROM 3) || substring(random FROM 7), 6, get_byte(random, 6) & 15 | 112)"
)


def _in_postgres(small: str, url: str, times: int) -> None:
    import psycopg

    with psycopg.connect(small) as source, psycopg.connect(url, autocommit=True) as target:

        def run(statement: str) -> Any:
            return target.execute(statement.encode())

        for setting in ("synchronous_commit = off", "work_mem = '256MB'", "maintenance_work_mem = '512MB'"):
            run(f"SET {setting}")
        for table in _COPIED:
            _pipe(source, target, f"SELECT * FROM costguard_{table}", f"costguard_{table}")
            # Where the numbers are given by the database, new ones go on from these.
            if table != "tag_values":
                run(f"SELECT setval(pg_get_serial_sequence('costguard_{table}', 'id'), max(id)) FROM costguard_{table}")
        for table in _MULTIPLIED:
            names, values = _multiplied(table, times)
            _pipe(source, target, f"SELECT {values} FROM costguard_{table}", f"costguard_{table} ({names})")
        names = ", ".join(COLUMNS)
        run("CREATE UNLOGGED TABLE fewer AS SELECT * FROM costguard_entries WITH NO DATA")
        _pipe(source, target, f"SELECT {names} FROM costguard_entries", f"fewer ({names})")
        run("CREATE INDEX ON fewer (at)")
        run("ANALYZE fewer")
        first, last = run("SELECT min(at), max(at) FROM fewer").fetchone()
        made_ahead(url, first)
        # In one go at the end they take a third of the time.
        indexes = run(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'costguard_entries' "
            "AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        ).fetchall()
        for name, _ in indexes:
            run(f"DROP INDEX {name}")
        own = {"call_id": _CALL_ID, "at": "new_at"}
        values = ", ".join([own.get(name, name) for name in COLUMNS])
        for day in _days(first, last):
            run(
                f"INSERT INTO costguard_entries ({names}) SELECT {values} FROM ("
                "SELECT e.*, uuid_send(gen_random_uuid()) AS random, "
                f"e.at - floor(random() * least({_SPREAD}, e.at % {_HOUR} + 1))::bigint AS new_at "
                f"FROM fewer e, generate_series(1, {times}) WHERE e.at >= {day} AND e.at < {day + _DAY} "
                "ORDER BY new_at) AS more"
            )
        run("DROP TABLE fewer")
        for _, definition in indexes:
            run(definition.replace(" ON ONLY ", " ON "))
        run("VACUUM (ANALYZE)")
        run("CHECKPOINT")


def _pipe(source: Any, target: Any, query: str, into: str) -> None:
    """Between two databases, which need not know of each other."""
    with (
        source.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)".encode()) as out,
        target.cursor().copy(f"COPY {into} FROM STDIN (FORMAT binary)".encode()) as back,
    ):
        for part in out:
            back.write(part)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.enlarging", description=__doc__)
    parser.add_argument("small")
    parser.add_argument("url")
    parser.add_argument("times", type=int)
    options = parser.parse_args()
    print(f"{enlarge(options.small, options.url, options.times)} s")


if __name__ == "__main__":
    main()
