"""What a balance remembers of its limit."""

from __future__ import annotations

import json

import pytest

from costguard.budgets import Budget
from costguard.ledger.rule import limit_columns, read_limit
from costguard.tags import Tags

TAGS = Tags(user="alice", team="R & D", plan="pro")


@pytest.mark.parametrize(
    "line",
    [
        "$5/day per user",
        "$5/month per user,team tz Europe/Berlin",
        "$0.10/ever",
        "100000 tokens/30d per user",
        "50 calls/hour per user for plan=pro holds strict",
        '$5/day per team where team="R & D" alerts at 10%, 90% then fit at 80% observe named "research"',
        "$0/day per user for user=alice",
    ],
)
def test_a_limit_is_read_back_from_its_columns(line: str) -> None:
    limit = Budget.parse(line).limit_for(TAGS, 1_800_000_000 * 10**9)
    key, *columns = limit_columns(limit)
    again = read_limit(*columns)  # type: ignore[arg-type]
    assert key == limit.key
    for name in ("budget", "payer", "start", "end", "key", "unit", "most", "marks", "actions", "refuses", "observe"):
        assert getattr(again, name) == getattr(limit, name), name


def test_a_balance_of_the_first_schema_is_still_read() -> None:
    rule = {
        "limit": "5", "window": "day", "per": ["user"], "where": [["environment", "production"]], "tz": "UTC",
        "holds": None, "alerts": ["0.5", "1"], "name": "",
    }  # fmt: skip
    limit = read_limit(0, 86_400_000_000, '[["user","alice"]]', json.dumps(rule))
    assert limit.budget == Budget.parse("$5/day per user where environment=production alerts at 50%, 100%")
    assert limit.key == limit.budget.limit_for(Tags(user="alice"), 0).key
