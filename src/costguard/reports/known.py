"""The budgets that a ledger knows of, for whoever has no guard to ask."""

from __future__ import annotations

from costguard.budget_set import BudgetSet
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger


def known_budgets(ledger: Ledger) -> BudgetSet:
    """The budgets and grants of the database, and those of code that calls were counted by lately.

    A guard knows its own better. Raises StoreUnavailable, ConfigError where the rules contradict each other.
    """
    from costguard.ledger.rules import rules, seen

    there = rules(ledger)
    ever = {stored.rule for stored in rules(ledger, history=True).budgets}
    found = BudgetSet()
    for rule in seen(ledger):
        if str(rule) not in ever and not callable(rule.limit):
            try:
                found.add(rule)
            except ConfigError:
                continue  # of rules that differ in their limit only, the likelier comes first
    found.replace("database", [one.budget for one in there.budgets], [one.grant for one in there.grants])
    return found
