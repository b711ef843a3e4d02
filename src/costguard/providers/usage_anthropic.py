"""Usage as Anthropic reports it. The rules for values are those of `usage.py`.

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#tracking-cache-performance:
`input_tokens` leaves out what was read from or written to the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.charged import charged
from costguard.providers.usage import MOST, STANDARD, Answer, count_of, fields, part_of


def anthropic_usage(raw: Any) -> Usage | None:
    """Input is the sum of plain, read and written tokens; output includes thinking."""
    source = fields(raw)
    taken, given = source.get("input_tokens"), source.get("output_tokens")
    read, written = source.get("cache_read_input_tokens"), source.get("cache_creation_input_tokens")
    if type(taken) is not int or type(given) is not int or not (0 <= taken < MOST and 0 <= given < MOST):
        taken, given = count_of(taken), count_of(given)
        if taken is None or given is None:
            return None
    buckets: dict[str, int] = {}
    if taken:
        buckets["input"] = taken
    if read:
        if count_of(read) is None:
            return None
        buckets["cache_read"] = read
    if written:
        if count_of(written) is None:
            return None
        # After turns of server tools the breakdown may not add up: the remainder has the usual five minutes.
        split = source.get("cache_creation")
        hour = 0 if split is None else part_of(fields(split), "ephemeral_1h_input_tokens", written)
        if hour:
            buckets["cache_write_1h"] = hour
        if written > hour:
            buckets["cache_write_5m"] = written - hour
    if given:
        buckets["output"] = given
    tools = source.get("server_tool_use")
    if tools is not None:
        searches = count_of(fields(tools).get("web_search_requests"))
        if searches:
            buckets["web_searches"] = searches
    if not buckets:
        return None
    details = source.get("output_tokens_details")
    return Usage.trusted(buckets, 0 if details is None else part_of(fields(details), "thinking_tokens", given))


def anthropic_answer(response: Any) -> Answer:
    """A message. What the price depends on stands inside its usage.

    With compaction the bill is the sum of `usage.iterations`, as the totals leave the compactions out
    (https://docs.anthropic.com/en/docs/build-with-claude/compaction); the advisor tool's iterations are
    billed at the advisor's price.
    """
    source = fields(response)
    raw = source.get("usage")
    model, response_id = source.get("model"), source.get("id")
    answer = Answer(
        None if raw is None else anthropic_usage(raw),
        model if type(model) is str else None,
        response_id if type(response_id) is str else None,
    )
    if raw is None:
        return answer
    usage = fields(raw)
    # OpenRouter and other gateways speak this protocol too.
    more = raw if type(raw) is dict else getattr(raw, "__pydantic_extra__", None)
    if more:
        answer.reported = charged(more)
    tier, speed, place = usage.get("service_tier"), usage.get("speed"), usage.get("inference_geo")
    if tier != "standard" or speed is not None or place is not None:
        answer.context = tuple(
            (name, value)
            for name, value in (("inference_geo", place), ("service_tier", tier), ("speed", speed))
            if type(value) is str and value not in STANDARD
        )
    iterations = usage.get("iterations")
    if iterations and isinstance(iterations, list):
        _add_iterations(answer, [fields(each) for each in iterations])
    return answer


def _add_iterations(answer: Answer, iterations: list[Mapping[str, Any]]) -> None:
    extra = []
    own: dict[str, int] = {}
    compacted = False
    for each in iterations:
        usage = anthropic_usage(each)
        if usage is None:
            continue
        model = each.get("model")
        if each.get("type") == "advisor_message" and type(model) is str:
            extra.append((model, usage))
            continue
        compacted = compacted or each.get("type") == "compaction"
        for name, count in usage.buckets.items():
            own[name] = own.get(name, 0) + count
    answer.extra = tuple(extra)
    if compacted and answer.usage is not None:
        searches = answer.usage.buckets.get("web_searches")
        if searches:
            own["web_searches"] = searches
        answer.usage = Usage.trusted(own, answer.usage.reasoning_tokens)
