"""LiteLLM's `model_prices_and_context_window.json`: USD per token, names with or without a provider before them.

The fields are those of the file itself, github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json.
Of fields that are about something we have no bucket for (pixels, videos by resolution, storage) nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from costguard.pricing.hours import Hours, spans_of
from costguard.pricing.listing import Listing, Terms
from costguard.pricing.naming import canonical
from costguard.pricing.problems import Problems
from costguard.pricing.rates import EXACT
from costguard.pricing.standins import REASONING
from costguard.pricing.table import Table, flat

FIELDS = {
    "input_cost_per_token": "input", "cache_read_input_token_cost": "cache_read",
    "input_cost_per_token_cache_hit": "cache_read", "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h", "input_cost_per_audio_token": "input_audio",
    "cache_read_input_audio_token_cost": "cache_read_audio", "input_cost_per_image_token": "input_image",
    "cache_read_input_image_token_cost": "cache_read_image", "input_cost_per_video_token": "input_video",
    "output_cost_per_token": "output", "output_cost_per_reasoning_token": REASONING,
    "output_cost_per_audio_token": "output_audio", "output_cost_per_image_token": "output_image",
    "output_cost_per_video_token": "output_video", "input_cost_per_second": "seconds",
    "input_cost_per_character": "characters", "output_cost_per_image": "images", "ocr_cost_per_page": "pages",
    "input_cost_per_query": "search_units", "input_cost_per_request": "requests",
    "code_interpreter_cost_per_session": "code_executions",
}  # fmt: skip
"""Field to bucket. Later names of a bucket are older ones, and are read where the others are missing."""

_PROCESSING: dict[str, dict[str, str]] = {
    "batches": {"processing": "batch"}, "flex": {"service_tier": "flex"}, "priority": {"service_tier": "priority"},
    "ultrafast": {"service_tier": "ultrafast"}, "balanced": {"service_tier": "balanced"},
}  # fmt: skip
_FIELD = re.compile(
    rf"(?P<base>{'|'.join(sorted(FIELDS, key=len, reverse=True))})"
    rf"(?:_above_(?P<size>\d+)k_tokens)?(?:_(?P<way>{'|'.join(_PROCESSING)}))?"
)
_FAMILIES = {
    "azure_ai": "azure", "azure_text": "azure", "bedrock_converse": "aws", "bedrock_mantle": "aws",
    "cohere_chat": "cohere", "text-completion-openai": "openai", "text-completion-codestral": "mistral",
    "codestral": "mistral", "moonshot": "moonshotai",
}  # fmt: skip
_LATER = ("azure_", "bedrock_", "vertex_ai", "text-completion", "codestral")
"""Providers that are looked at after those whose prices they would stand for."""

_ORDER = {field: place for place, field in enumerate(FIELDS)}
_UNREAD: tuple[str, int, str | None] = ("", 0, None)
_Known = dict[str, tuple[str, int, str | None]]


def is_litellm(data: Any) -> bool:
    return isinstance(data, dict) and any(
        isinstance(entry, dict) and ("litellm_provider" in entry or "input_cost_per_token" in entry)
        for entry in data.values()
    )


def read_litellm(data: Mapping[str, Any], problems: Problems) -> Table:
    """Check every price; entries are made when they are asked for, as there are thousands."""
    known: _Known = {}
    exact: dict[str, Any] = {}
    entries = []
    for name, entry in data.items():
        if name == "sample_spec":
            continue
        if not isinstance(entry, dict):
            problems.add(name, "the entry", entry, "write fields such as input_cost_per_token and litellm_provider")
            continue
        if _check(name, entry, known, problems):
            maker = str(entry.get("litellm_provider") or "").lower()
            entries.append((maker.startswith(_LATER), name, maker, entry))
    for _, name, maker, entry in sorted(entries, key=lambda entry: entry[0]):
        provider = _provider(maker)
        plain = name.lower()
        head, slash, rest = plain.partition("/")
        if slash and head in (maker, provider, maker.partition("-")[0]):
            plain = rest
        make = partial(_listing, provider, plain, entry, known)
        exact.setdefault(f"{provider}/{plain}" if provider else plain, make)
    return Table(exact)


def _provider(maker: str) -> str:
    for start, provider in (("vertex_ai", "google"), ("fireworks_ai", "fireworks")):
        if maker.startswith(start):
            return provider
    return _FAMILIES.get(maker) or canonical(maker)


def _check(name: str, entry: Mapping[str, Any], known: _Known, problems: Problems) -> bool:
    """Whether an entry has prices that we read; bad ones go to `problems`."""
    priced = False
    for field, value in entry.items():
        if "cost" not in field or value is None:
            continue
        if field not in known:
            match = _FIELD.fullmatch(field)
            size = int((match and match["size"]) or 0) * 1_000
            known[field] = (match["base"], size or -1, match["way"]) if match else _UNREAD
        if known[field][0]:
            priced = priced or bool(value)
            # Most are plain numbers, and there are tens of thousands.
            if type(value) is not Decimal or not 0 <= value < 1_000:
                problems.price(name, field, value, "token or unit")
        elif field == "search_context_cost_per_query":
            _searches(name, value, problems)
            priced = True
    _hours(name, entry.get("off_peak_pricing"), problems)
    for place, tier in enumerate(_tiers(name, entry, problems)):
        priced = True
        for field, value in tier.items():
            if field in FIELDS:
                problems.price(f"{name}, tiered_pricing[{place}]", field, value, "token")
    # It writes 0 where it knows no price, and unknown is not free. What runs on one's own machine is.
    return priced or entry.get("litellm_provider") == "ollama" or name.endswith(":free")


def _tiers(name: str, entry: Mapping[str, Any], problems: Problems) -> list[Mapping[str, Any]]:
    tiers = entry.get("tiered_pricing") or []
    try:
        # Those by the number of search results have no range of tokens, and no price of tokens.
        found = [tier for tier in tiers if any(field in tier for field in FIELDS) and "max_results_range" not in tier]
        if all(len(tier["range"]) == 2 and int(tier["range"][0]) >= 0 for tier in found):
            return found
    except (TypeError, KeyError, ValueError, ArithmeticError):
        pass
    problems.add(name, "tiered_pricing", tiers, 'write a list of {"range": [0, 256000], "input_cost_per_token": ...}')
    return []


def _searches(name: str, value: Any, problems: Problems) -> dict[str, Decimal]:
    """USD of one search by the size of what it brings: {"low": ..., "medium": ..., "high": ...}."""
    if not isinstance(value, dict):
        problems.add(name, "search_context_cost_per_query", value, 'write {"search_context_size_medium": 0.01, ...}')
        return {}
    found = {}
    for size, amount in value.items():
        price = problems.price(name, f"search_context_cost_per_query.{size}", amount, "search")
        if price is not None:
            found[size.removeprefix("search_context_size_")] = price
    return found


def _hours(name: str, given: Any, problems: Problems) -> list[tuple[Hours, dict[str, Decimal]]]:
    """Off-peak prices: (hours, field to price)."""
    if given is None:
        return []
    try:
        zone = str(given.get("weekday_timezone") or "UTC")
        prices = {field: value for field, value in given.items() if field in FIELDS}
        found = []
        for window in given["windows"]:
            texts = window["hours_utc"]
            spans = spans_of([texts] if isinstance(texts, str) else texts)
            days = frozenset(int(day) - 1 for day in window.get("weekdays", range(1, 8)))
            found.append((Hours(spans, days, zone), prices))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problems.add(name, f"off_peak_pricing ({error})", given, 'write {"windows": [{"hours_utc": "10:00-00:00"}]}')
        return []
    return [
        (hours, priced)
        for hours, fields in found
        if (priced := {f: p for f, v in fields.items() if (p := problems.price(name, f, v, "token")) is not None})
    ]


def _listing(provider: str, model: str, entry: Mapping[str, Any], known: _Known) -> Listing:
    """Made when it is asked for; it was checked before, so that nothing is told here."""
    told = Problems(model)
    ways: dict[str | None, dict[str, dict[int, Decimal]]] = {None: {}}
    fields = [field for field in entry if known.get(field, _UNREAD)[0] and entry[field] is not None]
    for field in sorted(fields, key=lambda field: _ORDER[known[field][0]]):
        base, start, way = known[field]
        price = told.price(model, field, entry[field], "unit")
        if price is not None:
            ways.setdefault(way, {}).setdefault(FIELDS[base], {}).setdefault(start, price)
    standard = ways.pop(None)
    for tier in _tiers(model, entry, told):
        start = int(tier["range"][0]) or -1
        for field, bucket in FIELDS.items():
            if field in tier and (price := told.price(model, field, tier[field], "token")) is not None:
                standard.setdefault(bucket, {})[start] = price
    grounding = entry.get("google_maps_grounding_cost_per_query")
    if grounding is not None and (price := told.price(model, "grounding", grounding, "query")) is not None:
        standard["groundings"] = {-1: price}
    sizes = _searches(model, entry.get("search_context_cost_per_query") or {}, told)
    if "medium" in sizes:
        standard["web_searches"] = {-1: sizes["medium"]}
    usual = {bucket: _steps(by_start, {}) for bucket, by_start in standard.items()}
    terms = [Terms(usual)]
    for hours, off_peak in _hours(model, entry.get("off_peak_pricing"), told):
        terms.append(Terms({**usual, **{FIELDS[field]: flat(price) for field, price in off_peak.items()}}, hours=hours))
    for size, price in sizes.items():
        terms.append(Terms({"web_searches": flat(price)}, {"search_context_size": size}))
    for way, prices in ways.items():
        if way is not None:
            steps = {bucket: _steps(by_start, standard.get(bucket, {})) for bucket, by_start in prices.items()}
            terms.append(Terms(steps, _PROCESSING[way]))
    window = entry.get("max_input_tokens")
    return Listing(
        provider, model, tuple(terms), _factors(entry), context_window=window if isinstance(window, int) else None
    )


def _steps(by_start: Mapping[int, Decimal], standard: Mapping[int, Decimal]) -> tuple[tuple[int, Decimal], ...]:
    """From the smallest size on. A price that only larger calls have is theirs alone: smaller ones pay the usual."""
    steps = dict(sorted(by_start.items()))
    if -1 not in steps:
        steps = {-1: standard.get(-1, next(iter(steps.values()))), **steps}
    return tuple(steps.items())


def _factors(entry: Mapping[str, Any]) -> dict[tuple[str, str], Decimal]:
    factors = {}
    own = entry.get("provider_specific_entry")
    for name, value in own.items() if isinstance(own, dict) else ():
        if isinstance(value, (Decimal, int)) and not isinstance(value, bool):
            fact = ("speed", name) if name in ("fast",) else ("inference_geo", name)
            factors[fact] = EXACT.create_decimal(value)
    for place in ("us", "eu"):
        value = entry.get(f"regional_processing_uplift_multiplier_{place}")
        if isinstance(value, (Decimal, int)):
            factors["inference_geo", place] = EXACT.create_decimal(value)
    return factors
