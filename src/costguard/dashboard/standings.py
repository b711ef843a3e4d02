"""Where the payers of budgets stand now: who spent, who was granted more, and who is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from costguard.budget_set import BudgetSet
from costguard.budgets import Budget, Limit
from costguard.ledger.base import Ledger
from costguard.reports.period import at_ns
from costguard.reports.standings import PayerStanding, standings
from costguard.tags import Tags
from costguard.units import from_rest


def stands_of(
    ledger: Ledger, chosen: BudgetSet, now: datetime, *, most: int, payer: Mapping[str, str]
) -> dict[str, list[PayerStanding]]:
    """By the identity of the budget, the fullest first; at most so many of each; only of these tag values.

    A budget of everyone stands somewhere even where nobody has spent anything. Raises StoreUnavailable.
    """
    found = {one.limit.key: one for one in standings(ledger, chosen, most=most, now=now)}
    also = {limit.key: limit for limit in _also(chosen, at_ns(now) or 0, payer) if limit.key not in found}
    for one in _stands(ledger, list(also.values())):
        found[one.limit.key] = one
    by: dict[str, list[PayerStanding]] = {}
    for one in sorted(found.values(), key=lambda one: -(one.share if one.share is not None else Decimal(2))):
        if all(one.payer.get(name) == value for name, value in payer.items()):
            by.setdefault(one.budget.identity, []).append(one)
    return {identity: stands[:most] for identity, stands in by.items()}


def granted(one: PayerStanding) -> Decimal:
    """Of the limit, in its unit."""
    own = one.limit.budget.limit
    return from_rest(one.limit.most, one.limit.unit) - own if isinstance(own, Decimal) else Decimal(0)


def _also(chosen: BudgetSet, now_ns: int, payer: Mapping[str, str]) -> Iterable[Limit]:
    for budget in chosen:
        for tags in _payers(chosen, budget, payer) if not budget.is_local else ():
            for limit in chosen.limits(tags, now_ns):
                if limit.budget.identity == budget.identity:
                    yield limit


def _payers(chosen: BudgetSet, budget: Budget, payer: Mapping[str, str]) -> Iterable[Tags]:
    where = {**dict(budget.where), **dict(budget.for_)}
    if not budget.per or set(payer) == set(budget.per):
        yield Tags({**where, **payer})
    for grant in chosen.grants:
        if grant.account == budget.account:
            yield Tags({**where, **dict(grant.payer)})


def _stands(ledger: Ledger, limits: Sequence[Limit]) -> Iterable[PayerStanding]:
    for limit, (spent, held) in zip(limits, ledger.balances(limits), strict=True):
        # Of a rolling window: what its earlier buckets have used counts as well.
        prior = sum(sum(each) for each in ledger.balances(limit.before))
        yield PayerStanding(limit.over(prior).standing(spent, held), dict(limit.payer), limit)
