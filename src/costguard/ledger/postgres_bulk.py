"""Many rows at once in PostgreSQL: arrays of values, one round trip for each kind of statement.

Values travel as the text of arrays, which costs a fraction of what as many single parameters do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from costguard.ledger.driver import Execute, OpenEnd
from costguard.ledger.record import COLUMNS, LOST, PENDING
from costguard.ledger.rollups import ROLLED, Line, Rolls

_TEXTS = ("buckets", "response_id", "reason", "keys")

# Numbered in the order they came, then inserted in the order of their ids: two who bring the same entries in
# another order wait for each other's rows one after the other, and never crosswise.
_INSERT = (
    "WITH new AS (INSERT INTO costguard_entries "
    f"(id, {', '.join(COLUMNS)}) SELECT id, {', '.join(COLUMNS)} FROM ("
    "SELECT nextval('costguard_entries_id_seq') AS id, decode(a.hex, 'hex') AS call_id, "
    f"{', '.join(f'a.{name}' for name in COLUMNS[1:])} FROM unnest(%s::text[], "
    f"{', '.join('%s::text[]' if name in _TEXTS else '%s::bigint[]' for name in COLUMNS[1:])}) "
    f"AS a (hex, {', '.join(COLUMNS[1:])})) AS numbered ORDER BY call_id "
    "ON CONFLICT (call_id) DO NOTHING RETURNING call_id) "
    "SELECT CASE WHEN count(*) < %s THEN coalesce(array_agg(call_id), '{}') END FROM new"
)
_HOLDS = "SELECT call_id, amount, keys FROM costguard_holds WHERE call_id = ANY (%s) ORDER BY call_id FOR UPDATE"
_OPEN_ENDS = (
    f"SELECT call_id, status, cost, keys, {', '.join(ROLLED)} FROM costguard_entries "
    f"WHERE call_id = ANY (%s) AND status IN ({PENDING}, {LOST}) ORDER BY call_id FOR UPDATE"
)
_DELETE = "DELETE FROM costguard_holds WHERE call_id = ANY (%s)"
_DRAW = (
    "UPDATE costguard_holds h SET amount = h.amount - draw.by FROM unnest(%s::bytea[], %s::bigint[]) AS draw (id, by) "
    "WHERE h.call_id = draw.id"
)
_MOVE = (
    "WITH locked AS MATERIALIZED (SELECT key FROM costguard_balances WHERE key = ANY (%s) ORDER BY key FOR UPDATE) "
    "UPDATE costguard_balances b SET held = b.held + move.held, spent = b.spent + move.spent "
    "FROM locked JOIN unnest(%s::text[], %s::bigint[], %s::bigint[]) AS move (key, held, spent) USING (key) "
    "WHERE b.key = move.key RETURNING b.key, b.spent"
)
_ROLL = "SELECT costguard_roll(%s::bigint[], %s::bigint[], %s::bigint[])"
_EXTEND = (
    "WITH locked AS MATERIALIZED ("
    "SELECT call_id FROM costguard_holds WHERE call_id = ANY (%s) ORDER BY call_id FOR UPDATE) "
    "UPDATE costguard_holds h SET expires = %s FROM locked WHERE h.call_id = locked.call_id RETURNING h.call_id"
)


class PostgresBulk:
    """look_ahead: sees that there is a partition for entries of this time (microseconds since 1970)."""

    def __init__(self, look_ahead: Callable[[int], None]) -> None:
        self.look_ahead = look_ahead

    def holds(self, execute: Execute, ids: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        return {row[0]: row[1:] for row in execute(_HOLDS, (list(ids),)).fetchall()}

    def open_ends(self, execute: Execute, ids: Iterable[bytes]) -> dict[bytes, OpenEnd]:
        return {row[0]: row[1:] for row in execute(_OPEN_ENDS, (list(ids),)).fetchall()}

    def insert(self, execute: Execute, rows: Sequence[Sequence[Any]]) -> set[bytes] | None:
        columns = list(zip(*rows, strict=True))
        values: list[Any] = [f"{{{','.join([call_id.hex() for call_id in columns[0]])}}}"]
        for name, column in zip(COLUMNS[1:], columns[1:], strict=True):
            if name not in _TEXTS:
                values.append(_numbers(column))
            else:
                # An array that ends early is filled up with NULL.
                values.append(_texts(column) if any(column) else "{}")
        (new,) = execute(_INSERT, (*values, len(rows))).fetchone()
        return None if new is None else set(new)

    def delete_holds(self, execute: Execute, ids: Sequence[bytes]) -> None:
        execute(_DELETE, (list(ids),))

    def draw(self, execute: Execute, draws: Mapping[bytes, int]) -> None:
        execute(_DRAW, (list(draws), _numbers(draws.values())))

    def move(self, execute: Execute, changes: Sequence[tuple[str, int, int]]) -> dict[str, int]:
        keys, held, spent = zip(*changes, strict=True)
        names = list(keys)
        return dict(execute(_MOVE, (names, names, _numbers(held), _numbers(spent))).fetchall())

    def roll(self, execute: Execute, rolls: Rolls) -> None:
        execute(_ROLL, [flat(lines) for lines in rolls.lines()])

    def extend(self, execute: Execute, ids: Iterable[bytes], expires: int) -> list[bytes]:
        return [call_id for (call_id,) in execute(_EXTEND, (list(ids), expires)).fetchall()]


def _numbers(values: Iterable[int | None]) -> str:
    """An array of integers as PostgreSQL reads it."""
    return f"{{{str(list(values))[1:-1].replace('None', 'NULL')}}}"


def flat(lines: Iterable[Line]) -> str:
    """The numbers of all lines, one line after the other."""
    return _numbers([number for line in lines for number in line])


def _texts(values: Iterable[str | None]) -> str:
    quoted = ["NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in values]
    return "{" + ",".join(quoted) + "}"
