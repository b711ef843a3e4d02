"""Many rows at once in SQLite, where one writer has the whole file: no lock is waited for, a statement is cheap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from costguard.ledger.driver import Cursor, Execute, OpenEnd
from costguard.ledger.record import LOST, PENDING, insert
from costguard.ledger.rollups import HOUR, ROLLED, Rolls
from costguard.ledger.rollups_sql import KEYS, OF_AN_HOUR, one_row

MOST = 500
"""Values in one statement."""

_INSERT = insert(packs=True)
_FORGET = (
    "DELETE FROM costguard_entries WHERE id IN (SELECT e.id FROM costguard_id_ranges r CROSS JOIN costguard_entries e "
    f"ON {OF_AN_HOUR} WHERE r.hour = ? AND e.at < ? LIMIT 1000) RETURNING {', '.join(ROLLED)}"
)
_ROLL = tuple([one_row(table) for table in KEYS])

Many = Callable[[str, Iterable[Sequence[Any]]], Cursor]
"""Runs one statement with each of these rows of values."""


class SqliteBulk:
    def __init__(self, many: Many) -> None:
        self._many = many

    def look_ahead(self, at: int) -> None:
        """Nothing to prepare."""

    def holds(self, execute: Execute, ids: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        query = "SELECT call_id, amount, keys FROM costguard_holds WHERE call_id IN"
        return {row[0]: row[1:] for row in _found(execute, query, ids)}

    def open_ends(self, execute: Execute, ids: Iterable[bytes]) -> dict[bytes, OpenEnd]:
        query = (
            f"SELECT call_id, status, cost, keys, {', '.join(ROLLED)} FROM costguard_entries "
            f"WHERE status IN ({PENDING}, {LOST}) AND call_id IN"
        )
        return {row[0]: row[1:] for row in _found(execute, query, ids)}

    def insert(self, execute: Execute, rows: Sequence[Sequence[Any]]) -> set[bytes] | None:
        # Ids grow by one in the only transaction that writes: the rows after the last one are the new ones.
        (last,) = execute("SELECT coalesce(max(id), 0) FROM costguard_entries", ()).fetchone()
        if self._many(_INSERT, rows).rowcount == len(rows):
            return None
        new = execute("SELECT call_id FROM costguard_entries WHERE id > ?", (last,)).fetchall()
        return {call_id for (call_id,) in new}

    def delete_holds(self, execute: Execute, ids: Sequence[bytes]) -> None:
        self._many("DELETE FROM costguard_holds WHERE call_id = ?", [(call_id,) for call_id in ids])

    def draw(self, execute: Execute, draws: Mapping[bytes, int]) -> None:
        rows = [(by, call_id) for call_id, by in draws.items()]
        self._many("UPDATE costguard_holds SET amount = amount - ? WHERE call_id = ?", rows)

    def move(self, execute: Execute, changes: Sequence[tuple[str, int, int]]) -> dict[str, int]:
        after = {}
        for key, held, spent in changes:
            row = execute(
                "UPDATE costguard_balances SET held = held + ?, spent = spent + ? WHERE key = ? RETURNING spent",
                (held, spent, key),
            ).fetchone()
            if row is not None:
                after[key] = row[0]
        return after

    def roll(self, execute: Execute, rolls: Rolls) -> None:
        for statement, lines in zip(_ROLL, rolls.lines(), strict=True):
            if len(lines) == 1:
                execute(statement, lines[0])
            elif lines:
                self._many(statement, lines)

    def forget(self, execute: Execute, hour: int, before: int, rolls: Callable[[Execute], Rolls]) -> int:
        """The entries of an hour (since 1970) that are from before this time, a thousand at a time; how many went."""
        gone = execute(_FORGET, (hour, before)).fetchall()
        if not gone and (hour + 1) * HOUR <= before:
            execute("DELETE FROM costguard_id_ranges WHERE hour = ?", (hour,))
        changes = rolls(execute)
        for values in gone:
            changes.gone(values)
        self.roll(execute, changes)
        return len(gone)

    def extend(self, execute: Execute, ids: Iterable[bytes], expires: int) -> list[bytes]:
        found = list(self.holds(execute, ids))
        rows = [(expires, call_id) for call_id in found]
        self._many("UPDATE costguard_holds SET expires = ? WHERE call_id = ?", rows)
        return found


def _found(execute: Execute, query: str, ids: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
    wanted = list(ids)
    for start in range(0, len(wanted), MOST):
        some = wanted[start : start + MOST]
        yield from execute(f"{query} ({', '.join('?' * len(some))})", some).fetchall()
