"""Crossings put into a ledger's outbox, and a clock that only tests move."""

from __future__ import annotations

from decimal import Decimal

from costguard.budgets import Budget
from costguard.call import new_call_id
from costguard.events import Crossing, Entry
from costguard.ledger.base import Ledger
from costguard.money import to_nanos
from costguard.pricing.usage import Usage
from costguard.tags import Tags

NOON = 1_795_348_800 * 10**9
"""2026-11-22T12:00Z, a Sunday; nanoseconds since 1970."""


class Clock:
    def __init__(self, now_ns: int = NOON) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * 10**9)


def tell(
    ledger: Ledger,
    user: str = "alice",
    *,
    budget: Budget | str = "$5/day per user",
    fraction: str = "0.8",
    spent: str = "4.02",
    refused: bool = False,
    at_ns: int = NOON,
) -> Crossing:
    rule = Budget.parse(budget) if isinstance(budget, str) else budget
    limit = rule.limit_for(Tags(user=user), at_ns)
    crossing = Crossing(limit, Decimal(fraction), to_nanos(Decimal(spent)), at_ns, refused)
    assert ledger.tell(crossing)
    return crossing


def record(
    ledger: Ledger,
    cost: str | None,
    *,
    user: str | None = "alice",
    feature: str | None = None,
    model: str = "gpt-4o",
    at_ns: int = NOON - 10**9,
    estimated: bool = False,
    tokens: tuple[int, int] = (100, 20),
    status: str = "ok",
) -> Entry:
    entry = Entry(
        new_call_id(at_ns),
        at_ns,
        "openai",
        model,
        "chat",
        nanos=None if cost is None else to_nanos(Decimal(cost)),
        usage=Usage(input_tokens=tokens[0], output_tokens=tokens[1]),
        status=status,  # type: ignore[arg-type]
        estimated=estimated,
        tags=Tags(user=user, feature=feature),
        reason="no price" if cost is None else None,
    )
    assert ledger.settle(entry, None) is not None
    return entry
