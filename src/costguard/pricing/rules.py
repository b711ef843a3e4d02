"""What providers charge and the price list cannot say, each rule with where the provider states it.

Pure facts: `catalog` applies them. Checked in November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_STANDARD_TIERS = frozenset({"", "none", "null", "standard", "standard_only", "default", "auto", "on_demand"})
_OFF = frozenset({"", "none", "null", "false", "0", "no"})
_ANYWHERE = frozenset({"", "none", "null", "global", "not_available"})

SELF_HOSTED = frozenset(("ollama", "vllm", "gpustack"))
"""Servers that run on machines of one's own: no list prices them, a call costs nothing unless the user says so."""

_DAY = timedelta(days=1)
_V4_PRICES = datetime(2026, 8, 17, tzinfo=UTC)
_WEEKENDS = datetime(2026, 8, 22, 16, tzinfo=UTC)
_BEIJING = timedelta(hours=8)

_REASONING = re.compile(r"o\d|gpt-[5-9]|gpt-\d\d")
_WITH_RESIDENCY = ("gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6", "gpt-7", "gpt-realtime-2.1", "gpt-image-2.5")
_OPENAI_PLACES = frozenset(("us", "eu", "ae", "au", "ca", "gb", "in", "jp", "kr", "sg"))
_BEFORE_REGIONS = (
    "claude-2", "claude-instant", "claude-3", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4@",
    "claude-opus-4-2025", "claude-sonnet-4-0", "claude-sonnet-4@", "claude-sonnet-4-2025",
)  # fmt: skip
_BEFORE_RESIDENCY = (
    "claude-v1", "claude-2", "claude-instant", "claude-3", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-5",
    "claude-sonnet-4-0", "claude-sonnet-4-5", "claude-haiku-4-5",
)  # fmt: skip


