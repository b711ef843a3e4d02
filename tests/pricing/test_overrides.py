"""The user's own prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from costguard.errors import ConfigError
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage

NOW = 1_793_793_600 * 10**9
TOKENS = Usage(input_tokens=1_000_000, cache_read_tokens=500_000, output_tokens=1_000_000)


def cost(prices: Any, provider: str, model: str, usage: Usage = TOKENS) -> Decimal | None:
    return PriceBook(prices).receipt(provider, model, usage, NOW).cost


def test_an_override_prices_a_model_that_no_list_knows() -> None:
    prices = {"openai/my-model": {"input": "1.25", "output": "10", "cache_read": "0.125"}}
    receipt = PriceBook(prices).receipt("openai", "my-model", TOKENS, NOW)
    assert receipt.cost == Decimal("10.6875")
    assert (receipt.provider, receipt.model, receipt.source) == ("openai", "my-model", "override")


def test_an_override_comes_before_the_list() -> None:
    assert cost({"openai/gpt-4o": {"input": "1", "output": 1}}, "openai", "gpt-4o") == 2


def test_an_override_covers_the_dated_name_under_which_the_provider_answers() -> None:
    assert cost({"openai/gpt-4o": {"input": "1", "output": 1}}, "openai", "gpt-4o-2024-08-06") == 2
    assert cost({"claude-x": {"input": "1", "output": 1}}, "anthropic", "claude-x-20261001") == 2


def test_a_key_without_provider_holds_for_whoever_serves_the_model() -> None:
    prices = {"llama-local": {"input": Decimal("0.5"), "output": "0.5"}}
    book = PriceBook(prices)
    for provider in ("ollama", "vllm"):
        receipt = book.receipt(provider, "llama-local", TOKENS, NOW)
        assert (receipt.cost, receipt.provider) == (1, provider)


def test_the_whole_name_wins_over_the_longest_beginning_and_that_over_shorter_ones() -> None:
    prices = {
        "azure/*": {"input": 1, "output": 0},
        "azure/chat-*": {"input": 2, "output": 0},
        "azure/chat-eu": {"input": 3, "output": 0},
    }
    assert [cost(prices, "azure", name) for name in ("embed", "chat-us", "Chat-EU")] == [1, 2, 3]
    assert cost(prices, "openai", "chat-us") is None


def test_units_are_priced_per_unit_and_tokens_per_million() -> None:
    prices = {"acme/tts": {"characters": "0.00001", "seconds": "0.5", "input": "1"}}
    assert cost(prices, "acme", "tts", Usage.of({"characters": 100, "seconds": 2, "input": 1_000})) == Decimal("1.002")


def test_an_override_replaces_the_whole_entry_and_what_it_leaves_out_is_missing() -> None:
    receipt = PriceBook({"openai/gpt-4o": {"input": "1"}}).receipt("openai", "gpt-4o", TOKENS, NOW)
    assert receipt.unpriced == ("output",)


def test_an_override_does_not_know_the_price_of_other_processing() -> None:
    book = PriceBook({"openai/gpt-4o": {"input": "1", "output": "1"}})
    assert book.receipt("openai", "gpt-4o", TOKENS, NOW, (("batch", "true"),)).unpriced == ("processing=batch",)
    assert not book.receipt("openai", "gpt-4o", TOKENS, NOW, (("service_tier", "default"),)).partial


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ({"openai/m": {"input": 1.25}}, ("openai/m", "input", "1.25", "float")),
        ({"openai/m": {"input": "cheap"}}, ("openai/m", "input", "cheap")),
        ({"openai/m": {"input": "-1"}}, ("openai/m", "input", "-1")),
        ({"openai/m": {"input": "NaN"}}, ("openai/m", "input", "NaN")),
        ({"openai/m": {"input": True}}, ("openai/m", "input", "True")),
        ({"openai/m": {"prompt": "1"}}, ("openai/m", "prompt", "cache_read")),
        ({"openai/m": {}}, ("openai/m", "input")),
        ({"openai/m": "1.25"}, ("openai/m", "1.25")),
        ({"openai/*-mini": {"input": "1"}}, ("openai/*-mini",)),
        ({"": {"input": "1"}}, ("''",)),
        ({7: {"input": "1"}}, ("7",)),
    ],
)
def test_a_wrong_price_is_refused_at_the_start_and_named(prices: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        PriceBook(prices)
    assert all(word in str(caught.value) for word in words), str(caught.value)
