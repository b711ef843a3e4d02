"""Adjustments in a SQL database: rows, balances, crossings and who did it, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.ledger.adjusting import Accounts, in_force, lacking, passed
from costguard.ledger.balances import Balances
from costguard.ledger.deeds import NOTHING, Adjusted, Deed, Deeds
from costguard.ledger.dictionary import Dictionary
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.outbox import Outbox
from costguard.ledger.record import NUMBER_OF, call_key, clean, stored
from costguard.ledger.rollups import Rolls
from costguard.ledger.rule import read_limit

T = TypeVar("T")

_COLUMNS = (
    "call_id", "at", "model_id", "tags_id", "price_id", "cost", "status", "estimated", "attempts", "reason", "adjusts",
    "covers",
)  # fmt: skip
_MOST = 250
"""Rows, or keys, in one statement: SQLite takes 32,766 values at most, PostgreSQL twice as many."""

_ACCOUNTS = "SELECT start, until, budget, min(payer) FROM costguard_balances GROUP BY start, until, budget"


class Adjusting:
    def __init__(
        self,
        driver: Driver,
        dictionary: Dictionary,
        balances: Balances,
        outbox: Outbox,
        rolls: Callable[[Execute], Rolls],
    ) -> None:
        self._driver = driver
        self._rolls = rolls
        self._dictionary = dictionary
        self._balances = balances
        self._outbox = outbox
        self._deeds = Deeds(driver)
        self._accounts = driver.text(_ACCOUNTS)
        self._last: tuple[str, Accounts] | None = None

    def adjust(self, adjustments: Sequence[Adjustment], deed: Deed, budgets: Sequence[Budget]) -> Adjusted:
        if not adjustments:
            return NOTHING
        # In the order of the ids: two who bring the same ones wait for each other's rows, and never crosswise.
        some = {call_key(one.call_id): one for one in sorted(adjustments, key=lambda one: one.call_id)}
        rows = [self._row(key, one) for key, one in some.items()]
        accounts = self._accounts_for(deed, budgets)
        return self._driver.transact(self._adjust, rows, some, accounts, deed)

    def _accounts_for(self, deed: Deed, budgets: Sequence[Budget]) -> Accounts:
        """Looked up once for a deed, as all balances have to be looked at.

        They are never removed. Of an account that had none in its window when the deed began, one that is made from
        now on counts what is recorded from now on, as of any budget that is made in the middle of its window.
        """
        if self._last is None or self._last[0] != deed.nonce:
            found = self._driver.read(lambda execute: execute(self._accounts, ()).fetchall())
            seen = [read_limit(start, until, payer, budget) for start, until, budget, payer in found]
            self._last = (deed.nonce, Accounts([*in_force(budgets, deed.at_ns), *seen]))
        return self._last[1]

    def _row(self, key: bytes, one: Adjustment) -> tuple[Any, ...]:
        dictionary = self._dictionary
        return (
            key, one.at_ns // 1000, dictionary.model(one.provider, one.model, one.operation),
            dictionary.tags(one.tags), dictionary.price(one.rates), one.nanos, NUMBER_OF[one.status],
            int(one.estimated), one.attempts, clean(one.reason), call_key(one.adjusts), one.covers,
        )  # fmt: skip

    def _adjust(
        self,
        execute: Execute,
        rows: list[tuple[Any, ...]],
        some: dict[bytes, Adjustment],
        accounts: Accounts,
        deed: Deed,
    ) -> Adjusted:
        new: list[Adjustment] = []
        for lot in _lots(rows):
            names, marks = stored(_COLUMNS, packs=self._driver.packs)
            values = ", ".join([f"({', '.join(marks)})"] * len(lot))
            insert = (
                f"INSERT INTO costguard_entries ({', '.join(names)}) VALUES {values} "
                "ON CONFLICT (call_id) DO NOTHING RETURNING call_id"
            )
            ids = execute(self._driver.text(insert), [value for row in lot for value in row]).fetchall()
            new += [some[bytes(call_id)] for (call_id,) in ids]
        if not new:
            return NOTHING
        nets = accounts.nets(new)
        limits = self._limits(execute, sorted(key for key, (_, by) in nets.items() if by))
        missing = {limit.key: limit for limit in lacking(nets, limits, deed.at_ns)}
        self._balances.know(execute, missing.values())
        limits |= missing
        changes = [(key, 0, nets[key][1]) for key in sorted(limits)]
        after = self._driver.bulk.move(execute, changes) if changes else {}
        crossings = [each for key, _, by in changes for each in passed(limits[key], by, after[key], deed.at_ns)]
        told = [crossing for crossing in crossings if self._outbox.add(execute, crossing)]
        self._deeds.add(execute, deed, len(new), sum(one.nanos for one in new))
        recorded = {call_key(one.call_id) for one in new}
        rolls = self._rolls(execute)
        for row in rows:
            if row[0] in recorded:
                _, at, model_id, tags_id, price_id, cost, status, estimated, attempts, _, _, covers = row
                tokens = (0, 0, 0, 0, 0)
                rolls.come((at, model_id, tags_id, cost, *tokens, status, estimated, attempts, 0, price_id, covers))
        self._driver.bulk.roll(execute, rolls)
        return Adjusted(frozenset([one.call_id for one in new]), tuple(told))

    def _limits(self, execute: Execute, keys: Sequence[str]) -> dict[str, Limit]:
        """Of those that have a balance: each as it was last used."""
        found: dict[str, Limit] = {}
        for lot in _lots(keys):
            query = (
                "SELECT key, start, until, payer, budget FROM costguard_balances "
                f"WHERE key IN ({', '.join('?' * len(lot))})"
            )
            for key, *columns in execute(self._driver.text(query), lot).fetchall():
                found[key] = read_limit(*columns)
        return found

    def deeds(self, most: int) -> list[Deed]:
        return self._deeds.latest(most)


def _lots(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(rows), _MOST):
        yield rows[first : first + _MOST]