def asked(provider: str, context: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The part of a context that may change the price, in the price list's own names.

    Standard processing is left out: `service_tier` is "default" in OpenAI's responses, "standard" in
    Anthropic's and Google's, "on_demand" in Groq's, and "batch" in Anthropic's batch results.
    """
    wanted: dict[str, str] = {}
    for name, given in context:
        value = str(given).strip().lower()
        if name == "batch":
            if value not in _OFF:
                wanted["processing"] = "batch"
        elif name in ("service_tier", "processing", "speed"):
            if value == "batch":
                wanted["processing"] = "batch"
            elif value not in _STANDARD_TIERS and not _costs_the_same(provider, name, value):
                wanted[name] = value
        elif name in ("inference_geo", "data_residency"):
            if value not in _ANYWHERE:
                wanted["inference_geo"] = value
        elif value not in _OFF:
            wanted[name] = value
    return wanted


def _costs_the_same(provider: str, name: str, value: str) -> bool:
    # console.groq.com/docs/flex-processing: "the same price as on-demand", with higher rate limits.
    return provider == "groq" and name == "service_tier" and value == "flex"


def factor(provider: str, model: str, name: str, value: str, asked: str = "") -> Decimal | None:
    """What a fact of the context multiplies all token prices by, where the provider says so; None: not known.

    asked: the model's own name, where `model` is what a list calls it
    """
    if name == "processing" and value == "batch":
        return batch_factor(provider, model)
    if name == "inference_geo":
        return residency_factor(provider, asked if asked and provider == "openai" else model, value)
    if provider == "google" and (name, value) == ("service_tier", "priority") and model.startswith("gemini-"):
        # ai.google.dev/gemini-api/docs/pricing: 1.8 times the standard price of each model that has the tier.
        return Decimal("1.8")
    return None


def as_in_batches(provider: str, wanted: Mapping[str, str]) -> bool:
    """Whether a call costs what it costs in a batch.

    Google: Flex has the batch's discount, with each model that has the tier (ai.google.dev/gemini-api/docs/pricing).
    """
    return provider == "google" and wanted.get("service_tier") == "flex"


def batch_factor(provider: str, model: str) -> Decimal | None:
    """What a batch multiplies all token prices by, where the provider says so and the list does not.

    Anthropic: "All usage is charged at 50% of the standard API prices", caching included
    (platform.claude.com/docs/en/build-with-claude/batch-processing#pricing). OpenAI's embeddings cost half in a
    batch (developers.openai.com/api/docs/pricing#embeddings); of its other models the list has the batch prices.
    Bedrock: half of on-demand prices (aws.amazon.com/bedrock/pricing, "Batch"). Azure OpenAI: "a 50% discount on
    Global Standard Pricing" (azure.microsoft.com/pricing/details/cognitive-services/openai-service).
    """
    halved = provider in ("anthropic", "aws", "azure") or (provider == "openai" and model.startswith("text-embedding-"))
    return Decimal("0.5") if halved else None


def residency_factor(provider: str, model: str, place: str) -> Decimal | None:
    """What `inference_geo` multiplies all token prices by; None where it is not known.

    Anthropic: 1.1 for "us" from Claude Opus 4.6 on, nothing before
    (platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing).
    OpenAI: 1.1 at the data residency endpoints for models released since 2026-03-05, the day of GPT-5.4
    (developers.openai.com/api/docs/guides/data-residency).
    Google Cloud: 1.1 at regional and multi-region endpoints for Claude from Sonnet 4.5 on
    (platform.claude.com/docs/en/about-claude/pricing#cloud-platform-pricing).
    """
    if provider == "anthropic" and place == "us":
        return Decimal(1) if model.startswith(_BEFORE_RESIDENCY) else Decimal("1.1")
    if provider == "openai" and place in _OPENAI_PLACES:
        return Decimal("1.1") if model.startswith(_WITH_RESIDENCY) else Decimal(1)
    if provider == "google" and model.startswith("claude-"):
        return Decimal(1) if model.startswith(_BEFORE_REGIONS) else Decimal("1.1")
    return None


def fees(provider: str, model: str, context: tuple[tuple[str, str], ...]) -> tuple[dict[str, Decimal], frozenset[str]]:
    """USD per call of the tools of a provider, and the facts of the context that they follow from.

    OpenAI: a web search is $10 per thousand with any model, a file search $2.50. The preview of the web search is
    $25 with models that do not reason, as are the models that always search; the fact `web_search=preview` says that
    it was the preview (developers.openai.com/api/docs/pricing#built-in-tools).
    xAI: docs.x.ai/developers/pricing, "Tool Invocation Costs".
    """
    if provider == "x-ai":
        fees = {"web_searches": "0.005", "code_executions": "0.005", "file_searches": "0.0025"}
        return {name: Decimal(fee) for name, fee in fees.items()}, frozenset()
    if provider != "openai":
        return {}, frozenset()
    preview = ("web_search", "preview") in context
    if "-search-preview" in model or (preview and not _REASONING.match(model)):
        return {"web_searches": Decimal("0.025")}, frozenset(("web_search",))
    usual = {"web_searches": Decimal("0.01"), "file_searches": Decimal("0.0025")}
    return usual, frozenset(("web_search",)) if preview else frozenset()


def peak_applies(provider: str, model: str, at: datetime) -> bool:
    """Whether the daily peak hours of the list hold on this day.

    DeepSeek: V4 has peak hours since 2026-08-17, and none on Saturdays and Sundays, Beijing time, since
    2026-08-23 (api-docs.deepseek.com/quick_start/pricing; github.com/pydantic/genai-prices/issues/582).
    Chinese public holidays are off-peak too and not known here: those days are priced too high.
    """
    if not _has_calendar(provider, model):
        return True
    if at < _V4_PRICES:
        return False
    return at < _WEEKENDS or (at + _BEIJING).weekday() < 5


def calendar_edges(provider: str, model: str, at: datetime) -> list[datetime]:
    """The moments around `at` when `peak_applies` may change."""
    if not _has_calendar(provider, model):
        return []
    midnight = (at + _BEIJING).replace(hour=0, minute=0, second=0, microsecond=0) - _BEIJING
    return [_V4_PRICES, _WEEKENDS, midnight, midnight + _DAY]


def _has_calendar(provider: str, model: str) -> bool:
    return provider == "deepseek" and model.startswith(("deepseek-v4", "deepseek-flash"))


def least_billed(provider: str, model: str) -> Mapping[str, int]:
    """Bucket to the least count that is billed.

    Groq: Whisper requests are billed for 10 seconds at least (console.groq.com/docs/speech-to-text).
    """
    return {"seconds": 10} if provider == "groq" and model.startswith("whisper-large-v3") else {}


def is_free(provider: str, model: str) -> bool:
    """Whether an entry without prices is free, and not just unknown.

    OpenRouter and others name free variants ":free"; OpenAI's moderation endpoint is free of charge
    (developers.openai.com/api/docs/guides/moderation), Gemma on the Gemini API too
    (ai.google.dev/gemini-api/docs/pricing#gemma).
    """
    return (
        model.endswith(":free")
        or (provider == "openai" and model == "moderation")
        or (provider == "google" and model.startswith("gemma-"))
    )


def told_beside(provider: str, prices: Iterable[str]) -> tuple[str, ...]:
    """Prices of the list that are zero where it has none: what is counted beside what is billed.

    Mistral bills audio by its length and reports its tokens too; of its transcriptions nothing else is billed
    (mistral.ai/pricing, "Voxtral").
    """
    known = frozenset(prices)
    if provider != "mistral" or not known & {"audio_hours", "input_audio_hours"}:
        return ()
    return ("input_audio_mtok",) if "input_mtok" in known else ("input_audio_mtok", "input_mtok", "output_mtok")


def is_another(listed: str, model: str) -> bool:
    """Whether the list only seems to have a model, as it begins like another one.

    OpenAI's and Google's models for security work ("-cyber") cost more than those they are made of.
    """
    return "-cyber" in model and "-cyber" not in listed


def text_prices(provider: str, model: str) -> tuple[tuple[str, str], ...]:
    """Pairs (bucket, other bucket): the first costs what the second costs, unless the list has a price for it.

    Google states one input price for text, image, video and audio, and a second one where audio differs
    (ai.google.dev/gemini-api/docs/pricing). Images are all that gpt-image-1 and its kin put out, audio all
    that speech models do, so that the list's one output price is theirs (developers.openai.com/api/docs/pricing).
    """
    pairs: list[tuple[str, str]] = []
    if provider == "google":
        pairs += [("input_audio", "input"), ("cache_read_audio", "cache_read")]
    if model.startswith("gpt-image-"):
        pairs.append(("output_image", "output"))
    if "-tts" in model:
        pairs.append(("output_audio", "output"))
    return tuple(pairs)
