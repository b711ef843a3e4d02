"""Does a hold fit? The one decision of a ledger, in plain values; every store translates it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from costguard.budgets import Limit
from costguard.ledger.base import Refusal

_KEY_THEN_TIGHTNESS = attrgetter("key", "most")


def ordered(limits: tuple[Limit, ...]) -> Sequence[Limit]:
    """The limits in the order they are taken: by key, so that two calls never wait for each other.

    Two budgets that differ only in their amount share a balance, hence a key: the tighter comes first.
    """
    return limits if len(limits) < 2 else sorted(limits, key=_KEY_THEN_TIGHTNESS)


def accounts(limits: Sequence[Limit]) -> list[Limit]:
    """One limit, the tightest, for each balance; `limits` must be ordered."""
    return [limit for place, limit in enumerate(limits) if place == 0 or limits[place - 1].key != limit.key]


def room(standings: Sequence[tuple[Limit, int, int]], amount: int, *, alone: bool) -> int | Refusal:
    """What may be held on all these (limit, spent, held), or the first that has no room for it.

    The answer is `amount`, or with `alone` as much of it as the limits that hold nothing else have left.
    """
    if alone:
        for limit, spent, held in standings:
            if held == 0 and 1 <= limit.most - spent < amount:
                amount = limit.most - spent
    for limit, spent, held in standings:
        if spent + held + amount > limit.most:
            return Refusal(limit, spent, held)
    return amount
