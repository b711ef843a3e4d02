"""A rolling budget over a ledger, as the guard uses it: the room of a bucket is what the others have left of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from costguard.budgets import Budget, Limit
from costguard.ledger.memory import MemoryLedger
from costguard.tags import Tags
from costguard.windows import bucket_width
from tests.ledger.values import CENT, NOW, entry, hold

MICRO = 1000
MINUTE = 60 * 10**9


def room_left(ledger: MemoryLedger, limit: Limit) -> Limit:
    return limit.over(sum(spent + held for spent, held in ledger.balances(limit.before)))


@settings(deadline=None)
@given(
    st.sampled_from(["$1/60m", "$1/24h", "$1/7d", "$1/30d"]),
    st.lists(st.tuples(st.floats(0, 0.4), st.integers(1, 60), st.booleans()), max_size=60),
)
def test_no_span_of_time_spends_more_than_the_limit_and_nobody_is_refused_for_spending_older_than_it(
    line: str, calls: list[tuple[float, int, bool]]
) -> None:
    budget, ledger = Budget.parse(line), MemoryLedger()
    assert budget.span is not None
    span = budget.span.total_seconds() * 10**9
    width = bucket_width(budget.span).total_seconds() * 10**9
    taken: list[tuple[int, int]] = []
    at_ns = NOW
    for part, cents, settled in calls:
        at_ns += int(part * span) // MICRO * MICRO
        limit = room_left(ledger, budget.limit_for(Tags(), at_ns))
        held = hold(limit, cents=cents, at_ns=at_ns, seconds=10**9)
        refusal = ledger.reserve(held, at_ns)
        if refusal is None:
            taken.append((at_ns, cents))
            if settled:
                ledger.settle(entry(held, cents=cents), held)
            within = sum(cents for moment, cents in taken if moment > at_ns - span)
            assert within <= 100
        else:
            counted = sum(cents for moment, cents in taken if moment >= at_ns - span - width)
            assert counted + cents > 100


def test_spending_returns_bucket_by_bucket_after_the_span() -> None:
    ledger = MemoryLedger()
    budget = Budget.parse("$1/60m")
    for minute in (0, 10, 20):
        limit = budget.limit_for(Tags(), NOW + minute * MINUTE)
        held = hold(limit, cents=30, at_ns=NOW + minute * MINUTE)
        ledger.settle(entry(held, cents=30), held)

    def left(minute: int) -> int:
        return room_left(ledger, budget.limit_for(Tags(), NOW + minute * MINUTE)).most // CENT

    assert [left(minute) for minute in (25, 59, 63, 73, 83)] == [10, 10, 40, 70, 100]


def test_a_bucket_that_a_clock_ahead_of_ours_is_in_counts_too() -> None:
    ledger = MemoryLedger()
    budget = Budget.parse("$1/60m")
    ahead = budget.limit_for(Tags(), NOW + 2 * MINUTE)
    held = hold(ahead, cents=70)
    ledger.reserve(held, NOW)
    assert room_left(ledger, budget.limit_for(Tags(), NOW)).most == 30 * CENT


def test_people_are_told_once_that_half_of_it_is_spent() -> None:
    ledger = MemoryLedger()
    budget = Budget.parse("$1/60m alerts at 50%")
    told = []
    for minute in (0, 10, 20, 30):
        limit = room_left(ledger, budget.limit_for(Tags(), NOW + minute * MINUTE))
        held = hold(limit, cents=20, at_ns=NOW + minute * MINUTE)
        told.append(len(ledger.settle(entry(held, cents=20), held) or ()))
    assert told == [0, 0, 1, 0]
