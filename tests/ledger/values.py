"""Calls, holds and entries with few words."""

from __future__ import annotations

from typing import Any

from costguard.budgets import Budget, Limit
from costguard.call import Call, new_call_id
from costguard.events import Entry, Hold
from costguard.pricing.usage import Usage
from costguard.tags import Tags

NOW = 1_795_000_000 * 10**9
SECOND = 10**9
DAY = 86_400 * SECOND
CENT = 10_000_000
ALICE = Tags(user="alice", feature="chat")


def limit(rule: str = "$1/day per user", tags: Tags = ALICE, at_ns: int = NOW, **more: Any) -> Limit:
    budget = Budget.parse(rule)
    if more:
        budget = Budget(budget.limit, budget.window, budget.per, budget.where, **more)
    return budget.limit_for(tags, at_ns)


def hold(
    *limits: Limit, cents: float = 10, tags: Tags = ALICE, at_ns: int = NOW, seconds: int = 600, model: str = "gpt-4o"
) -> Hold:
    call = Call("openai", model, tags=tags)
    call.started_ns = at_ns
    call.id = new_call_id(at_ns)
    return Hold(call, limits or (limit(tags=tags, at_ns=at_ns),), int(cents * CENT), at_ns + seconds * SECOND)


def entry(held: Hold, cents: float | None = 10, **more: Any) -> Entry:
    call = held.call
    given: dict[str, Any] = {
        "nanos": None if cents is None else int(cents * CENT),
        "usage": Usage(input_tokens=100, output_tokens=10),
        "tags": call.tags,
        "held_nanos": held.amount,
        "duration_ns": 2 * SECOND,
    }
    return Entry(call.id, call.started_ns, call.provider, call.model, call.operation, **(given | more))


def facts(entry: Entry) -> dict[str, Any]:
    """Everything an entry says, for comparison."""
    return {name: getattr(entry, name) for name in Entry.__slots__}
