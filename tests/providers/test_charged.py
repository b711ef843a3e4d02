"""What a provider says that it charged comes before every price, exactly as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest

from costguard import Guard
from costguard.providers.charged import charged
from tests.providers.scripted import answering
from tests.providers.server import CHAT_USAGE, chat


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        ({"cost": 0.00333825, "is_byok": False}, 3_338_250),
        ({"cost": 6e-08, "is_byok": False}, 60),
        ({"cost": "0.0001"}, 100_000),
        ({"cost": 0, "is_byok": False}, 0),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, 1_050_000_000),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.25}}, 250_000_000),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.5, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.5}}, 500_000_000),
        ({"cost": {"total_cost": 0.00528, "request_cost": 0.005}}, 5_280_000),
        ({"cost": {"total_cost": 2.8e-08, "currency": "USD"}}, 28),
        ({"cost": {"total_cost": 2, "currency": "EUR"}}, None),
        ({"cost_in_usd_ticks": 161508500}, 16_150_850),
        ({"cost_in_usd_ticks": 4074005}, 407_400),
        ({"pydantic_ai_gateway": {"cost_estimate": 0.0006675}}, 667_500),
        # Fields that nobody filled in, as with xAI's models at Azure.
        ({"cost_in_usd_ticks": 0}, None),
        ({"cost": 0}, None),
        ({"cost": {"total_cost": 0}}, None),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": "free"}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": 1e30}, None),
        ({"cost": [1]}, None),
        ({"cost_in_usd_ticks": 10**40}, None),
        ({}, None),
    ],
)
def test_amounts_are_read_exactly_or_not_at_all(usage: dict[str, Any], nanos: int | None) -> None:
    assert charged(usage) == nanos


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard("memory://", budgets=["$1/day per user"]) as guard:
        guard.instrument()
        yield guard
        guard.uninstrument()


def ask(guard: Guard, model: str, **usage: Any) -> Any:
    answer = {**chat({}, {**CHAT_USAGE, **usage}), "model": model}
    with answering({"/chat/completions": answer}) as server, openai.OpenAI(base_url=server.url, api_key="x") as client:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
    return guard.entries()[0]


def test_a_receipt_shows_our_lines_and_the_difference(guard: Guard) -> None:
    entry = ask(guard, "gpt-4o", cost=0.002, is_byok=False)
    assert entry.cost == Decimal("0.002")
    receipt = entry.receipt
    assert receipt.cost == sum(line.subtotal for line in receipt.lines) == Decimal("0.002")
    assert [line.bucket for line in receipt.lines] == ["input", "cache_read", "output", "reported"]
    assert receipt.lines[-1].subtotal == Decimal("0.002") - Decimal("0.0004")
    assert receipt.source.startswith("reported by openai (list: genai-prices")
    assert not receipt.partial
    assert guard.spent() == Decimal("0.002")


def test_a_cost_that_equals_ours_needs_no_line_for_the_difference(guard: Guard) -> None:
    receipt = ask(guard, "gpt-4o", cost=0.0004, is_byok=False).receipt
    assert [line.bucket for line in receipt.lines] == ["input", "cache_read", "output"]
    assert receipt.cost == Decimal("0.0004")


def test_a_model_without_a_price_costs_what_its_provider_says(guard: Guard) -> None:
    entry = ask(guard, "nobody-knows-this-one", cost=0.25, is_byok=False)
    assert (entry.cost, entry.reason) == (Decimal("0.25"), None)
    assert [(line.bucket, line.subtotal) for line in entry.receipt.lines] == [("reported", Decimal("0.25"))]
    assert entry.receipt.source == "reported by openai"


def test_a_ledger_keeps_the_receipt(tmp_path: Any) -> None:
    store = f"sqlite:///{tmp_path / 'costs.db'}"
    with Guard(store) as guard:
        guard.instrument()
        for cost in (0.002, 0.003):
            ask(guard, "gpt-4o", cost=cost, is_byok=False)
        guard.uninstrument()
        guard.flush(10)
    with Guard(store) as guard:
        entries = guard.entries()
        assert sorted(entry.receipt.cost for entry in entries) == [Decimal("0.002"), Decimal("0.003")]
        assert {entry.receipt.source for entry in entries} == {entries[0].receipt.source}
