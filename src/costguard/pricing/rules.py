"""What providers charge and the price list cannot say, each rule with where the provider states it.

Pure facts: `catalog` applies them. Checked in November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_STANDARD_TIERS = frozenset({"", "none", "null", "standard", "standard_only", "default", "auto", "on_demand"})
_OFF = frozenset({"", "none", "null", "false", "0", "no"})
_ANYWHERE = frozenset({"", "none", "null", "global", "not_available"})

_DAY = timedelta(days=1)
_V4_PRICES = datetime(2026, 8, 17, tzinfo=UTC)
_WEEKENDS = datetime(2026, 8, 22, 16, tzinfo=UTC)
_BEIJING = timedelta(hours=8)

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
        elif name == "inference_geo":
            if value not in _ANYWHERE:
                wanted[name] = value
        elif value not in _OFF:
            wanted[name] = value
    return wanted


def _costs_the_same(provider: str, name: str, value: str) -> bool:
    # console.groq.com/docs/flex-processing: "the same price as on-demand", with higher rate limits.
    return provider == "groq" and name == "service_tier" and value == "flex"


def batch_factor(provider: str) -> Decimal | None:
    """What a batch multiplies all token prices by, where the provider says so for every model.

    Anthropic: "All usage is charged at 50% of the standard API prices", caching included
    (platform.claude.com/docs/en/build-with-claude/batch-processing#pricing).
    """
    return Decimal("0.5") if provider == "anthropic" else None


def residency_factor(provider: str, model: str, place: str) -> Decimal | None:
    """What `inference_geo` multiplies all token prices by; None where it is not known.

    Anthropic: 1.1 for "us" from Claude Opus 4.6 on, nothing before
    (platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing).
    """
    if provider != "anthropic" or place != "us":
        return None
    return Decimal(1) if model.startswith(_BEFORE_RESIDENCY) else Decimal("1.1")


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
