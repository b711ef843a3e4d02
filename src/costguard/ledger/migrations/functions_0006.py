"""Rollups in the transaction of a settlement: `costguard.ledger.rollups`, in one round trip.

Lines come as the numbers of their columns, one line after the other, in the order in which the rows are locked.
"""

from __future__ import annotations

from costguard.ledger.rollups_sql import KEYS, VALUES, change


def _lines(table: str, name: str) -> str:
    width = len(KEYS[table]) + len(VALUES[table])
    columns = ", ".join([f"{name}[place + {one}]" for one in range(width)])
    return change(table, f"SELECT {columns} FROM generate_series(1, cardinality({name}), {width}) AS place")


ROLL = f"""
CREATE FUNCTION costguard_roll(the_days bigint[], the_hours bigint[], the_spreads bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    {_lines("days", "the_days")};
    {_lines("hours", "the_hours")};
    {_lines("spreads", "the_spreads")};
END $$
"""

_SETTLE = ", ".join([f"${place}" for place in range(1, 25)])
_TYPES = (
    "bytea, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, text, bigint, bigint, "
    "bigint, bigint, bigint, bigint, text, text, text, bytea, text, text"
)

SETTLE = f"""
CREATE FUNCTION costguard_settle({_TYPES}, bigint[], bigint[], bigint[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT costguard_settle({_SETTLE}) THEN
        RETURN false;
    END IF;
    PERFORM costguard_roll($25, $26, $27);
    RETURN true;
END $$
"""

FUNCTIONS = (ROLL, SETTLE)
DROPPED = (
    f"DROP FUNCTION costguard_settle({_TYPES}, bigint[], bigint[], bigint[])",
    "DROP FUNCTION costguard_roll(bigint[], bigint[], bigint[])",
)
