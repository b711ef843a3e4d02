"""The integer arithmetic, for any prices and any usage."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard.money import from_nanos, to_nanos
from costguard.pricing.rates import Rates
from costguard.pricing.usage import BUCKETS, INPUT_BUCKETS, NO_USAGE, Usage

MILLION = Decimal(1_000_000)

prices = st.decimals(min_value=0, max_value=1_000, places=6).map(lambda price: price / MILLION)
levels = st.dictionaries(st.sampled_from((*BUCKETS, "reasoning")), prices, min_size=1, max_size=8)
counts = st.one_of(st.integers(0, 5), st.integers(0, 3_000_000), st.integers(0, 10**15))
usages = st.builds(
    lambda buckets, reasoning: Usage.of(buckets, reasoning_tokens=reasoning),
    st.dictionaries(st.sampled_from(BUCKETS), counts, max_size=6),
    st.integers(0, 2_000_000),
)


@st.composite
def all_rates(draw: st.DrawFn) -> Rates:
    starts = sorted(draw(st.sets(st.integers(0, 1_000_000), max_size=3)))
    return Rates.priced(
        "acme",
        "model",
        "test",
        [(-1, draw(levels)), *((start, draw(levels)) for start in starts)],
        share=draw(st.sampled_from((1, 1, 9))),
        least=draw(st.sampled_from(({}, {"seconds": 10}))),
        unknown=draw(st.sampled_from(((), ("service_tier=scale",)))),
    )


def usd_per_million(**given_prices: str) -> Rates:
    return Rates.priced(
        "acme", "model", "test", [(-1, {name: Decimal(price) / MILLION for name, price in given_prices.items()})]
    )


@settings(max_examples=400, deadline=None)
@given(all_rates(), usages)
def test_nano_dollars_are_the_receipt_rounded_half_to_even(rates: Rates, usage: Usage) -> None:
    receipt = rates.receipt(usage)
    with localcontext(prec=60):
        assert rates.nanos(usage) == to_nanos(receipt.cost or Decimal(0))


@settings(max_examples=200, deadline=None)
@given(all_rates(), usages)
def test_a_receipt_adds_up_and_has_no_negative_part(rates: Rates, usage: Usage) -> None:
    receipt = rates.receipt(usage)
    assert all(line.count >= 0 and line.price >= 0 and line.subtotal >= 0 for line in receipt.lines)
    with localcontext(prec=100):
        assert abs(sum((line.subtotal for line in receipt.lines), Decimal(0)) - (receipt.cost or 0)) < Decimal("1e-60")


@settings(max_examples=300, deadline=None)
@given(all_rates(), st.lists(st.integers(0, 400_000), min_size=4, max_size=4), st.integers(0, 400_000), st.data())
def test_no_split_of_the_tokens_costs_more_than_the_bound(
    rates: Rates, parts: list[int], output: int, data: st.DataObject
) -> None:
    reasoning = data.draw(st.integers(0, output))
    names = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
    usage = Usage.of({**dict(zip(names, parts, strict=True)), "output": output}, reasoning_tokens=reasoning)
    more_in, more_out = data.draw(st.integers(0, 1_000)), data.draw(st.integers(0, 1_000))
    assert rates.nanos(usage) <= rates.bound(usage.input_tokens, usage.output_tokens)
    assert rates.nanos(usage) <= rates.bound(usage.input_tokens + more_in, usage.output_tokens + more_out)


@settings(max_examples=200, deadline=None)
@given(all_rates(), st.dictionaries(st.sampled_from(INPUT_BUCKETS), st.integers(0, 400_000)), st.integers(0, 400_000))
def test_no_audio_or_image_token_costs_more_than_the_media_bound(
    rates: Rates, inputs: dict[str, int], audio: int
) -> None:
    usage = Usage.of({**inputs, "output_audio": audio})
    assert rates.nanos(usage) <= rates.bound(usage.input_tokens, usage.output_tokens, media=True)


@settings(max_examples=200, deadline=None)
@given(all_rates(), usages)
def test_rates_kept_as_text_give_the_same_receipt_years_later(rates: Rates, usage: Usage) -> None:
    loaded = Rates.load(rates.dump())
    assert loaded == rates
    assert hash(loaded) == hash(rates)
    assert loaded.dump() == rates.dump()
    assert loaded.nanos(usage) == rates.nanos(usage)
    assert loaded.receipt(usage) == rates.receipt(usage)
    assert loaded.missing(usage) == rates.missing(usage)
    assert loaded.bound(1_000, 1_000) == rates.bound(1_000, 1_000)


def test_the_same_prices_at_another_time_are_the_same_text() -> None:
    tonight = Rates("acme", "model", "test", {"input": 1}, valid_from_ns=10, valid_until_ns=20)
    tomorrow = Rates("acme", "model", "test", {"input": 1}, valid_from_ns=110, valid_until_ns=120)
    assert tonight.dump() == tomorrow.dump()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"provider": "acme"}', "null", '{"nonsense": 1}'])
def test_a_text_that_is_no_rates_is_shown_in_the_error(text: str) -> None:
    with pytest.raises(ValueError, match="not rates"):
        Rates.load(text)


def test_half_a_nano_dollar_is_rounded_to_even() -> None:
    rates = usd_per_million(input="0.0005")
    assert [rates.nanos(Usage.of({"input": count})) for count in (1, 2, 3, 5)] == [0, 1, 2, 2]


def test_a_threshold_is_passed_by_more_than_its_start_and_then_reprices_every_token() -> None:
    rates = Rates("acme", "model", "test", {"input": 2, "output": 10}, tiers=[(200, {"input": 4, "output": 15})])
    assert rates.nanos(Usage.of({"input": 200, "output": 1})) == 410
    assert rates.nanos(Usage.of({"input": 201, "output": 1})) == 819
    assert rates.nanos(Usage.of({"input": 101, "cache_read": 100, "output": 1})) == 819
    assert rates.nanos(Usage.of({"input": 100, "output": 500})) == 5_200


def test_several_thresholds_each_have_their_prices() -> None:
    tiers: list[Any] = [(128, {"input": 5}), (32, {"input": 3})]
    rates = Rates("acme", "model", "test", {"input": 1}, tiers=tiers)
    assert [rates.nanos(Usage.of({"input": count})) for count in (32, 33, 128, 129)] == [32, 99, 384, 645]


def test_cached_tokens_without_a_price_of_their_own_are_input() -> None:
    rates = usd_per_million(input="2", output="8")
    usage = Usage(input_tokens=1_000, cache_read_tokens=400, cache_write_tokens=300, output_tokens=100)
    assert from_nanos(rates.nanos(usage)) == Decimal("0.0028")
    assert rates.missing(usage) == ()


def test_audio_without_a_price_counts_as_text_and_is_named() -> None:
    rates = usd_per_million(input="2", output="8")
    usage = Usage(input_tokens=1_000, audio_input_tokens=600, output_tokens=100, audio_output_tokens=100)
    assert from_nanos(rates.nanos(usage)) == Decimal("0.0028")
    assert rates.missing(usage) == ("input_audio", "output_audio")
    assert rates.receipt(usage).partial


def test_images_without_a_price_are_text_as_vision_models_meter_them() -> None:
    rates = usd_per_million(input="2", output="8")
    usage = Usage(input_tokens=1_000, image_input_tokens=600, output_tokens=100)
    assert from_nanos(rates.nanos(usage)) == Decimal("0.0028")
    assert rates.missing(usage) == ()


def test_a_write_kept_for_an_hour_costs_at_least_the_short_one_and_is_named() -> None:
    rates = usd_per_million(input="2", cache_write_5m="2.5", output="8")
    usage = Usage(input_tokens=1_000, cache_write_tokens=1_000, cache_write_1h_tokens=1_000)
    assert from_nanos(rates.nanos(usage)) == Decimal("0.0025")
    assert rates.missing(usage) == ("cache_write_1h",)


def test_a_fee_without_a_price_leaves_the_cost_partial_and_out_of_the_lines() -> None:
    rates = usd_per_million(input="2", output="8")
    receipt = rates.receipt(Usage.of({"input": 1_000, "web_searches": 3}))
    assert receipt.unpriced == ("web_searches",)
    assert [line.bucket for line in receipt.lines] == ["input"]
    assert receipt.cost == Decimal("0.002")


def test_a_usage_of_which_nothing_has_a_price_has_no_cost() -> None:
    rates = usd_per_million(input="2", output="8")
    usage = Usage.of({"seconds": 90})
    receipt = rates.receipt(usage)
    assert not rates.priced_any(usage)
    assert receipt.cost is None
    assert "seconds" in (receipt.reason or "")


def test_nothing_used_costs_nothing() -> None:
    rates = Rates("acme", "model", "test", {"input": 1, "requests": 12}, unknown=("service_tier=scale",))
    assert rates.nanos(NO_USAGE) == 0
    assert rates.missing(NO_USAGE) == ()
    assert rates.receipt(NO_USAGE).cost == 0


def test_a_price_per_request_is_charged_once_unless_the_usage_counts_requests() -> None:
    rates = Rates("acme", "sonar", "test", {"input": 1, "requests": 12})
    assert rates.nanos(Usage.of({"input": 5})) == 17
    assert rates.nanos(Usage.of({"input": 5, "requests": 2})) == 29
    assert rates.bound(5, 0) == 17
    assert [line.bucket for line in rates.receipt(Usage.of({"input": 5})).lines] == ["input", "requests"]


def test_reasoning_with_a_price_of_its_own_is_taken_out_of_the_output() -> None:
    rates = Rates("acme", "deep", "test", {"output": 8, "reasoning": 3})
    assert rates.nanos(Usage(output_tokens=100, reasoning_tokens=60)) == 40 * 8 + 60 * 3
    assert rates.nanos(Usage(output_tokens=100, reasoning_tokens=600)) == 300


def test_a_minimum_is_billed_and_shown() -> None:
    rates = Rates("acme", "whisper", "test", {"seconds": 4}, least={"seconds": 10})
    assert rates.nanos(Usage.of({"seconds": 3})) == 40
    assert rates.receipt(Usage.of({"seconds": 3})).lines[0].count == 10


def test_an_app_that_computes_with_few_digits_does_not_change_a_cost() -> None:
    with localcontext(prec=3):
        rates = Rates.priced("acme", "model", "test", [(-1, {"input": Decimal("0.00000123456789")})])
        receipt = rates.receipt(Usage.of({"input": 1_234_567}))
    assert receipt.cost == Decimal(123456789 * 1234567).scaleb(-14)


def test_prices_below_a_pico_dollar_are_exact() -> None:
    rates = usd_per_million(input="0.0000001")
    assert rates.nanos(Usage.of({"input": 10**4})) == 1
    assert rates.receipt(Usage.of({"input": 1})).cost == Decimal("1e-13")
