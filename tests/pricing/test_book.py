"""Finding the price of a model, or saying that there is none."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from costguard.pricing.book import MAX_KNOWN, MAX_UNKNOWN, PriceBook
from costguard.pricing.usage import Usage

NOW = 1_793_793_600 * 10**9  # 2026-11-04T12:00Z
TOKENS = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def test_a_call_without_a_price_is_never_free(book: PriceBook) -> None:
    receipt = book.receipt("openai", "gpt-6-sool", TOKENS, NOW)
    assert receipt.cost is None
    assert receipt.lines == ()
    assert receipt.unpriced == ("input", "output")
    assert "openai/gpt-6-sool" in (receipt.reason or "")
    assert "gpt-6-sol" in (receipt.reason or "")
    assert book.receipt("openai", "gpt-6-sool", TOKENS, NOW).reason == receipt.reason


@pytest.mark.parametrize("provider", ["nobody", "", "my-openai-proxy", "litellm"])
def test_a_provider_that_is_in_no_list_is_not_guessed(book: PriceBook, provider: str) -> None:
    assert book.rates(provider, "gpt-4o", NOW) is None
    assert book.receipt(provider, "gpt-4o", TOKENS, NOW).cost is None
    assert book.dearest(provider, NOW) is None


@pytest.mark.parametrize("model", ["", " ", "*", "gpt", "x" * 100_000, "\x00", "ft:gpt-4.1:acme::1", "models/"])
def test_odd_names_are_unpriced_and_raise_nothing(book: PriceBook, model: str) -> None:
    assert book.rates("openai", model, NOW) is None
    assert len(book.receipt("openai", model, TOKENS, NOW).reason or "") < 1_500


@pytest.mark.parametrize(
    ("provider", "model", "matched"),
    [
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openai", "gpt-6-sol-20270101", "gpt-6-sol"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", "ft:gpt-4o-mini"),
        ("azure", "gpt-4o-2024-08-06", "gpt-4o"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("vertex", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("bedrock", "amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("bedrock", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("bedrock", "eu.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("xai", "grok-4.7", "grok-4.7"),
        ("litellm", "openai/gpt-4o", "gpt-4o"),
    ],
)
def test_a_model_is_found_under_the_names_that_providers_use(
    book: PriceBook, provider: str, model: str, matched: str
) -> None:
    rates = book.rates(provider, model, NOW)
    assert rates is not None
    assert rates.model == matched


def test_a_global_bedrock_profile_has_no_regional_premium(book: PriceBook) -> None:
    name = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    everywhere = book.receipt("bedrock", f"global.{name}", TOKENS, NOW).cost
    regional = book.receipt("bedrock", f"us.{name}", TOKENS, NOW).cost
    assert everywhere == 18
    assert regional == Decimal("19.8")


@pytest.mark.parametrize(
    ("provider", "model", "context", "unpriced"),
    [
        ("openai", "gpt-5", (("service_tier", "default"),), ()),
        ("openai", "gpt-5", (("service_tier", "auto"),), ()),
        ("openai", "gpt-5", (("service_tier", "flex"),), ()),
        ("openai", "gpt-5", (("service_tier", "scale"),), ("service_tier=scale",)),
        ("openai", "gpt-5", (("servce_tier", "flex"),), ("servce_tier=flex",)),
        ("openai", "gpt-4o", (("service_tier", "flex"),), ("service_tier=flex",)),
        ("openai", "gpt-5", (("batch", "false"),), ()),
        ("azure", "gpt-5", (("service_tier", "priority"),), ("service_tier=priority",)),
        ("bedrock", "amazon.nova-pro-v1:0", (("service_tier", "priority"),), ("service_tier=priority",)),
        ("google", "gemini-3.5-flash", (("service_tier", "flex"),), ("service_tier=flex",)),
        ("anthropic", "claude-opus-4-8", (("inference_geo", "global"), ("service_tier", "standard")), ()),
        ("anthropic", "claude-opus-4-8", (("inference_geo", "eu"),), ("inference_geo=eu",)),
        ("anthropic", "claude-opus-4-8", (("service_tier", "priority"),), ("service_tier=priority",)),
        ("groq", "llama-3.3-70b-versatile", (("service_tier", "on_demand"),), ()),
        ("deepseek", "deepseek-v4-pro", (("batch", "true"),), ("processing=batch",)),
    ],
)
def test_a_context_is_priced_or_named_but_never_silently_standard(
    book: PriceBook, provider: str, model: str, context: tuple[tuple[str, str], ...], unpriced: tuple[str, ...]
) -> None:
    receipt = book.receipt(provider, model, TOKENS, NOW, context)
    assert receipt.cost
    assert receipt.unpriced == unpriced


@pytest.mark.parametrize(
    ("model", "at", "context", "cost"),
    [
        ("claude-opus-4-8", NOW, (("batch", "true"),), "15"),
        ("claude-opus-4-8", NOW, (("service_tier", "batch"),), "15"),
        ("claude-opus-4-8", NOW, (("batch", "true"), ("inference_geo", "us")), "16.5"),
        ("claude-opus-4-8", NOW, (("speed", "fast"),), "60"),
        ("claude-opus-4-5", NOW, (("inference_geo", "us"),), "30"),
        ("claude-sonnet-4-20250514", 1_751_371_200 * 10**9, (("batch", "true"),), "9"),
    ],
)
def test_anthropic_contexts_stack(
    book: PriceBook, model: str, at: int, context: tuple[tuple[str, str], ...], cost: str
) -> None:
    receipt = book.receipt("anthropic", model, TOKENS, at, context)
    assert receipt.cost == Decimal(cost)
    assert not receipt.partial


def test_batches_and_residency_do_not_change_the_fee_of_a_search(book: PriceBook) -> None:
    searches = Usage.of({"web_searches": 3})
    context = (("batch", "true"), ("inference_geo", "us"))
    assert book.receipt("anthropic", "claude-opus-4-8", searches, NOW, context).cost == Decimal("0.03")


def test_a_discount_held_before_the_list_wrote_it_down(book: PriceBook) -> None:
    in_spring = 1_772_323_200 * 10**9
    receipt = book.receipt("openai", "gpt-5", TOKENS, in_spring, (("batch", "true"),))
    assert (receipt.cost, receipt.partial) == (Decimal("5.625"), False)


def test_audio_is_text_where_google_says_so_and_partial_where_nobody_does(book: PriceBook) -> None:
    usage = Usage(input_tokens=1_000, audio_input_tokens=900, output_tokens=1)
    assert not book.receipt("google", "gemini-2.5-pro", usage, NOW).partial
    assert book.receipt("openai", "gpt-4o", usage, NOW).unpriced == ("input_audio",)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "context", "cost"),
    [
        # What the shipped list lacks, filled in: developers.openai.com/api/docs/pricing
        ("openai", "ft:gpt-4o-2024-08-06:acme::1", {"input": 1_000_000, "cache_read": 1_000_000}, (), "5.625"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::1", {"cache_read": 1_000_000}, (), "0.15"),
        ("openai", "ft:gpt-4.1-2025-04-14:acme::1", {"input": 1_000_000, "output": 1_000_000}, (), "15"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::1", {"cache_read": 1_000_000}, (), "0.2"),
        ("openai", "gpt-4o-audio-preview-2025-06-03", {"input_audio": 1_000, "output_audio": 1_000}, (), "0.12"),
        ("openai", "gpt-4o-audio-preview-2024-10-01", {"input_audio": 1_000, "output_audio": 1_000}, (), "0.3"),
        ("openai", "gpt-4o-search-preview", {"input": 1_000, "web_searches": 1}, (), "0.0275"),
        ("openai", "gpt-4o-mini-search-preview-2025-03-11", {"web_searches": 2}, (), "0.05"),
        ("openai", "gpt-5-search-api", {"web_searches": 1}, (), "0.01"),
        ("openai", "gpt-4.1", {"web_searches": 1}, (), "0.01"),
        ("openai", "gpt-4.1", {"web_searches": 1}, (("web_search", "preview"),), "0.025"),
        ("openai", "gpt-5", {"web_searches": 1}, (("web_search", "preview"),), "0.01"),
        ("openai", "o3-pro", {"web_searches": 1, "file_searches": 2}, (), "0.015"),
        ("openai", "text-embedding-3-small", {"input": 1_000_000}, (("batch", "true"),), "0.01"),
        ("openai", "gpt-5.5", {"input": 1_000_000 // 10}, (("inference_geo", "eu"),), "0.55"),
        ("openai", "gpt-4.1", {"input": 1_000_000}, (("data_residency", "eu"),), "2"),
        ("openai", "dall-e-3", {"images": 2}, (("quality", "hd"), ("size", "1024x1792")), "0.24"),
        ("openai", "tts-1-hd-1106", {"characters": 1_000}, (), "0.03"),
        ("anthropic", "claude-mythos-5-1", {"cache_read": 1_000_000}, (), "0.25"),
        ("vertex", "claude-opus-4-5@20251101", {"input": 1_000_000}, (("inference_geo", "us-east5"),), "5.5"),
        ("vertex", "claude-3-opus@20240229", {"input": 1_000_000}, (("inference_geo", "us-east5"),), "15"),
        ("google", "imagen-4.0-ultra-generate-001", {"images": 1}, (), "0.06"),
        ("google", "gemini-2.5-flash", {"input": 1_000_000}, (("service_tier", "flex"),), "0.15"),
        ("google", "gemini-2.5-flash", {"output": 1_000_000}, (("service_tier", "priority"),), "4.5"),
        ("google", "gemini-2.5-pro", {"input": 300_000}, (("service_tier", "priority"),), "1.35"),
        ("google", "gemini-3.8-flash-cyber", {"input": 1_000_000}, (), "1.5"),
        ("bedrock", "amazon.nova-pro-v1:0", {"input": 1_000_000}, (("batch", "true"),), "0.4"),
        ("azure", "gpt-4o", {"input": 1_000_000}, (("batch", "true"),), "1.25"),
        ("xai", "grok-4.7", {"web_searches": 2, "code_executions": 1, "file_searches": 2}, (), "0.02"),
        ("cohere", "rerank-v3.5", {"search_units": 3}, (), "0.006"),
        ("bedrock", "amazon.nova-2-lite-v1:0", {"input": 1_000_000}, (), "0.33"),
    ],
)
def test_what_the_shipped_list_lacks_is_filled_in(
    book: PriceBook,
    provider: str,
    model: str,
    usage: dict[str, int],
    context: tuple[tuple[str, str], ...],
    cost: str,
) -> None:
    receipt = book.receipt(provider, model, Usage.of(usage), NOW, context)
    assert (receipt.cost, receipt.unpriced) == (Decimal(cost), ())


def test_images_of_a_size_that_is_not_said_have_no_price(book: PriceBook) -> None:
    assert book.receipt("openai", "dall-e-3", Usage.of({"images": 1}), NOW).cost is None


def test_whisper_on_groq_is_billed_for_ten_seconds_at_least(book: PriceBook) -> None:
    costs = [
        book.receipt("groq", "whisper-large-v3-turbo", Usage.of({"seconds": seconds}), NOW).cost
        for seconds in (1, 10, 9_000)
    ]
    assert costs[0] == costs[1]
    assert costs[2] == Decimal("0.1")


@pytest.mark.parametrize(
    ("provider", "model"), [("openrouter", "mistralai/mistral-nemo:free"), ("openai", "omni-moderation-latest")]
)
def test_what_is_free_of_charge_is_priced_at_zero(book: PriceBook, provider: str, model: str) -> None:
    receipt = book.receipt(provider, model, Usage(input_tokens=1_000), NOW)
    assert receipt.cost == 0
    assert not receipt.partial


def test_an_entry_without_prices_is_unknown_and_not_free(book: PriceBook) -> None:
    assert book.receipt("cerebras", "qwen-3-coder-480b", TOKENS, NOW).cost is None


def test_the_dearest_rates_are_no_lower_than_any_model_of_the_provider(book: PriceBook) -> None:
    dearest = book.dearest("openai", NOW)
    assert dearest is not None
    assert "assumed" in dearest.source
    usage = Usage(input_tokens=900_000, cache_write_tokens=300_000, cache_read_tokens=100, output_tokens=100_000)
    for model in ("gpt-4o", "gpt-5-pro", "gpt-6-sol", "gpt-4.5-preview", "gpt-4"):
        rates = book.rates("openai", model, NOW)
        assert rates is not None
        assert rates.nanos(usage) <= dearest.nanos(usage)
        assert rates.bound(900_000, 100_000) <= dearest.bound(900_000, 100_000)
    assert book.dearest("openai", NOW) is dearest


def test_the_dearest_rates_include_the_users_own() -> None:
    dearest = PriceBook({"openai/gold": {"input": "9000", "output": "1"}}).dearest("openai", NOW)
    assert dearest is not None
    assert dearest.receipt(Usage(input_tokens=1_000_000)).cost == 9_000


def test_a_price_found_once_is_the_same_object_the_next_time(book: PriceBook) -> None:
    assert book.rates("openai", "gpt-4o", NOW) is book.rates("openai", "gpt-4o", NOW + 1)


def test_names_made_up_by_users_do_not_fill_the_memory() -> None:
    book = PriceBook()
    for number in range(MAX_UNKNOWN * 2):
        book.rates("cohere", f"made-up-{number}", NOW)
    for number in range(MAX_KNOWN + 500):
        book.rates("cohere", "command-a", NOW, (("service_tier", f"made-up-{number}"),))
    assert book.kept <= MAX_KNOWN + MAX_UNKNOWN
    assert book.rates("cohere", "command-a", NOW) is not None


def test_threads_that_ask_at_once_get_the_same_prices() -> None:
    book = PriceBook()
    models = ["gpt-4o", "gpt-5", "gpt-6-sol", "nothing-like-it"]

    def ask(number: int) -> tuple[int | None, ...]:
        found = [book.rates("openai", model, NOW) for model in (*models, f"made-up-{number}")]
        return tuple(None if rates is None else rates.nanos(TOKENS) for rates in found)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(200)))) == 1


def test_the_price_list_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from costguard.pricing.book import PriceBook; book = PriceBook({'a/b': {'input': '1'}})\n"
        "assert 'genai_prices' not in sys.modules and 'pydantic' not in sys.modules\n"
        "book.warm(); assert 'genai_prices' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
