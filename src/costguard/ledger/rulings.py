"""Budgets and grants changed by people where they see them: each with its deed in the audit trail, in one transaction.

    set_budget(ledger, "$5/day per user", Deed(uuid4().hex, time.time_ns(), "ann", "budget", "a new plan"))

A deed is done once: the same nonce again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from costguard.budget_set import BudgetSet
from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.ledger.acts import act, write_down
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.rules import MemoryRulebook, rules
from costguard.ledger.rules import _book as book_of
from costguard.ledger.sql_rules import SqlRulebook, _remove
from costguard.ledger.stored_rules import StoredBudget, StoredGrant

T = TypeVar("T")

_ALL = 1 << 31


class _NotThere(Exception):
    """Ends the transaction: the deed was not done, and is not written down."""


def set_budget(
    ledger: Ledger, budget: Budget | str, deed: Deed, *, instead_of: int | None = None
) -> StoredBudget | None:
    """Put a budget in force, in place of the one that counts the same for the same payers. None: done before.

    instead_of: the number of the one that it was made from, 0 for one that the database does not have; None: whichever

    Raises ConfigError as `costguard.ledger.rules.set_budget` does, without a reason, and where there is another one to
    replace by now; StoreUnavailable.
    """
    _check(deed)
    rule = budget if isinstance(budget, Budget) else Budget.parse(budget)
    if callable(rule.limit):
        raise ConfigError(f"budget {rule.title!r} computes its limit: it belongs into code, a database keeps text")
    there = rules(ledger).budgets
    others = [stored for stored in there if stored.identity != rule.identity]
    # Workers would refuse the rules as a whole, and stay with the last ones.
    BudgetSet().replace("database", [rule, *(stored.budget for stored in others)])
    before = next((stored.rule for stored in there if stored.identity == rule.identity), None)
    told = replace(deed, details={"budget": str(rule), "before": before, **deed.details})

    def in_sql(book: SqlRulebook, execute: Execute) -> StoredBudget:
        if instead_of is not None and book._in_force(execute, rule.identity) != instead_of:
            raise _NotThere
        return book._replace(execute, rule.identity, str(rule), deed.author, deed.at_ns // 1000)

    def in_memory(book: MemoryRulebook) -> StoredBudget:
        known = book.rules(history=False).budgets
        if instead_of is not None and sum(one.id for one in known if one.identity == rule.identity) != instead_of:
            raise _NotThere
        return book.put(rule.identity, str(rule), deed.author, deed.at_ns)

    try:
        return _do(ledger, told, in_sql, in_memory)
    except _NotThere:
        raise ConfigError("somebody else has changed this budget meanwhile; load the page again") from None


def remove_budget(ledger: Ledger, number: int, deed: Deed) -> StoredBudget | None:
    """Take a budget of the database out of force. None: done before. Raises ConfigError if there is none."""
    _check(deed)
    found = next((stored for stored in rules(ledger, history=True).budgets if stored.id == number), None)
    if found is None:
        raise ConfigError(f"the database has no budget {number}; load the page again, or: costguard budgets list")
    ended = replace(found, removed_ns=deed.at_ns, removed_by=deed.author)
    values = (deed.at_ns // 1000, deed.author, number)
    told = replace(deed, details={"budget": found.rule, "number": number, **deed.details})
    try:
        return _do(
            ledger, told,
            lambda book, execute: _so(_remove(execute, book._take_out, values), ended),
            lambda book: _so(book.take_out(number, deed.author, deed.at_ns), ended),
        )  # fmt: skip
    except _NotThere:
        raise ConfigError(f"budget {number} was removed or replaced meanwhile; load the page again") from None


def add_grant(ledger: Ledger, grant: Grant, deed: Deed) -> bool:
    """Top up a payer's limit. False: done before. Raises ConfigError without a reason, StoreUnavailable."""
    _check(deed)
    details = {"account": grant.account, "payer": dict(grant.payer), "amount": f"{grant.amount:f}", "unit": grant.unit}
    return act(ledger, replace(deed, details={**details, **deed.details}), grant) is None


def remove_grant(ledger: Ledger, number: int, deed: Deed) -> StoredGrant | None:
    """Take a grant back. None: done before. Raises ConfigError if there is none of this number, StoreUnavailable."""
    _check(deed)
    found = next((stored for stored in rules(ledger, history=True).grants if stored.id == number), None)
    if found is None:
        raise ConfigError(f"the database has no grant {number}; load the page again, or: costguard grants list")
    ended = replace(found, removed_ns=deed.at_ns, removed_by=deed.author)
    values = (deed.at_ns // 1000, deed.author, number)
    told = replace(
        deed, details={"payer": dict(found.payer), "account": found.account, "number": number, **deed.details}
    )
    try:
        return _do(
            ledger, told,
            lambda book, execute: _so(_remove(execute, book._take_back, values), ended),
            lambda book: _so(book.take_back(number, deed.author, deed.at_ns), ended),
        )  # fmt: skip
    except _NotThere:
        raise ConfigError(f"grant {number} was taken back meanwhile; load the page again") from None


def _check(deed: Deed) -> None:
    if not deed.reason.strip():
        raise ConfigError(f"a {deed.action} has a reason; say what it is for")


def _so(done: bool, what: T) -> T:
    if not done:
        raise _NotThere
    return what


def _do(
    ledger: Ledger,
    deed: Deed,
    in_sql: Callable[[SqlRulebook, Execute], T],
    in_memory: Callable[[MemoryRulebook], T],
) -> T | None:
    book: Any = book_of(ledger)
    if isinstance(book, SqlRulebook):
        return book._driver.transact(_write, book._driver, book, deed, in_sql)
    if any(known.nonce == deed.nonce for known in ledger.deeds(most=_ALL)):
        return None
    done = in_memory(book)
    act(ledger, deed)
    return done


def _write(
    execute: Execute, driver: Driver, book: SqlRulebook, deed: Deed, work: Callable[[SqlRulebook, Execute], T]
) -> T | None:
    if not write_down(execute, driver, deed):
        return None
    return work(book, execute)
