"""In SQLite: ranges of ids for each hour instead of an index of times, and times in six bytes instead of eight.

The table is made anew, as SQLite cannot change a column: that takes some ten seconds for a million rows, and as much
space as the file has. End the workers of the version before first: they cannot write to a table whose `at` is made of
another column. A `moment` above 10**15 counts as microseconds since 1970 all the same, for who writes it by hand.
In PostgreSQL there are only a column and a table that stay empty.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TABLE costguard_entries_new (
    id INTEGER NOT NULL,
    call_id BLOB NOT NULL,
    {times},
    model_id BIGINT NOT NULL,
    tags_id BIGINT NOT NULL,
    price_id BIGINT,
    cost BIGINT,
    input_tokens BIGINT DEFAULT 0 NOT NULL,
    output_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_read_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_write_tokens BIGINT DEFAULT 0 NOT NULL,
    reasoning_tokens BIGINT DEFAULT 0 NOT NULL,
    buckets TEXT,
    status SMALLINT DEFAULT 0 NOT NULL,
    estimated SMALLINT DEFAULT 0 NOT NULL,
    streamed SMALLINT DEFAULT 0 NOT NULL,
    attempts SMALLINT DEFAULT 1 NOT NULL,
    held BIGINT DEFAULT 0 NOT NULL,
    duration BIGINT DEFAULT 0 NOT NULL,
    response_id TEXT,
    reason TEXT,
    keys TEXT,
    adjusts BLOB,
    covers BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT costguard_entries_call_id UNIQUE (call_id)
)
"""
_OTHERS = (
    "id, call_id, model_id, tags_id, price_id, cost, input_tokens, output_tokens, cache_read_tokens, "
    "cache_write_tokens, reasoning_tokens, buckets, status, estimated, streamed, attempts, held, duration, "
    "response_id, reason, keys, adjusts, covers"
)
_AT = "CASE WHEN moment > 1000000000000000 THEN moment ELSE moment + 1893456000000000 END"
_TIMES = f"moment BIGINT, at BIGINT GENERATED ALWAYS AS ({_AT}) VIRTUAL NOT NULL"
_HOUR = 3_600_000_000
_NEAR = 4096
"""Ids between two entries of one hour that are read over rather than told apart."""

# A range is begun a little longer than it has to be, so that few entries change one.
_RANGE = f"""
INSERT INTO costguard_id_ranges (hour, first, last) VALUES (
    NEW.at / {_HOUR},
    coalesce((SELECT first FROM (SELECT first, last FROM costguard_id_ranges
        WHERE hour = NEW.at / {_HOUR} AND first <= NEW.id ORDER BY first DESC LIMIT 1)
        WHERE last >= NEW.id - {_NEAR}), NEW.id),
    min(NEW.id + 255, coalesce((SELECT min(first) - 1 FROM costguard_id_ranges
        WHERE hour = NEW.at / {_HOUR} AND first > NEW.id), NEW.id + 255))
) ON CONFLICT (hour, first) DO UPDATE SET last = excluded.last;
"""
_MISSING = f"""
NOT EXISTS (SELECT 1 FROM costguard_id_ranges WHERE hour = NEW.at / {_HOUR} AND first <= NEW.id AND last >= NEW.id)
"""
_TRIGGERS = {"costguard_entries_new": "INSERT", "costguard_entries_moved": "UPDATE OF moment"}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "costguard_id_ranges",
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    if not sqlite:
        op.add_column("costguard_entries", sa.Column("moment", sa.BigInteger, nullable=True))
        return
    ranges = list(_ranges(op.get_bind()))
    if ranges:
        insert = "INSERT INTO costguard_id_ranges (hour, first, last) VALUES (?, ?, ?)"
        op.get_bind().exec_driver_sql(insert, ranges)
    _remake(_TIMES, "moment", "at - 1893456000000000")
    op.create_index("costguard_entries_tags_id", "costguard_entries", ["tags_id"])
    op.create_index("costguard_entries_at", "costguard_entries", ["at"], sqlite_where=sa.text("id < 0"))
    for name, event in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} AFTER {event} ON costguard_entries WHEN {_MISSING} BEGIN {_RANGE} END")


def _remake(times: str, name: str, value: str) -> None:
    """The same rows in a table with other columns of time."""
    op.execute(_TABLE.format(times=times))
    op.execute(
        f"INSERT INTO costguard_entries_new ({_OTHERS}, {name}) SELECT {_OTHERS}, {value} FROM costguard_entries"
    )
    op.drop_table("costguard_entries")
    op.rename_table("costguard_entries_new", "costguard_entries")


def _ranges(connection: sa.Connection) -> Iterator[tuple[int, int, int]]:
    """Of the entries that are there, read once in the order of their ids."""
    open_ones: dict[int, list[int]] = {}
    for number, hour in connection.exec_driver_sql(f"SELECT id, at / {_HOUR} FROM costguard_entries ORDER BY id"):
        known = open_ones.get(hour)
        if known is not None and number - known[1] <= _NEAR:
            known[1] = number
        else:
            if known is not None:
                yield hour, known[0], known[1]
            open_ones[hour] = [number, number]
    for hour, (first, last) in open_ones.items():
        yield hour, first, last


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in _TRIGGERS:
            op.execute(f"DROP TRIGGER {name}")
        _remake("at BIGINT NOT NULL", "at", "at")
        op.create_index("costguard_entries_tags_id", "costguard_entries", ["tags_id"])
        op.create_index("costguard_entries_at", "costguard_entries", ["at"])
    else:
        op.drop_column("costguard_entries", "moment")
    op.drop_table("costguard_id_ranges")
