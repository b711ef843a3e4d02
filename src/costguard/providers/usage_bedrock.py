"""Usage as Amazon Bedrock reports it: of Converse in one way, of InvokeModel in as many as there are makers of models.

What InvokeModel's bodies do not say stands in headers of the response, and at the end of a stream in
`amazon-bedrock-invocationMetrics`: for both, what stands in the body itself comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.estimate import input_tokens, likely, output_tokens, text_of
from costguard.providers.usage import STANDARD, Answer, count_of, fields, openai_usage, text_in
from costguard.providers.usage_anthropic import anthropic_answer

HEADERS = "x-amzn-bedrock-"
METRICS = "amazon-bedrock-invocationMetrics"

_DOCUMENTS = 100
"""Documents of one search, as Cohere's rerankers are billed (https://aws.amazon.com/bedrock/pricing)."""


def converse_answer(response: Any) -> Answer:
    """Converse, or the metadata at the end of its stream."""
    source = fields(response)
    answer = Answer(converse_usage(source.get("usage")))
    answer.context = _context(source)
    return answer


def converse_usage(raw: Any) -> Usage | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html: read and written tokens
    are outside `inputTokens`. Nova's own bodies call the cached ones `...TokenCount`."""
    source = fields(raw)
    taken, given = count_of(source.get("inputTokens")), source.get("outputTokens")
    put = 0 if given is None else count_of(given)  # embeddings put out nothing
    if taken is None or put is None:
        return None
    buckets = {"input": taken, "output": put}
    for bucket, names in (
        ("cache_read", ("cacheReadInputTokens", "cacheReadInputTokenCount")),
        ("cache_write_5m", ("cacheWriteInputTokens", "cacheWriteInputTokenCount")),
    ):
        count = next((source[name] for name in names if source.get(name) is not None), 0)
        buckets[bucket] = count_of(count) or 0
    details = source.get("cacheDetails")
    for each in details if isinstance(details, list) else ():
        part = fields(each)
        if part.get("ttl") == "1h":
            hour = min(count_of(part.get("inputTokens")) or 0, buckets["cache_write_5m"])
            buckets["cache_write_5m"] -= hour
            buckets["cache_write_1h"] = buckets.get("cache_write_1h", 0) + hour
    return Usage.trusted({name: count for name, count in buckets.items() if count})


def invoke_answer(response: Any) -> Answer:
    """InvokeModel: a parsed body, with its headers under `HEADERS`; of a stream the facts of its events."""
    source = fields(response)
    headers = fields(source.get(HEADERS))
    if "input_tokens" in fields(source.get("usage")):
        answer = anthropic_answer(source)
    else:
        answer = Answer(_of_usage(source), text_in(source, "model"), text_in(source, "id"))
    if answer.usage is None:
        answer.usage = _of_headers(headers) or _of_metrics(fields(source.get(METRICS))) or _of_counts(source)
    if answer.usage is None:
        # Titan, Nova Canvas and Stability; Stability's first ones
        images = source.get("images") or source.get("artifacts")
        answer.usage = Usage(images=len(images)) if isinstance(images, list) and images else None
    tier = headers.get("service-tier")
    answer.context = answer.context or _context({"serviceTier": {"type": tier}} if tier else source)
    return answer


def invoke_usage(body: Mapping[str, Any], answer: Any) -> Usage:
    """For an answer that says nothing: reranking by its documents, all else by its text."""
    documents = body.get("documents")
    if isinstance(documents, list) and "query" in body:
        return Usage(search_units=max(1, ceil(len(documents) / _DOCUMENTS)))
    told = fields(answer)
    results = told.get("results") or told.get("generations")
    text = [fields(each).get("outputText") or fields(each).get("text") for each in results or ()]
    written = text_of([told, *text, told.get("generation")])
    return Usage(input_tokens=likely(input_tokens(body)), output_tokens=output_tokens(written))


def _of_usage(source: Mapping[str, Any]) -> Usage | None:
    raw = fields(source.get("usage"))
    if "inputTokens" in raw:  # Nova
        return converse_usage(raw)
    if "prompt_tokens" in raw:  # OpenAI, Mistral, DeepSeek, Qwen, AI21, imported models
        return openai_usage({"completion_tokens": 0, **raw})
    return None


def _of_counts(source: Mapping[str, Any]) -> Usage | None:
    """Counts beside the answer, for where the headers are gone. Those in a stream are not the last word."""
    if "prompt_token_count" in source:  # Llama
        return _of(source["prompt_token_count"], source.get("generation_token_count"))
    if "inputTextTokenCount" in source:  # Titan
        results = source.get("results")
        counts = [count_of(fields(each).get("tokenCount")) for each in (results if isinstance(results, list) else ())]
        known = [count for count in counts if count is not None]
        return _of(source["inputTextTokenCount"], sum(known)) if len(known) == len(counts) else None
    return None


def _of_headers(headers: Mapping[str, Any]) -> Usage | None:
    """`x-amzn-bedrock-input-token-count` and its kin: numbers as text, cached tokens apart."""
    counts = {
        name: int(value)
        for name, value in headers.items()
        if name.endswith("-token-count") and isinstance(value, str) and value.isdecimal() and len(value) < 15
    }
    taken = counts.get("input-token-count")
    if taken is None:
        return None
    given = counts.get("output-token-count", 0)
    return _with_cache(
        taken, given, counts.get("cache-read-input-token-count", 0), counts.get("cache-write-input-token-count", 0)
    )


def _of_metrics(metrics: Mapping[str, Any]) -> Usage | None:
    taken, given = count_of(metrics.get("inputTokenCount")), count_of(metrics.get("outputTokenCount"))
    if taken is None or given is None:
        return None
    return _with_cache(
        taken,
        given,
        count_of(metrics.get("cacheReadInputTokenCount")) or 0,
        count_of(metrics.get("cacheWriteInputTokenCount")) or 0,
    )


def _with_cache(taken: int, given: int, read: int, written: int) -> Usage:
    return Usage(
        input_tokens=taken + read + written, output_tokens=given, cache_read_tokens=read, cache_write_tokens=written
    )


def _of(taken: Any, given: Any) -> Usage | None:
    found, put = count_of(taken), 0 if given is None else count_of(given)
    return None if found is None or put is None else Usage(input_tokens=found, output_tokens=put)


def _context(source: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What changes the price: the tier that served it, and hardware that answers sooner.

    https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html
    """
    found = []
    if fields(source.get("performanceConfig")).get("latency") == "optimized":
        found.append(("latency", "optimized"))
    tier = fields(source.get("serviceTier")).get("type")
    if isinstance(tier, str) and tier not in STANDARD:
        found.append(("service_tier", tier))
    return tuple(found)
