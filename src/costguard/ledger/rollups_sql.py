"""The statements of the rollups: changes of their rows, and what the entries of some time add up to."""

from __future__ import annotations

from costguard.ledger.buckets import BORDERS
from costguard.ledger.driver import Execute
from costguard.ledger.rollups import ADJUSTED, ANSWERED, COST_PARTS, COUNTS, DAY, ERROR, HOUR, NO_COST, NO_RATES, WIDTH

KEYS = {
    "days": ("day", "tags_id", "model_id", "status", "price"),
    "hours": ("hour", "group_id", "model_id", "status"),
    "spreads": ("day", "group_id", "model_id", "part"),
}
"""The tables, in the order in which they are written, and their keys."""

VALUES = {"days": COUNTS, "hours": COUNTS, "spreads": tuple([f"c{place}" for place in range(WIDTH)])}
LENGTH = {"days": DAY, "hours": HOUR, "spreads": DAY}
"""Microseconds of the first part of a key."""

OF_AN_HOUR = f"e.id BETWEEN r.first AND r.last AND e.at / {HOUR} = r.hour"
"""In SQLite, the entries `e` of a row `r` of `costguard_id_ranges`: each once, as ranges of an hour have no id in
common."""

OUT_OF_RANGE = (
    "NOT EXISTS (SELECT 1 FROM costguard_id_ranges r "
    f"WHERE r.hour = e.at / {HOUR} AND r.first <= e.id AND r.last >= e.id)"
)
"""Of the entries `e`: none is so."""

BUCKET = "costguard_bucket"
"""A function of SQLite's that is made for a connection: `costguard.ledger.buckets.bucket`."""

_CALL = f"(CASE WHEN e.status = {ADJUSTED} OR e.attempts = 0 THEN 0 ELSE 1 END)"
_COUNTED = {
    "entries": "count(*)",
    "calls": f"sum({_CALL})",
    "cost": "coalesce(sum(e.cost), 0)",
    "unpriced_calls": "sum(CASE WHEN e.cost IS NULL THEN 1 WHEN e.covers IS NOT NULL THEN -1 ELSE 0 END)",
    "unpriced_tokens": "sum(CASE WHEN e.cost IS NULL THEN e.input_tokens + e.output_tokens "
    "ELSE -coalesce(e.covers, 0) END)",
    "estimated_calls": f"sum(e.estimated * {_CALL})",
    "estimated_cost": "coalesce(sum(CASE WHEN e.estimated = 1 THEN e.cost ELSE 0 END), 0)",
    "attempts": f"sum(e.attempts * {_CALL})",
}
_SUMS = [_COUNTED.get(name, f"sum(e.{name})") for name in COUNTS]


def change(table: str, source: str) -> str:
    """Add what `source` says, VALUES or a SELECT in the order of the columns, to the rows of a table."""
    keys, values = KEYS[table], VALUES[table]
    name = f"costguard_{table}"
    added = ", ".join([f"{value} = {name}.{value} + excluded.{value}" for value in values])
    return (
        f"INSERT INTO {name} ({', '.join((*keys, *values))}) {source} "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {added}"
    )


def one_row(table: str) -> str:
    return change(table, f"VALUES ({', '.join('?' * (len(KEYS[table]) + len(VALUES[table])))})")


def added_up(
    table: str, *, entries: str = "costguard_entries e", when: str, bucket: str, sign: str = "", ordered: bool = False
) -> str:
    """A SELECT of the rows that a table has to have: key and values, of the entries `e` that are as `when` says.

    entries: where they come from
    bucket:  the function of the database for `costguard.ledger.buckets.bucket`, with a mark for its argument
    ordered: by key, as rows are locked
    """
    places = ", ".join([str(place) for place in range(1, len(KEYS[table]) + 1)])
    end = f"GROUP BY {places}" + (f" ORDER BY {places}" if ordered else "")
    if table == "days":
        price = f"CASE WHEN e.cost IS NULL THEN {NO_COST} ELSE coalesce(e.price_id, {NO_RATES}) END"
        keys = [f"e.at / {DAY}", "e.tags_id", "e.model_id", "e.status", price]
        sums = ", ".join([f"{sign}{one}" for one in _SUMS])
        return f"SELECT {', '.join(keys)}, {sums} FROM {entries} WHERE {when} {end}"
    grouped = f"{entries} JOIN costguard_tag_sets t ON t.id = e.tags_id"
    if table == "hours":
        keys = [f"e.at / {HOUR}", "t.group_id", "e.model_id", "e.status"]
        sums = ", ".join([f"{sign}{one}" for one in _SUMS])
        return f"SELECT {', '.join(keys)}, {sums} FROM {grouped} WHERE {when} {end}"
    answered = f"e.attempts > 0 AND e.status IN ({', '.join([str(status) for status in sorted(ANSWERED)])})"
    both = " UNION ALL ".join(
        [
            f"SELECT e.at / {DAY} AS day, t.group_id AS group_id, e.model_id AS model_id, {first} AS first, "
            f"{bucket.format(f'e.{what}')} AS place FROM {grouped} WHERE {when} AND {answered}{also}"
            for what, first, also in (
                ("duration", 0, ""),
                ("cost", COST_PARTS, f" AND e.cost IS NOT NULL AND e.status <> {ERROR}"),
            )
        ]
    )
    counts = [f"{sign}sum(CASE WHEN place & {WIDTH - 1} = {one} THEN 1 ELSE 0 END)" for one in range(WIDTH)]
    part = f"first + place / {WIDTH}"
    return f"SELECT day, group_id, model_id, {part}, {', '.join(counts)} FROM ({both}) b {end}"


def of_day(table: str, day: int, *, sqlite: bool) -> str:
    """The same of a day (since 1970), by the shortest way to its entries."""
    if not sqlite:
        return added_up(table, when=f"e.at >= {day * DAY} AND e.at < {(day + 1) * DAY}", bucket=POSTGRES_BUCKET)
    ranges = f"costguard_id_ranges r CROSS JOIN costguard_entries e ON {OF_AN_HOUR}"
    when = f"r.hour >= {day * 24} AND r.hour < {(day + 1) * 24}"
    return added_up(table, entries=ranges, when=when, bucket=SQLITE_BUCKET)


def forget_empty(execute: Execute, before: int) -> None:
    """In a transaction: lines of days that were forgotten whole say nothing any more."""
    for table, counts in VALUES.items():
        key = KEYS[table][0]
        nothing = " AND ".join([f"{value} = 0" for value in (counts[:1] if table != "spreads" else counts)])
        execute(f"DELETE FROM costguard_{table} WHERE {key} < {before // LENGTH[table]} AND {nothing}", ())


SQLITE_BUCKET = f"{BUCKET}({{}})"
POSTGRES_BUCKET = f"width_bucket({{}}, ARRAY[{','.join([str(border) for border in BORDERS])}]::bigint[])"
