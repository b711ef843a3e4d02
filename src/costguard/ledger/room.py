"""Does a hold fit? The one decision of a ledger, in plain values; every store translates it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from costguard.budgets import Limit
from costguard.events import Hold
from costguard.ledger.base import Refusal, is_lease

_KEY_THEN_TIGHTNESS = attrgetter("key", "most")


def ordered(limits: tuple[Limit, ...]) -> Sequence[Limit]:
    """The limits in the order they are taken: by key, so that two calls never wait for each other.

    Two budgets that differ only in their amount share a balance, hence a key: the tighter comes first.
    """
    return limits if len(limits) < 2 else sorted(limits, key=_KEY_THEN_TIGHTNESS)


def accounts(limits: Sequence[Limit]) -> list[Limit]:
    """One limit, the tightest, for each balance; `limits` must be ordered."""
    return [limit for place, limit in enumerate(limits) if place == 0 or limits[place - 1].key != limit.key]


def amounts(hold: Hold) -> dict[str, int]:
    """What a hold sets aside, by unit."""
    return {limit.unit: hold.on(limit) for limit in hold.limits}


def room(
    standings: Sequence[tuple[Limit, int, int]], wanted: dict[str, int], *, alone: bool
) -> dict[str, int] | Refusal:
    """What may be held on all these (limit, spent, held), by unit, or the first that has no room for it.

    The answer is `wanted`, or with `alone` as much of it as the limits that hold nothing else have left.
    """
    if alone:
        wanted = dict(wanted)
        for limit, spent, held in standings:
            if held == 0 and 1 <= limit.most - spent < wanted[limit.unit]:
                wanted[limit.unit] = limit.most - spent
    for limit, spent, held in standings:
        if spent + held + wanted[limit.unit] > limit.most:
            return Refusal(limit, spent, held)
    return wanted


def lower(hold: Hold, taken: dict[str, int]) -> None:
    """Tell the hold what was taken for it."""
    if is_lease(hold.call):
        (hold.amount,) = taken.values()
    else:
        hold.amount = taken.get("usd", hold.amount)
        hold.tokens = taken.get("tokens", hold.tokens)


def reached(limits: Sequence[Limit], balances: Sequence[tuple[int, int]]) -> Refusal | None:
    """The first, in order, of which all is spent."""
    found = [
        Refusal(limit, *balance) for limit, balance in zip(limits, balances, strict=True) if balance[0] >= limit.most
    ]
    return min(found, key=lambda refusal: _KEY_THEN_TIGHTNESS(refusal.limit), default=None)
