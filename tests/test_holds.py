from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard import Tags
from costguard.budget_set import BudgetSet
from costguard.budgets import Limit
from costguard.call import Call
from costguard.holds import PRIOR_NANOS, WINDOW, HoldSizer
from costguard.pricing.book import PriceBook, Rates

NOW = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 10**9


@pytest.fixture(scope="module")
def rates() -> Rates:
    rates = PriceBook().rates("openai", "gpt-4o", NOW)
    assert rates is not None
    return rates


def limits(*budgets: str) -> tuple[Limit, ...]:
    return BudgetSet(budgets).limits(Tags(feature="chat"), NOW)


def chat(**given: Any) -> Call:
    return Call("openai", "gpt-4o", tags=Tags(feature="chat"), **given)


def paid(sizer: HoldSizer, rates: Rates, cost: int, times: int = 1) -> None:
    for _ in range(times):
        call = chat(input_tokens=100)
        call.sizing = sizer.size(call, rates, limits("$100/day"))
        sizer.learn(call, cost)


def test_a_strict_hold_covers_the_input_and_the_ceiling_of_the_output(rates: Rates) -> None:
    sizing = HoldSizer("strict").size(chat(input_tokens=1_000, max_output_tokens=500), rates, limits("$5/day"))
    # gpt-4o: $2.50 and $10 for a million tokens.
    assert sizing.amount == 1_000 * 2_500 + 500 * 10_000


def test_a_call_without_a_ceiling_is_bounded_by_what_its_model_can_answer(rates: Rates) -> None:
    sizing = HoldSizer("strict").size(chat(input_tokens=0), rates, limits("$5/day"))
    assert sizing.amount == 16_384 * 10_000


def test_embeddings_are_held_for_their_input_alone(rates: Rates) -> None:
    sizing = HoldSizer("strict").size(chat(input_tokens=1_000, produces_output=False), rates, limits("$5/day"))
    assert sizing.amount == 1_000 * 2_500


def test_the_strict_bound_is_held_until_something_is_learned(rates: Rates) -> None:
    sizer = HoldSizer()
    call = chat(input_tokens=1_000)
    first = sizer.size(call, rates, limits("$5/day"))
    assert first.cold
    assert first.amount == first.bound
    paid(sizer, rates, 4_000_000)
    assert not sizer.size(call, rates, limits("$5/day")).cold


def test_a_first_call_is_held_for_more_than_its_body_shows(rates: Rates) -> None:
    sizing = HoldSizer().size(chat(input_tokens=10, max_output_tokens=10), rates, limits("$5/day"))
    assert sizing.amount == PRIOR_NANOS
    assert sizing.bound < PRIOR_NANOS
    small = HoldSizer().size(chat(input_tokens=10, max_output_tokens=10), rates, limits("$5/day", "$0.10/hour"))
    assert small.amount == 10_000_000


def test_a_learned_hold_follows_what_such_calls_really_cost(rates: Rates) -> None:
    sizer = HoldSizer()
    paid(sizer, rates, 5_000_000, times=WINDOW)
    amount = sizer.size(chat(input_tokens=100), rates, limits("$5/day")).amount
    assert 5_000_000 <= amount <= 5_200_000


def test_a_learned_hold_grows_with_the_input(rates: Rates) -> None:
    sizer = HoldSizer()
    paid(sizer, rates, 5_000_000, times=WINDOW)
    short, long = (sizer.size(chat(input_tokens=n), rates, limits("$5/day")).amount for n in (100, 10_100))
    assert long - short == 10_000 * 2_500


def test_a_learned_hold_is_never_above_the_ceiling_the_caller_set(rates: Rates) -> None:
    sizer = HoldSizer()
    paid(sizer, rates, 5_000_000, times=WINDOW)
    sizing = sizer.size(chat(input_tokens=100, max_output_tokens=10), rates, limits("$5/day"))
    assert sizing.amount == sizing.bound


def test_a_bound_that_did_not_hold_is_no_ceiling_any_more(rates: Rates) -> None:
    sizer = HoldSizer()
    call = chat(input_tokens=10, max_output_tokens=10)
    call.sizing = sizer.size(call, rates, limits("$5/day"))
    sizer.learn(call, 50_000_000)
    assert sizer.size(call, rates, limits("$5/day")).amount >= 50_000_000


def test_one_strict_budget_makes_the_hold_strict(rates: Rates) -> None:
    sizer = HoldSizer()
    paid(sizer, rates, 5_000_000, times=WINDOW)
    from costguard import Budget

    mixed = BudgetSet(["$5/day", Budget(limit="9", window="month", holds="strict")])  # type: ignore[arg-type]
    sizing = sizer.size(chat(input_tokens=100), rates, mixed.limits(Tags(), NOW))
    assert sizing.amount == sizing.bound


@given(st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=3 * WINDOW))
def test_a_learned_hold_covers_at_least_nineteen_in_twenty_of_the_recent_calls(costs: list[int]) -> None:
    rates = PriceBook().rates("openai", "gpt-4o", NOW)
    assert rates is not None
    sizer = HoldSizer()
    for cost in costs:
        paid(sizer, rates, cost)
    amount = sizer.size(chat(input_tokens=100), rates, limits("$900/day")).amount
    bound = rates.bound(100, 16_384)
    recent = costs[-WINDOW:]
    covered = sum(cost <= amount for cost in recent if cost <= bound)
    assert covered >= sum(cost <= bound for cost in recent) - len(recent) / 20
