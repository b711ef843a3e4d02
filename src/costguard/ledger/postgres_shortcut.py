"""The usual case of reserve and of settle: one statement that calls a function of the database.

The functions are made by the migrations; what they do is in `costguard.ledger.migrations.functions_0003`, and
`functions_0006` for the rollups.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from costguard.budgets import Limit
from costguard.events import Entry
from costguard.ledger.driver import Execute
from costguard.ledger.postgres_bulk import flat
from costguard.ledger.rollups import Rolls
from costguard.ledger.rule import limit_columns

_RESERVE = f"SELECT costguard_reserve({', '.join(['%s'] * 10)})"
_SETTLE = f"SELECT costguard_settle({', '.join(['%s'] * 24 + ['%s::bigint[]'] * 3)})"

Run = Callable[[Callable[[Execute], Any]], Any]


class PostgresShortcut:
    """run:        runs a piece of work that is one statement, without a transaction around it
    look_ahead: sees that there is a partition for an entry of this time (microseconds since 1970)
    """

    def __init__(self, run: Run, look_ahead: Callable[[int], None]) -> None:
        self._run = run
        self._look_ahead = look_ahead

    def reserve(self, row: Sequence[Any], limits: Sequence[Limit], unknown: Sequence[Limit]) -> bool:
        most = ",".join([str(limit.most) for limit in limits])
        rules = json.dumps([limit_columns(limit) for limit in unknown]) if unknown else None
        return self._ask(_RESERVE, (*row, most, rules))

    def settle(
        self, row: Sequence[Any], held_as: bytes, entry: Entry, limits: Sequence[Limit] | None, rolls: Rolls
    ) -> bool:
        self._look_ahead(row[1])
        lines = [flat(some) for some in rolls.lines()]
        if limits is None:
            return self._ask(_SETTLE, (*row, held_as, None, "", *lines))
        marks: dict[str, str] = {}
        for limit in limits:
            some = ",".join([str(mark) for mark, _ in limit.marks])
            account = limit.key if limit.unit == "usd" else f"{limit.key}\t{entry.on(limit)}"
            before = marks.get(account)
            marks[account] = f"{before},{some}" if before and some else before or some
        return self._ask(_SETTLE, (*row, held_as, "\n".join(marks), ";".join(marks.values()), *lines))

    def _ask(self, statement: str, values: Sequence[Any]) -> bool:
        return bool(self._run(lambda execute: execute(statement, values).fetchone())[0])
