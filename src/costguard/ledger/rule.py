"""A limit in the columns of its balance, so that any process can tell what a hold was taken on."""

from __future__ import annotations

import json

from costguard.budgets import Budget, Limit

Columns = tuple[str, int, int | None, str, str]
"""key, start, until (microseconds since 1970), payer, budget."""


def limit_columns(limit: Limit) -> Columns:
    budget = limit.budget
    rule = {
        "limit": str(budget.limit),
        "window": budget.window,
        "per": budget.per,
        "where": budget.where,
        "tz": budget.tz,
        "holds": budget.holds,
        "alerts": [str(alert) for alert in budget.alerts],
        "name": budget.name,
    }
    return (
        limit.key,
        limit.start // 1000,
        None if limit.end is None else limit.end // 1000,
        json.dumps(limit.payer, separators=(",", ":")),
        json.dumps(rule, separators=(",", ":")),
    )


def read_limit(start: int, until: int | None, payer: str, budget: str) -> Limit:
    """The limit as it was when its balance was last used by a process that knew the budget."""
    rule = json.loads(budget)
    return Limit(
        Budget(
            limit=rule["limit"],
            window=rule["window"],
            per=tuple(rule["per"]),
            where=tuple((name, value) for name, value in rule["where"]),
            tz=rule["tz"],
            holds=rule["holds"],
            alerts=tuple(rule["alerts"]),
            name=rule["name"],
        ),
        tuple((name, value) for name, value in json.loads(payer)),
        start * 1000,
        None if until is None else until * 1000,
    )
