"""The rules in a SQL database: a few statements, none of them in the path of a call."""

from __future__ import annotations

import json
from typing import Any

from costguard.budgets import Budget
from costguard.grants import Grant
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.rule import read_limit
from costguard.ledger.stored_rules import Rules, StoredBudget, StoredGrant

_BUDGETS = "SELECT id, identity, rule, author, created, removed, removed_by FROM costguard_budgets"
_GRANTS = (
    "SELECT id, nonce, account, payer, amount, unit, at, until, author, reason, removed, removed_by "
    "FROM costguard_grants"
)
_IN_FORCE = " WHERE removed IS NULL"
# Of one budget whose limit was changed while payers use it there are two: first the one that more of them have met.
_SEEN = (
    "SELECT budget FROM costguard_balances WHERE until IS NULL OR until > ? "
    "GROUP BY budget ORDER BY max(start) DESC, count(*) DESC"
)
# First of all in every change: of two at once the second waits here, and then sees what the first has done.
_NEXT = (
    "INSERT INTO costguard_rules (id, version) VALUES (1, 1) "
    "ON CONFLICT (id) DO UPDATE SET version = costguard_rules.version + 1"
)


class SqlRulebook:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        text = driver.text
        self._same = text(f"{_BUDGETS}{_IN_FORCE} AND identity = ?")
        self._seen = text(_SEEN)
        self._put = text(
            "INSERT INTO costguard_budgets (identity, rule, author, created) VALUES (?, ?, ?, ?) RETURNING id"
        )
        self._take_out = text(f"UPDATE costguard_budgets SET removed = ?, removed_by = ?{_IN_FORCE} AND id = ?")
        self._grant = text(
            "INSERT INTO costguard_grants (nonce, account, payer, amount, unit, at, until, author, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (nonce) DO NOTHING"
        )
        self._granted = text(f"{_GRANTS} WHERE nonce = ?")
        self._take_back = text(f"UPDATE costguard_grants SET removed = ?, removed_by = ?{_IN_FORCE} AND id = ?")

    def version(self) -> int:
        return self._driver.read(_version)

    def rules(self, *, history: bool) -> Rules:
        which = "" if history else _IN_FORCE
        # The version first: what changes in between is read again, with the next one.
        version = self.version()
        budgets = self._driver.read(lambda execute: execute(f"{_BUDGETS}{which} ORDER BY id", ()).fetchall())
        grants = self._driver.read(lambda execute: execute(f"{_GRANTS}{which} ORDER BY id", ()).fetchall())
        return Rules(version, tuple(map(_budget, budgets)), tuple(map(_granted, grants)))

    def seen(self, now_ns: int) -> list[Budget]:
        rows = self._driver.read(lambda execute: execute(self._seen, (now_ns // 1000,)).fetchall())
        return [read_limit(0, None, "[]", text).budget for (text,) in rows]

    def put(self, identity: str, rule: str, author: str, at_ns: int) -> StoredBudget:
        return self._driver.transact(self._replace, identity, rule, author, at_ns // 1000)

    def _in_force(self, execute: Execute, identity: str) -> int:
        """The number of the one of this identity, until the transaction ends; 0 for none."""
        execute(_NEXT, ())
        found = execute(self._same, (identity,)).fetchone()
        return 0 if found is None else int(found[0])

    def _replace(self, execute: Execute, identity: str, rule: str, author: str, at: int) -> StoredBudget:
        execute(_NEXT, ())
        found = execute(self._same, (identity,)).fetchone()
        if found is not None:
            there = _budget(found)
            if there.rule == rule:
                return there
            execute(self._take_out, (at, author, there.id))
        number = execute(self._put, (identity, rule, author, at)).fetchone()[0]
        return StoredBudget(number, identity, rule, author, at * 1000)

    def take_out(self, number: int, author: str, at_ns: int) -> bool:
        return self._driver.transact(_remove, self._take_out, (at_ns // 1000, author, number))

    def grant(self, nonce: str, grant: Grant) -> StoredGrant:
        return self._driver.transact(self._add, nonce, grant)

    def _add(self, execute: Execute, nonce: str, grant: Grant) -> StoredGrant:
        execute(_NEXT, ())
        payer = json.dumps(dict(grant.payer), separators=(",", ":"), ensure_ascii=False)
        until = None if grant.until_ns is None else grant.until_ns // 1000
        row = (
            nonce, grant.account, payer, grant.most, grant.unit, grant.at_ns // 1000, until, grant.author, grant.reason,
        )  # fmt: skip
        execute(self._grant, row)
        return _granted(execute(self._granted, (nonce,)).fetchone())

    def take_back(self, number: int, author: str, at_ns: int) -> bool:
        return self._driver.transact(_remove, self._take_back, (at_ns // 1000, author, number))


def _version(execute: Execute) -> int:
    row = execute("SELECT version FROM costguard_rules WHERE id = 1", ()).fetchone()
    return 0 if row is None else int(row[0])


def _remove(execute: Execute, statement: str, values: tuple[Any, ...]) -> bool:
    execute(_NEXT, ())
    return execute(statement, values).rowcount == 1


def _budget(row: Any) -> StoredBudget:
    number, identity, rule, author, created, removed, removed_by = row
    return StoredBudget(number, identity, rule, author, created * 1000, _ns(removed), removed_by)


def _granted(row: Any) -> StoredGrant:
    number, nonce, account, payer, amount, unit, at, until, author, reason, removed, removed_by = row
    return StoredGrant(
        number, nonce, account, json.loads(payer), amount, unit, at * 1000, _ns(until), author, reason,
        _ns(removed), removed_by,
    )  # fmt: skip


def _ns(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds * 1000
