"""The gentler actions on what no ledger counts: one call, and one HTTP request."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard import BudgetExceeded, Guard, Usage
from costguard.call import Call
from costguard.events import Downgraded, Outcome
from costguard.ledger.audit import audit
from costguard.tags import Frame, close_frame, open_frame
from costguard.web.exchange import Exchange
from tests.enforcement.speaking import Heard, Voice

CHEAP = "gpt-4o-mini"


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Heard() as heard:
        yield heard


@pytest.fixture
def request_frame() -> Iterator[Frame]:
    """As the web layer opens it for an HTTP request."""
    frame = Frame(route=lambda: "/chat")
    token = open_frame(frame)
    yield frame
    close_frame(token)


def guarded(*budgets: str, **settings: Any) -> Guard:
    guard = Guard("memory://", budgets=list(budgets), holds="strict", wait=0, **settings)
    guard.instrument()
    return guard


def test_a_call_near_its_ceiling_is_made_with_a_cheaper_model(heard: Heard) -> None:
    events: list[Any] = []
    with guarded(f"$0.10/call then downgrade:{CHEAP} at 50%", hooks=[events.append]) as guard:
        voice = Voice(heard, "chat")
        voice.ask(1_000)
        voice.ask(6_000)
        assert [body["model"] for body in heard.bodies] == ["gpt-4o", CHEAP]
        assert [event.model for event in events if isinstance(event, Downgraded)] == [CHEAP]
        assert guard.entries(limit=1)[0].reason == "downgraded from gpt-4o by $0.10/call"


def test_a_call_above_its_ceiling_is_made_with_a_cheaper_model_and_refused_if_that_is_above_it_too(
    heard: Heard,
) -> None:
    with guarded(f"$0.05/call then downgrade:{CHEAP} at 100%"):
        voice = Voice(heard, "chat")
        voice.ask(10_000)
        assert heard.bodies[-1]["model"] == CHEAP
        with pytest.raises(BudgetExceeded):
            voice.ask(1_000_000)
        assert len(heard.bodies) == 1


def test_a_call_near_its_ceiling_gets_a_shorter_answer(heard: Heard) -> None:
    with guarded("$0.05/call then fit at 80%"):
        Voice(heard, "chat").ask(10_000)
        assert heard.bodies[-1]["max_tokens"] < 5_000


def test_a_request_that_has_spent_its_fraction_goes_on_with_a_cheaper_model(heard: Heard, request_frame: Frame) -> None:
    with guarded(f"$0.10/request then downgrade:{CHEAP} at 80%") as guard:
        made = Call("openai", "gpt-4o", max_output_tokens=7_000)
        guard.reserve(made)
        guard.settle(made, Outcome("ok", Usage(output_tokens=7_000)))
        Voice(heard, "chat").ask(1_500)
        assert heard.bodies[-1]["model"] == CHEAP
        assert request_frame.downgraded == (("gpt-4o", CHEAP),)


def test_outside_of_a_request_its_actions_do_not_apply(heard: Heard) -> None:
    with guarded(f"$0.01/request then downgrade:{CHEAP} at 80%"):
        Voice(heard, "chat").ask(5_000)
        assert heard.bodies[-1]["model"] == "gpt-4o"


def test_a_response_names_the_models_of_a_downgrade_and_nothing_that_a_client_put_into_their_names() -> None:
    exchange = Exchange(None, cost_headers=True)
    frame = Frame()
    assert "X-CostGuard-Downgraded" not in dict(exchange.cost_fields(frame))
    inner = Frame(parent=frame)
    for _ in range(2):
        inner.downgrade("gpt-4o", CHEAP)
    inner.downgrade("ö\r\nx-forged: 1, o3", CHEAP)
    assert dict(exchange.cost_fields(frame))["X-CostGuard-Downgraded"] == (
        f"gpt-4o -> {CHEAP}, x-forged: 1 o3 -> {CHEAP}"
    )


def test_what_was_billed_beside_a_call_at_another_models_price_is_no_further_call(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/costs.db"
    with Guard(store, budgets=["3 calls/day", "$5/day"], engine="direct", wait=0) as guard:
        for _ in range(3):
            made = Call("anthropic", "claude-sonnet-4-5", max_output_tokens=100)
            guard.reserve(made)
            beside = (("claude-haiku-4-5", Usage(input_tokens=100, output_tokens=10)),)
            guard.settle(made, Outcome("ok", Usage(output_tokens=10), extra=beside))
        by_unit = {standing.budget.unit: standing.spent for standing in guard.standings()}
        assert by_unit["calls"] == 3
        assert by_unit["usd"] == sum((entry.cost or Decimal(0) for entry in guard.entries()), Decimal(0))
        assert sorted(entry.attempts for entry in guard.entries()) == [0, 0, 0, 1, 1, 1]
        assert [found.calls for found in guard.ledger.sums(["provider"], {})] == [3]
        assert audit(guard.ledger).ok
        with pytest.raises(BudgetExceeded, match="3 of 3 calls"):
            guard.reserve(Call("anthropic", "claude-sonnet-4-5", max_output_tokens=100))
