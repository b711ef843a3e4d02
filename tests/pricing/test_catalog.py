"""The compiled list against the calculator of the package that it comes from."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelPrice

from costguard.money import to_nanos
from costguard.pricing import catalog, rules
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage

USAGES = [
    Usage(input_tokens=1_203, output_tokens=457),
    Usage(
        input_tokens=60_011,
        cache_read_tokens=40_000,
        cache_write_tokens=7_000,
        cache_write_1h_tokens=2_000,
        output_tokens=3_001,
        reasoning_tokens=1_500,
    ),
    Usage(input_tokens=300_001, cache_read_tokens=100_001, output_tokens=20_003),
    Usage(input_tokens=600_001, output_tokens=7, web_searches=3, file_searches=2),
    Usage(
        input_tokens=9_000,
        audio_input_tokens=4_000,
        image_input_tokens=3_000,
        output_tokens=900,
        audio_output_tokens=300,
    ),
    Usage.of({"input": 700, "input_image": 40, "output": 40, "output_image": 1_290, "input_video": 512}),
    Usage.of({"input": 700, "cache_read": 10, "cache_read_audio": 90, "cache_read_image": 5, "output": 40}),
    Usage.of({"seconds": 97}),
    Usage.of({"characters": 4_096, "pages": 12}),
]
MOMENTS = [
    datetime(2025, 3, 4, 12, tzinfo=UTC),
    datetime(2026, 8, 20, 2, 30, tzinfo=UTC),
    datetime(2026, 11, 4, 12, tzinfo=UTC),
    datetime(2027, 2, 2, 7, tzinfo=UTC),
]
CONTEXTS: list[dict[str, str]] = [{"processing": "batch"}, {"service_tier": "flex"}, {"service_tier": "priority"}]

# Read by no bucket: citation tokens are not reported apart, messages and annotated pages neither.
UNREAD = {"output_citation_mtok", "input_annotated_document_kpages", "input_text_messages_kcount"}


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def theirs(usage: Usage) -> genai_prices.Usage:
    used = usage.buckets.get
    parts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "input_audio_tokens": usage.audio_input_tokens,
        "cache_audio_read_tokens": used("cache_read_audio"),
        "input_image_tokens": usage.image_input_tokens,
        "cache_image_read_tokens": used("cache_read_image"),
        "input_video_tokens": used("input_video"),
        "output_tokens": usage.output_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        "output_audio_tokens": used("output_audio"),
        "output_image_tokens": used("output_image"),
        "audio_seconds": used("seconds"),
        "input_audio_seconds": used("seconds"),
        "input_characters": used("characters"),
        "input_document_pages": used("pages"),
        "web_searches": used("web_searches"),
        "storage_searches": used("file_searches"),
    }
    return genai_prices.Usage(**{name: count for name, count in parts.items() if count})


def reference(model: Any) -> str:
    """A name under which a provider may answer: some lists' ids are not among them."""
    if model.is_match(model.id):
        return str(model.id)
    clauses = [model.match]
    for clause in clauses:
        clauses += getattr(clause, "or_", getattr(clause, "and_", []))
        text = getattr(clause, "equals", getattr(clause, "starts_with", getattr(clause, "contains", None)))
        if text is not None and model.is_match(text):
            return str(text)
    return str(model.id)


def compare(provider: str, model: str, usage: Usage, moment: datetime, context: dict[str, str]) -> str:
    try:
        price = genai_prices.calc_price(
            theirs(usage), model, provider_id=provider, genai_request_timestamp=moment, price_context=context or None
        )
    except (ValueError, LookupError) as error:
        return type(error).__name__
    rates = catalog.rates(provider, model, ns(moment), tuple(context.items()))
    if rates is None:
        assert price.total_price == 0, (provider, model)
        return "unpriced"
    assert rates.model == price.model.id
    if rates.unknown:
        return "unknown"
    if provider == "google" and "service_tier" in context and price.total_price != rates.receipt(usage).cost:
        # By rule: Google states the tiers of all models, the list those of some.
        return "by rule"
    if provider == "mistral" and usage.audio_input_tokens and "seconds" in rates.rates:
        return "audio by its length"
    assert rates.nanos(usage) == to_nanos(price.total_price), (provider, model, usage, moment, rates, price)
    return "equal"


