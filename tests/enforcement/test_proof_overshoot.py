"""What `learned` holds let pass is told: `guard.overshoot` is never less than what was spent beyond a limit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from costguard import Usage
from costguard.call import Call
from costguard.events import Outcome
from tests.enforcement.proof_stores import ALL, place

stores = pytest.mark.parametrize("store", ALL)


@stores
def test_a_first_call_that_took_all_there_was_and_cost_more_is_told(store: str, tmp_path: Path) -> None:
    with place(store, tmp_path).guard(budgets=["$0.05/ever"], wait=0) as guard:
        # Its bound would never fit, so it has the limit to itself.
        call = Call("openai", "gpt-4o")
        guard.reserve(call)
        assert call.hold.amount == 50_000_000
        guard.settle(call, Outcome("ok", Usage(output_tokens=6_000)))
        (standing,) = guard.standings()
        assert (standing.spent, standing.held) == (Decimal("0.06"), 0)
        assert guard.overshoot >= Decimal("0.01")


@stores
def test_many_in_flight_that_cost_more_than_was_learned_are_told(store: str, tmp_path: Path) -> None:
    with place(store, tmp_path).guard(budgets=["$0.10/ever"], wait=0) as guard:
        for _ in range(20):
            call = Call("openai", "gpt-4o")
            guard.reserve(call)
            guard.settle(call, Outcome("ok", Usage(output_tokens=100)))
        running = [Call("openai", "gpt-4o") for _ in range(50)]
        for call in running:
            guard.reserve(call)
        for call in running:
            guard.settle(call, Outcome("ok", Usage(output_tokens=1_000)))
        (standing,) = guard.standings()
        assert standing.held == 0
        assert standing.spent == Decimal("0.52")
        assert guard.overshoot >= standing.spent - standing.limit


@stores
def test_a_budget_that_was_not_passed_has_no_overshoot(store: str, tmp_path: Path) -> None:
    with place(store, tmp_path).guard(budgets=["$1.00/ever"], wait=0) as guard:
        for tokens in (1_000, 1_100, 1_200):
            call = Call("openai", "gpt-4o", max_output_tokens=2_000)
            guard.reserve(call)
            guard.settle(call, Outcome("ok", Usage(output_tokens=tokens)))
        assert guard.overshoot == 0
