"""Usage as Google's APIs report it: Gemini's `usageMetadata`, Vertex AI predictions, interactions.

Read from the JSON of the REST APIs and from the models of google-genai alike, whose names are in snake case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.usage import Answer, count_of, fields, part_of

# google.cloud.aiplatform.v1: `?$alt=json;enum-encoding=int` gives numbers for names. Of the modalities only audio
# has a price of its own as input; google-genai cannot read such an answer at all.
_MODALITIES = {4: "audio"}
_TRAFFIC = {1: "on_demand", 2: "provisioned_throughput", 3: "on_demand_priority", 4: "on_demand_flex"}
_STANDARD = frozenset(("", "standard", "unspecified", "on_demand", "traffic_type_unspecified", "default"))

_PER_PROMPT = re.compile(r"gemini-(?:[12]\b|[12]\.)")
_SEARCHES = frozenset(("google_search", "google_maps", "enterprise_web_search"))


def google_usage(raw: Any) -> Usage | None:
    """Usage of Gemini's APIs (https://ai.google.dev/api/generate-content#UsageMetadata).

    Prompts of tools are input that `promptTokenCount` leaves out, thoughts are output that `candidatesTokenCount`
    leaves out; cached tokens are part of the prompt. Zeros are left out of the JSON. Documents are metered as text.
    """
    source = fields(raw)
    taken, tools, given, thoughts = (
        _told(source, name)
        for name in ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    )
    if given is None:
        given = _told(source, "responseTokenCount")  # the Live API
    counts = [0 if each is None else count_of(each) for each in (taken, tools, given, thoughts)]
    if None in counts:
        return None
    prompt, tool, answered, thought = (each or 0 for each in counts)
    if taken is None:
        total = count_of(_told(source, "totalTokenCount"))
        if total is None and given is None and thoughts is None:
            return None
        prompt = max(0, (total or 0) - tool - answered - thought)
    cached = part_of({"cached": _told(source, "cachedContentTokenCount")}, "cached", prompt)
    buckets = _input(
        prompt,
        cached,
        _modalities(_told(source, "promptTokensDetails")),
        _modalities(_told(source, "cacheTokensDetails")) if cached else {},
    )
    if tool:
        buckets["input"] = buckets.get("input", 0) + tool
    details = _told(source, "candidatesTokensDetails") or _told(source, "responseTokensDetails")
    buckets.update(_output(answered, thought, _modalities(details)))
    return Usage.trusted(buckets, thought)


def google_answer(response: Any) -> Answer:
    """generateContent, embedContent and their streams: facts at the top level."""
    source = fields(response)
    raw = _told(source, "usageMetadata")
    if raw is None and "predictions" in source:
        # Which of its two endpoints for embeddings Vertex AI is asked by changes with the version of google-genai.
        return predict_answer(source)
    model, response_id = _told(source, "modelVersion"), _told(source, "responseId")
    answer = Answer(
        None if raw is None else google_usage(raw),
        model if isinstance(model, str) and model else None,
        response_id if isinstance(response_id, str) else None,
    )
    if answer.usage is not None:
        answer.context = _tier(fields(raw))
        candidates = source.get("candidates")
        if isinstance(candidates, list):
            answer.usage.buckets.update(_groundings(candidates, answer.model))
    return answer


def predict_answer(response: Any) -> Answer:
    """Vertex AI's `:predict`: embeddings say their tokens one by one, PaLM in its metadata, Imagen gives images.

    https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api#response_body;
    Imagen is billed by the image, what its filters took out is not in the predictions.
    """
    source = fields(response)
    predictions = source.get("predictions")
    if not isinstance(predictions, list):
        return Answer()
    tokens: list[Any] = []
    images = 0
    for each in predictions:
        found = fields(each)
        statistics = fields(fields(found.get("embeddings")).get("statistics"))
        if "token_count" in statistics:
            tokens.append(count_of(statistics["token_count"]))
        elif found.get("bytesBase64Encoded") or found.get("gcsUri"):
            images += 1
    if tokens:
        counts = [each for each in tokens if each is not None]
        return Answer(Usage(input_tokens=sum(counts)) if len(counts) == len(tokens) else None)
    if images:
        return Answer(Usage(images=images))
    told = fields(fields(source.get("metadata")).get("tokenMetadata"))
    taken = count_of(fields(told.get("inputTokenCount")).get("totalTokens"))
    given = count_of(fields(told.get("outputTokenCount")).get("totalTokens"))
    return Answer(None if taken is None or given is None else Usage(input_tokens=taken, output_tokens=given))


def interaction_answer(response: Any) -> Answer:
    """Interactions (https://ai.google.dev/api/interactions-api#Resource:Usage): thoughts and prompts of tools are
    outside the totals here too. In the background the answer comes later, with a reading of it."""
    source = fields(response)
    raw = fields(source.get("usage"))
    model, response_id, status = source.get("model"), source.get("id"), source.get("status")
    answer = Answer(
        interaction_usage(raw) if raw else None,
        model.removeprefix("models/") if isinstance(model, str) else None,
        response_id if isinstance(response_id, str) else None,
    )
    state = str(getattr(status, "value", status))
    answer.pending = answer.usage is None and state in ("in_progress", "queued", "requires_action")
    answer.failed = state in ("failed", "cancelled")
    if answer.usage is not None:
        answer.context = _tier({"serviceTier": source.get("service_tier")})
        searches = 0
        for each in raw.get("grounding_tool_count") or ():
            tool = fields(each)
            if str(tool.get("type")) in _SEARCHES:
                searches += count_of(tool.get("count")) or 0
        answer.usage.buckets.update(_searched(searches, answer.model))
    return answer


def interaction_usage(raw: Mapping[str, Any]) -> Usage | None:
    totals = [raw.get(f"total_{name}_tokens") for name in ("input", "tool_use", "output", "thought")]
    counts = [0 if each is None else count_of(each) for each in totals]
    if totals[0] is None or None in counts:
        return None
    prompt, tool, answered, thought = (each or 0 for each in counts)
    cached = part_of(raw, "total_cached_tokens", prompt)
    # Images cost what text costs, and so are not told apart.
    kinds = {name: count for name, count in _modalities(raw.get("input_tokens_by_modality")).items() if name == "audio"}
    buckets = _input(prompt, cached, kinds, _modalities(raw.get("cached_tokens_by_modality")) if cached else {})
    if tool:
        buckets["input"] = buckets.get("input", 0) + tool
    buckets.update(_output(answered, thought, _modalities(raw.get("output_tokens_by_modality"))))
    return Usage.trusted(buckets, thought)


def _told(source: Mapping[str, Any], name: str) -> Any:
    value = source.get(name)
    return source.get(_snake(name)) if value is None else value


@cache
def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _modalities(details: Any) -> dict[str, int]:
    """Tokens by modality; what is unreadable is left out, and so counts as text."""
    found: dict[str, int] = {}
    for each in details if isinstance(details, list) else ():
        part = fields(each)
        modality = part.get("modality")
        name = _MODALITIES.get(modality) if type(modality) is int else str(getattr(modality, "value", modality)).lower()
        count = count_of(_told(part, "tokenCount") if "tokens" not in part else part["tokens"])
        if name and count:
            found[name] = found.get(name, 0) + count
    return found


def _input(prompt: int, cached: int, kinds: Mapping[str, int], kept: Mapping[str, int]) -> dict[str, int]:
    """The buckets of a prompt, of which `cached` tokens were read from a cache, `kept` by modality."""
    left, uncached = prompt, cached
    buckets: dict[str, int] = {}
    for name in ("audio", "image", "video"):
        count = min(kinds.get(name, 0), left)
        if not count:
            continue
        left -= count
        read = min(kept.get(name, 0), count, uncached)
        if read:
            uncached -= read
            # A video's cached frames cost what cached text costs.
            to = "cache_read" if name == "video" else f"cache_read_{name}"
            buckets[to] = buckets.get(to, 0) + read
        if count > read:
            buckets[f"input_{name}"] = count - read
    # More was cached than is text: of what, is not said.
    for name in ("image", "video", "audio"):
        over = min(uncached - left, buckets.get(f"input_{name}", 0))
        if over > 0:
            uncached -= over
            buckets[f"input_{name}"] -= over
            to = "cache_read" if name == "video" else f"cache_read_{name}"
            buckets[to] = buckets.get(to, 0) + over
    if uncached:
        buckets["cache_read"] = buckets.get("cache_read", 0) + uncached
    if left > uncached:
        buckets["input"] = left - uncached
    return {name: count for name, count in buckets.items() if count}


def _output(answered: int, thought: int, kinds: Mapping[str, int]) -> dict[str, int]:
    buckets: dict[str, int] = {}
    left = answered
    for name in ("audio", "image", "video"):
        count = min(kinds.get(name, 0), left)
        if count:
            buckets[f"output_{name}"] = count
            left -= count
    if left + thought:
        buckets["output"] = left + thought
    return buckets


def _tier(usage: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The service tier, as the Gemini API names it, or Vertex AI's type of traffic.

    https://ai.google.dev/gemini-api/docs/pricing: flex and priority have prices of their own.
    """
    for name in ("serviceTier", "trafficType"):
        told = _told(usage, name)
        text = _TRAFFIC.get(told, "") if type(told) is int else str(getattr(told, "value", told) or "").lower()
        if text not in _STANDARD and told is not None:
            return (("service_tier", text.removeprefix("on_demand_")),)
    return ()


def _groundings(candidates: list[Any], model: str | None) -> dict[str, int]:
    """Searches and other groundings that are billed beside the tokens.

    https://ai.google.dev/gemini-api/docs/google-search#pricing: Gemini 3 bills each search query, empty ones
    and repetitions left out; models before it each prompt that was grounded, however many queries it took.
    """
    queries: set[str] = set()
    maps = False
    for each in candidates:
        metadata = fields(_told(fields(each), "groundingMetadata"))
        if not metadata:
            continue
        asked = _told(metadata, "webSearchQueries")
        queries.update(query for query in (asked if isinstance(asked, list) else ()) if query and type(query) is str)
        chunks = _told(metadata, "groundingChunks")
        maps = maps or any(fields(chunk).get("maps") for chunk in (chunks if isinstance(chunks, list) else ()))
    return _searched(len(queries) or int(maps), model)


def _searched(count: int, model: str | None) -> dict[str, int]:
    if not count:
        return {}
    return {"groundings": 1} if model is not None and _PER_PROMPT.match(model) else {"web_searches": count}