@pytest.mark.parametrize("provider", providers, ids=[provider.id for provider in providers])
def test_compiled_rates_cost_what_the_list_says(provider: Any) -> None:
    seen: Counter[str] = Counter()
    for number, model in enumerate(provider.models):
        for moment in MOMENTS:
            if not rules.peak_applies(provider.id, model.id, moment):
                continue
            # Every usage for every model would take a minute; each model gets three, in turns.
            for usage in (USAGES[0], USAGES[1 + number % 8], USAGES[1 + (number + 3) % 8]):
                seen[compare(provider.id, reference(model), usage, moment, {})] += 1
    assert seen["equal"] > 0
    assert seen["unknown"] == 0


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_contexts_cost_what_the_list_says_or_are_marked(context: dict[str, str]) -> None:
    seen: Counter[str] = Counter()
    for provider in providers:
        for model in provider.models:
            if model.price_variants:
                for usage in (USAGES[1], USAGES[2]):
                    seen[compare(provider.id, reference(model), usage, MOMENTS[2], context)] += 1
    assert seen["equal"] > 20


def test_every_price_of_the_list_is_read() -> None:
    read = {key for keys, _ in catalog.BUCKET_PRICES.values() for key in keys} | UNREAD
    for provider in providers:
        for model in provider.models:
            sets = [model.prices] if isinstance(model.prices, ModelPrice) else [each.prices for each in model.prices]
            for prices in [*sets, *(variant.prices for variant in model.price_variants or ())]:
                assert {key for key, price in prices.__dict__.items() if price is not None} <= read, model.id


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_rates_hold_from_their_first_moment_to_the_last(moment: datetime) -> None:
    bounded = 0
    for provider in ("anthropic", "openai", "deepseek", "google"):
        for model in catalog.names(provider):
            for context in ((), (("batch", "true"),)):
                rates = catalog.rates(provider, model, ns(moment), context)
                if rates is None:
                    continue
                for edge in (rates.valid_from_ns, rates.valid_until_ns and rates.valid_until_ns - 1):
                    if edge is not None:
                        bounded += 1
                        assert catalog.rates(provider, model, edge, context) == rates
                        assert rates.valid_from_ns is None or rates.valid_from_ns <= ns(moment)
                        assert rates.valid_until_ns is None or ns(moment) < rates.valid_until_ns
    assert bounded > 50


@pytest.mark.parametrize(
    ("moment", "nanos"),
    [
        ("2026-08-16T02:00Z", 435),  # before the peak hours were introduced
        ("2026-08-18T00:59:59Z", 660),
        ("2026-08-18T01:00Z", 1_320),
        ("2026-08-18T04:00Z", 660),
        ("2026-08-18T06:00Z", 1_320),
        ("2026-08-22T02:00Z", 1_320),  # a Saturday, before weekends were off-peak
        ("2026-11-06T09:59Z", 1_320),  # a Friday
        ("2026-11-07T02:00Z", 660),  # Saturday
        ("2026-11-08T09:00Z", 660),  # Sunday
        ("2026-11-09T01:00Z", 1_320),  # Monday
    ],
)
def test_deepseek_has_peak_hours_on_working_days_in_beijing(moment: str, nanos: int) -> None:
    book = PriceBook()
    at = ns(datetime.fromisoformat(moment))
    for warmed in (at - 86_400 * 10**9, at):
        rates = book.rates("deepseek", "deepseek-v4-pro", warmed)
    assert rates is not None
    assert rates.nanos(Usage(input_tokens=1_000)) == nanos * 1_000


def test_rates_of_a_model_may_be_asked_for_backwards_in_time() -> None:
    book = PriceBook()
    usage = Usage(input_tokens=1_000)
    prices = []
    for day in ("2026-08-22", "2026-08-20", "2026-08-21", "2026-08-20"):
        rates = book.rates("openai", "gpt-5.6-sol", ns(datetime.fromisoformat(f"{day}T00:00Z")))
        assert rates is not None
        prices.append(rates.nanos(usage))
    assert prices == [4_000_000, 5_000_000, 4_000_000, 5_000_000]
