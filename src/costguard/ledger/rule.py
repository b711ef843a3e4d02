"""A limit in the columns of its balance, so that any process can tell what a hold was taken on."""

from __future__ import annotations

import json
from functools import lru_cache

from costguard.budgets import Budget, Limit

Columns = tuple[str, int, int | None, str, str]
"""key, start, until (microseconds since 1970), payer, budget."""


def limit_columns(limit: Limit) -> Columns:
    return (
        limit.key,
        limit.start // 1000,
        None if limit.end is None else limit.end // 1000,
        json.dumps(limit.payer, separators=(",", ":")),
        str(limit.budget),
    )


def read_limit(start: int, until: int | None, payer: str, budget: str) -> Limit:
    """The limit as it was when its balance was last used by a process that knew the budget, without grants."""
    return Limit(
        _read_budget(budget),
        tuple((name, value) for name, value in json.loads(payer)),
        start * 1000,
        None if until is None else until * 1000,
    )


@lru_cache(maxsize=1000)
def _read_budget(text: str) -> Budget:
    if not text.startswith("{"):
        return Budget.parse(text)
    # Balances of before v0002 have the fields of that time.
    rule = json.loads(text)
    where = tuple((name, value) for name, value in rule.pop("where"))
    return Budget(**{**rule, "per": tuple(rule["per"]), "where": where, "alerts": tuple(rule["alerts"])})
