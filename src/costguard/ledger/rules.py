"""Budgets and grants that people set while the app runs: kept beside the ledger, with who, when and what.

    set_budget(ledger, Budget.parse("$5/day per user"), author="ann")
    rules(ledger).budgets

None of it is in the path of a call: workers look at `version` every two seconds, and read the rules when it moved.
"""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Lock
from uuid import uuid4
from weakref import WeakKeyDictionary

from costguard.budget_set import BudgetSet
from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.ledger.base import Ledger
from costguard.ledger.sql import SqlLedger
from costguard.ledger.sql_rules import SqlRulebook
from costguard.ledger.stored_rules import Rulebook, Rules, StoredBudget, StoredGrant

_HOW = "see them with: costguard budgets list"


def version(ledger: Ledger) -> int:
    """A number that is another one after every change; 0 before the first. Raises StoreUnavailable."""
    return _book(ledger).version()


def rules(ledger: Ledger, *, history: bool = False) -> Rules:
    """The budgets and grants in force, oldest first; with `history` the removed and replaced ones too.

    Raises StoreUnavailable.
    """
    return _book(ledger).rules(history=history)


def set_budget(ledger: Ledger, budget: Budget | str, author: str, *, now_ns: int | None = None) -> StoredBudget:
    """Put a budget in force, in place of the one that counts the same for the same payers. What was spent stays.

    Raises ConfigError for a budget that cannot be written as a line of text, or that contradicts another one of the
    database, StoreUnavailable.
    """
    rule = budget if isinstance(budget, Budget) else Budget.parse(budget)
    if callable(rule.limit):
        raise ConfigError(f"budget {rule.title!r} computes its limit: it belongs into code, a database keeps text")
    book = _book(ledger)
    others = [stored for stored in book.rules(history=False).budgets if stored.identity != rule.identity]
    # Workers would refuse the rules as a whole, and stay with the last ones.
    BudgetSet().replace("database", [rule, *(stored.budget for stored in others)])
    return book.put(rule.identity, str(rule), _by(author), _now(now_ns))


def remove_budget(ledger: Ledger, which: Budget | str | int, author: str, *, now_ns: int | None = None) -> StoredBudget:
    """Take a budget of the database out of force: by its number, or by a rule of the same kind, whatever its limit.

    Raises ConfigError if there is none, StoreUnavailable.
    """
    book = _book(ledger)
    there = book.rules(history=False).budgets
    if isinstance(which, int):
        found = [stored for stored in there if stored.id == which]
    else:
        rule = which if isinstance(which, Budget) else Budget.parse(which)
        found = [stored for stored in there if stored.identity == rule.identity]
    now = _now(now_ns)
    if not found or not book.take_out(found[0].id, _by(author), now):
        raise ConfigError(f"the database has no budget {which if isinstance(which, int) else str(which)!r}; {_HOW}")
    return replace(found[0], removed_ns=now, removed_by=_by(author))


def add_grant(ledger: Ledger, grant: Grant) -> StoredGrant:
    """Top up a payer's limit. Raises ConfigError for one without an author or a reason, StoreUnavailable."""
    _by(grant.author)
    if not grant.reason.strip():
        raise ConfigError("a grant has a reason; say what it is for")
    return _book(ledger).grant(uuid4().hex, grant)


def remove_grant(ledger: Ledger, number: int, author: str, *, now_ns: int | None = None) -> StoredGrant:
    """Take a grant back. Raises ConfigError if there is none of this number, StoreUnavailable."""
    book = _book(ledger)
    found = [stored for stored in book.rules(history=False).grants if stored.id == number]
    now = _now(now_ns)
    if not found or not book.take_back(number, _by(author), now):
        raise ConfigError(f"the database has no grant {number}; see them with: costguard grants list")
    return replace(found[0], removed_ns=now, removed_by=_by(author))


def seen(ledger: Ledger, *, now_ns: int | None = None) -> list[Budget]:
    """The budgets that calls of the running windows were counted by, as they last met them: those of code, too.

    Of rules that differ in their limit only, the likelier one comes first. Raises StoreUnavailable.
    """
    return _book(ledger).seen(_now(now_ns))


class MemoryRulebook:
    """Of a ledger in memory: seen by this process alone."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._version = 0
        self._budgets: list[StoredBudget] = []
        self._grants: list[StoredGrant] = []

    def version(self) -> int:
        return self._version

    def rules(self, *, history: bool) -> Rules:
        with self._lock:
            return Rules(
                self._version,
                tuple([budget for budget in self._budgets if history or budget.removed_ns is None]),
                tuple([grant for grant in self._grants if history or grant.removed_ns is None]),
            )

    def seen(self, now_ns: int) -> list[Budget]:
        """Its app is this process: it knows them itself."""
        return []

    def put(self, identity: str, rule: str, author: str, at_ns: int) -> StoredBudget:
        with self._lock:
            for place, there in enumerate(self._budgets):
                if there.identity == identity and there.removed_ns is None:
                    if there.rule == rule:
                        return there
                    self._budgets[place] = replace(there, removed_ns=at_ns, removed_by=author)
            stored = StoredBudget(len(self._budgets) + 1, identity, rule, author, at_ns)
            self._budgets.append(stored)
            self._version += 1
            return stored

    def take_out(self, number: int, author: str, at_ns: int) -> bool:
        with self._lock:
            for place, there in enumerate(self._budgets):
                if there.id == number and there.removed_ns is None:
                    self._budgets[place] = replace(there, removed_ns=at_ns, removed_by=author)
                    self._version += 1
                    return True
            return False

    def grant(self, nonce: str, grant: Grant) -> StoredGrant:
        with self._lock:
            stored = StoredGrant(
                len(self._grants) + 1, nonce, grant.account, dict(grant.payer), grant.most, grant.unit, grant.at_ns,
                grant.until_ns, grant.author, grant.reason,
            )  # fmt: skip
            self._grants.append(stored)
            self._version += 1
            return stored

    def take_back(self, number: int, author: str, at_ns: int) -> bool:
        with self._lock:
            for place, there in enumerate(self._grants):
                if there.id == number and there.removed_ns is None:
                    self._grants[place] = replace(there, removed_ns=at_ns, removed_by=author)
                    self._version += 1
                    return True
            return False


_books: WeakKeyDictionary[Ledger, Rulebook] = WeakKeyDictionary()


def _book(ledger: Ledger) -> Rulebook:
    """The rulebook of the store below all that wraps it."""
    while (inner := getattr(ledger, "inner", None)) is not None:
        ledger = inner
    book = _books.get(ledger)
    if book is None:
        # A store in SQL keeps them in the same database, over the same connection.
        made = SqlRulebook(ledger._driver) if isinstance(ledger, SqlLedger) else MemoryRulebook()
        book = _books.setdefault(ledger, made)
    return book


def _by(author: str) -> str:
    name = " ".join(author.split())
    if not name:
        raise ConfigError("a change of budgets and grants has an author; give a name")
    return name


def _now(now_ns: int | None) -> int:
    return time.time_ns() if now_ns is None else now_ns
