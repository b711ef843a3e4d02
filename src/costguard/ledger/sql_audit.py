"""The books of a SQL ledger, read in one statement, so that all rows are of one moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from costguard.ledger.audit import Audit, Books, Expired
from costguard.ledger.base import LEASE
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.keys import read_keys
from costguard.ledger.months import lock
from costguard.ledger.record import LOST, NUMBER_OF, PENDING
from costguard.ledger.rollups import HOUR
from costguard.ledger.rollups_sql import OF_AN_HOUR
from costguard.ledger.rule import read_limit
from costguard.tags import Tags

_OPEN = f"({PENDING}, {LOST})"
_REPAIRS = 2  # of the advisory locks, see `costguard.ledger.months.lock`


def _part(kind: int, numbers: Sequence[str], texts: Sequence[str], rest: str) -> str:
    """A SELECT of the union: the kind of row, six numbers, four texts."""
    columns = [str(kind)]
    columns += [f"CAST({number} AS bigint)" for number in (*numbers, *["NULL"] * (6 - len(numbers)))]
    columns += [f"CAST({one} AS text)" for one in (*texts, *["NULL"] * (4 - len(texts)))]
    return f"SELECT {', '.join(columns)} {rest}"


_IS_LEASE = f"CASE WHEN m.provider = '{LEASE[0]}' AND m.operation = '{LEASE[1]}' THEN 1 ELSE 0 END"
_BALANCES, _COUNTED, _OPEN_ENDS, _HOLDS, _TAGS, _FIRST = range(6)
_READ = " UNION ALL ".join(
    [
        _part(_BALANCES, ["spent", "held", "start", "until"], ["key", "payer", "budget"], "FROM costguard_balances"),
        _part(
            _COUNTED,
            [
                "w.start", "w.until", "e.tags_id", "sum(e.cost)", "sum(e.input_tokens + e.output_tokens)",
                f"sum(CASE WHEN e.status IN ({NUMBER_OF['error']}, {NUMBER_OF['adjusted']}) OR e.attempts = 0 "
                "THEN 0 ELSE 1 END)",
            ],
            [],
            "FROM (SELECT DISTINCT start, until FROM costguard_balances) w {join} "
            "AND e.at >= w.start AND e.at < coalesce(w.until, 9223372036854775807) "
            f"WHERE e.status NOT IN {_OPEN} GROUP BY w.start, w.until, e.tags_id",
        ),
        _part(_OPEN_ENDS, ["cost"], ["keys"], f"FROM costguard_entries WHERE status IN {_OPEN}"),
        _part(
            _HOLDS,
            ["h.amount", "h.expires", "h.tags_id", _IS_LEASE],
            ["h.keys", "{hex}(h.call_id{as_hex})"],
            "FROM costguard_holds h JOIN costguard_models m ON m.id = h.model_id",
        ),
        _part(_TAGS, ["id"], ["tags"], "FROM costguard_tag_sets"),
        _part(_FIRST, ["(SELECT min(id) FROM costguard_entries)", "({oldest})"], [], ""),
    ]
)  # fmt: skip


# SQLite has no index of times.
_SQLITE = {
    "hex": "hex",
    "as_hex": "",
    "join": f"CROSS JOIN costguard_id_ranges r ON r.hour >= w.start / {HOUR} "
    f"AND r.hour <= coalesce(w.until, 9223372036854775807) / {HOUR} CROSS JOIN costguard_entries e ON {OF_AN_HOUR}",
    "oldest": f"SELECT e.at FROM costguard_id_ranges r CROSS JOIN costguard_entries e ON {OF_AN_HOUR} "
    "ORDER BY r.hour, e.at LIMIT 1",
}
_POSTGRES = {
    "hex": "encode",
    "as_hex": ", 'hex'",
    "join": "JOIN costguard_entries e ON true",
    "oldest": "SELECT min(at) FROM costguard_entries",
}


class SqlAudit:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._one_writer = not driver.for_update
        self._read = _READ.format(**(_SQLITE if self._one_writer else _POSTGRES))
        self._correct = driver.text("UPDATE costguard_balances SET spent = spent + ?, held = held + ? WHERE key = ?")

    def audit(self, now_ns: int, *, repair: bool) -> Audit:
        with self._driver.reading() as connection:
            found = self._books(connection.exec_driver_sql(self._read).fetchall(), now_ns).close()
        if not repair or found.ok:
            return found
        if self._one_writer:
            # Nobody writes between the look and the correction.
            return self._driver.transact(self._repair_alone, now_ns)
        with self._driver.reading() as connection:
            # One repair at a time. Calls go on: what is wrong now is wrong by as much when they have moved on.
            connection.exec_driver_sql(lock(_REPAIRS))
            found = self._books(connection.exec_driver_sql(self._read).fetchall(), now_ns).close(repaired=True)
            self._driver.transact(self._apply, found)
        return found

    def _repair_alone(self, execute: Execute, now_ns: int) -> Audit:
        found = self._books(execute(self._read, ()).fetchall(), now_ns).close(repaired=True)
        self._apply(execute, found)
        return found

    def _apply(self, execute: Execute, found: Audit) -> None:
        for one in found.differences:
            spent, held = one.spent_entries - one.spent_recorded, one.held_rows - one.held_recorded
            execute(self._correct, (spent, held, one.key))

    def _books(self, rows: Sequence[Sequence[Any]], now_ns: int) -> Books:
        books = Books()
        kinds: list[list[Sequence[Any]]] = [[] for _ in range(6)]
        for row in rows:
            kinds[row[0]].append(row)
        for _, spent, held, start, until, _, _, key, payer, budget, _ in kinds[_BALANCES]:
            books.balances[key] = (read_limit(start, until, payer, budget), spent, held)
        tags = {row[1]: Tags(json.loads(row[7])) for row in kinds[_TAGS]}
        for _, start, until, tags_id, money, tokens, calls, *_ in kinds[_COUNTED]:
            counts = (money or 0, tokens, calls)
            books.counted.setdefault((start, until), []).append((tags[tags_id], counts))
        for _, cost, _, _, _, _, _, keys, *_ in kinds[_OPEN_ENDS]:
            books.charge(read_keys(keys or "", cost or 0))
        for _, amount, expires, tags_id, lease, _, _, keys, call_id, *_ in kinds[_HOLDS]:
            amounts = read_keys(keys, amount)
            books.hold(amounts)
            if expires * 1000 <= now_ns:
                books.expired.append(
                    Expired(str(UUID(call_id)), tags[tags_id], tuple(amounts), amount, expires * 1000, bool(lease))
                )
        ((_, first, oldest, *_),) = kinds[_FIRST]
        ended = [limit.end for limit, spent, _ in books.balances.values() if limit.end is not None and spent > 0]
        if oldest is None:
            books.kept_from = now_ns // 1000 if any(spent > 0 for _, spent, _ in books.balances.values()) else None
        elif first > 1 or any(end <= oldest * 1000 for end in ended):
            # Rows are numbered from one on, and forgotten from the oldest on: what a window that began before the
            # oldest that is left has spent cannot be told from the rows.
            books.kept_from = oldest
        return books
