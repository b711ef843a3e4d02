"""Langfuse's model definitions: USD per unit by usage type, for models whose name matches a regular expression.

As `GET /api/public/models` answers them ({"data": [...]}), or as in Langfuse's own list,
github.com/langfuse/langfuse/blob/main/worker/src/constants/default-model-prices.json; the fields are explained at
langfuse.com/docs/observability/features/token-and-cost-tracking. A definition with the later `startDate` comes
first, as there; the expressions are PostgreSQL's, of which Python's `re` knows what model names need.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from costguard.pricing.listing import Listing, Terms
from costguard.pricing.problems import Problems
from costguard.pricing.rates import FOREVER
from costguard.pricing.standins import REASONING
from costguard.pricing.table import Table

TYPES = {
    "input": "input", "input_tokens": "input", "input_text": "input", "input_text_tokens": "input",
    "input_modality_1": "input", "prompt_token_count": "input", "total": "input",
    "input_cached_tokens": "cache_read", "input_cache_read": "cache_read", "cache_read_input_tokens": "cache_read",
    "input_cached_text_tokens": "cache_read", "cached_content_token_count": "cache_read",
    "input_cache_creation": "cache_write_5m", "cache_creation_input_tokens": "cache_write_5m",
    "cache_write_tokens": "cache_write_5m", "input_cache_creation_5m": "cache_write_5m",
    "input_cache_creation_1h": "cache_write_1h",
    "output": "output", "output_tokens": "output", "output_text": "output", "output_text_tokens": "output",
    "output_modality_1": "output", "candidates_token_count": "output",
    "output_reasoning": REASONING, "output_reasoning_tokens": REASONING, "reasoning_tokens": REASONING,
    "thoughts_token_count": REASONING,
    "input_audio": "input_audio", "input_audio_tokens": "input_audio",
    "input_cached_audio_tokens": "cache_read_audio", "output_audio": "output_audio",
    "output_audio_tokens": "output_audio", "input_image": "input_image", "input_image_tokens": "input_image",
    "output_image": "output_image", "output_image_tokens": "output_image",
    "grounding_queries": "web_searches", "web_search_queries": "web_searches", "web_search": "web_searches",
    "web_search_requests": "web_searches",
}  # fmt: skip
"""Usage type to bucket; the first of a bucket that has a price counts. Other types, which are the caller's own
words, have no bucket and are not read."""

_UNITS = {"TOKENS", "CHARACTERS", "SECONDS", "IMAGES", "REQUESTS", "MILLISECONDS"}


def is_langfuse(data: Any) -> bool:
    entries = _entries(data)
    return isinstance(entries, list) and any(isinstance(entry, dict) and "matchPattern" in entry for entry in entries)


def read_langfuse(data: Any, problems: Problems) -> Table:
    """Check and read every definition."""
    found: list[tuple[int, re.Pattern[str], Listing]] = []
    for place, entry in enumerate(_entries(data)):
        if not isinstance(entry, dict):
            problems.add(f"definition {place + 1}", "the entry", entry, 'write {"modelName": ..., "matchPattern": ...}')
            continue
        name = str(entry.get("modelName") or f"definition {place + 1}")
        pattern = _pattern(name, entry, problems)
        start = _start(name, entry, problems)
        terms = _terms(name, entry, start, problems)
        if pattern is not None and terms:
            found.append((start, pattern, Listing("", name, terms)))
    found.sort(key=lambda each: -each[0])
    return Table({}, patterns=[(pattern, listing) for _, pattern, listing in found])


def _entries(data: Any) -> Any:
    return data.get("data") if isinstance(data, dict) else data


def _pattern(name: str, entry: Mapping[str, Any], problems: Problems) -> re.Pattern[str] | None:
    given = entry.get("matchPattern")
    reason = "it is missing"
    if isinstance(given, str) and given:
        try:
            return re.compile(given)
        except re.error as error:
            reason = f"it is no regular expression ({error})"
    problems.add(name, "matchPattern", given, f"{reason}; write (?i)^(gpt-4o)$")
    return None


def _start(name: str, entry: Mapping[str, Any], problems: Problems) -> int:
    given = entry.get("startDate") or entry.get("startTime")
    if given is None:
        return -FOREVER
    try:
        moment = datetime.fromisoformat(str(given))
    except ValueError:
        problems.add(name, "startDate", given, "write a date such as 2026-11-01T00:00:00Z")
        return -FOREVER
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 10**9


def _terms(name: str, entry: Mapping[str, Any], start: int, problems: Problems) -> tuple[Terms, ...]:
    tiers = entry.get("pricingTiers")
    if not tiers:
        prices = entry.get("prices") or {
            kind: entry[f"{kind}Price"]
            for kind in ("input", "output", "total")
            if entry.get(f"{kind}Price") is not None
        }
        tiers = [{"isDefault": True, "prices": prices}]
    if not isinstance(tiers, list) or not all(isinstance(tier, dict) for tier in tiers):
        problems.add(name, "pricingTiers", tiers, 'write [{"isDefault": true, "prices": {"input": 0.0000025}}]')
        return ()
    by_when: dict[tuple[tuple[str, str], ...], dict[str, dict[int, Decimal]]] = {}
    for place, tier in enumerate(tiers):
        label = f"{name}, tier {tier.get('name') or place + 1!r}"
        size, ways = _conditions(label, tier.get("conditions") or (), problems)
        prices = _prices(label, tier.get("prices"), problems)
        for when in ways:
            for bucket, price in prices.items():
                by_when.setdefault(when, {}).setdefault(bucket, {})[size] = price
    usual = by_when.get((), {})
    terms = []
    for when, buckets in by_when.items():
        steps = {}
        for bucket, by_size in buckets.items():
            sizes = dict(sorted(by_size.items()))
            if -1 not in sizes:
                sizes = {-1: usual.get(bucket, sizes).get(-1, next(iter(sizes.values()))), **sizes}
            steps[bucket] = tuple(sizes.items())
        terms.append(Terms(steps, dict(when), from_ns=start))
    return tuple(terms)


def _prices(label: str, given: Any, problems: Problems) -> dict[str, Decimal]:
    if not isinstance(given, dict) or not given:
        problems.add(
            label, "prices", given, 'write USD per unit by usage type: {"input": 0.0000025, "output": 0.00001}'
        )
        return {}
    found: dict[str, Decimal] = {}
    checked = {kind: problems.price(label, f"prices.{kind}", _amount(value), "unit") for kind, value in given.items()}
    for kind, bucket in TYPES.items():
        price = checked.get(kind)
        if price is not None:
            found.setdefault(bucket, price)
    if "total" in checked and "output" not in found and checked["total"] is not None:
        found["output"] = checked["total"]
    return found


def _amount(value: Any) -> Any:
    """The API answers {"input": {"price": 0.0000025}}."""
    return value.get("price") if isinstance(value, dict) and value.keys() == {"price"} else value


def _conditions(label: str, given: Any, problems: Problems) -> tuple[int, Sequence[tuple[tuple[str, str], ...]]]:
    """A tier's conditions: above how many input tokens, and in which contexts, one of which has to be the call's."""
    size = -1
    ways: list[tuple[tuple[str, str], ...]] = [()]
    for condition in given if isinstance(given, (list, tuple)) else [given]:
        facts = condition if isinstance(condition, dict) else {}
        operator, value, values = facts.get("operator"), facts.get("value"), facts.get("values")
        if "usageDetailPattern" in facts and operator in ("gt", "gte") and isinstance(value, (int, Decimal)):
            size = max(size, int(value) - (operator == "gte"))
        elif isinstance(facts.get("key"), str) and operator == "in" and isinstance(values, list) and values:
            ways = [(*way, (facts["key"], str(each).lower())) for way in ways for each in values]
        elif isinstance(facts.get("key"), str) and operator in ("eq", "equals") and value is not None:
            ways = [(*way, (facts["key"], str(value).lower())) for way in ways]
        else:
            problems.add(
                label, "conditions", condition,
                'we read {"usageDetailPattern": "input", "operator": "gt", "value": 200000} and '
                '{"key": "service_tier", "operator": "in", "values": ["flex"]}',
            )  # fmt: skip
    return size, ways
