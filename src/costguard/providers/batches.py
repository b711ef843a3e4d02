"""Batches: ordered in one request, paid for at the batch's price, and read later, by anyone and any number of times.

OpenAI tells the usage of a whole batch with every look at it (https://platform.openai.com/docs/api-reference/batch/
object); others who speak its protocol only in the file of its answers. One entry, known by the id of that file, holds
either. Anthropic tells it in each line of the results (https://docs.anthropic.com/en/api/retrieving-message-batch-
results): an entry each, known by the id of the message.
"""

from __future__ import annotations

import json
import re
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.usage import Answer, fields, openai_usage, text_in
from costguard.providers.usage_anthropic import anthropic_answer
from costguard.providers.usage_responses import responses_answer

_ENDED = frozenset(("completed", "expired", "cancelled", "failed"))
_BATCH = (("batch", "true"),)
_NAMED = re.compile(r"(?:batches|files)/([^/?]+)")


def named_in(url: str) -> str | None:
    """The id of the batch or file that a path is about."""
    found = _NAMED.search(url)
    return None if found is None else found[1]


def batch_answer(response: Any) -> Answer:
    """OpenAI's batch. Its usage is a sum, and is the last word when it has ended."""
    source = fields(response)
    answer = Answer(None, text_in(source, "model"), text_in(source, "output_file_id") or text_in(source, "id"))
    answer.context, answer.summed = _BATCH, True
    if text_in(source, "status") in _ENDED:
        answer.usage = openai_usage(source.get("usage"))
    answer.failed = source.get("status") == "failed"
    return answer


def batch_file_answer(body: Any) -> Answer:
    """The answers of a batch, a line each, as bytes; all are of one model. Any other file says nothing."""
    answer = Answer()
    answer.context, answer.summed = _BATCH, True
    buckets: dict[str, int] = {}
    reasoning = 0
    for line in body.splitlines() if isinstance(body, bytes) and b'"custom_id"' in body[:512] else ():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        inner = fields(fields(fields(told).get("response")).get("body"))
        one = responses_answer(inner)
        if one.usage is not None:
            answer.model = one.model or answer.model
            reasoning += one.usage.reasoning_tokens
            for name, count in one.usage.buckets.items():
                buckets[name] = buckets.get(name, 0) + count
    answer.usage = Usage.trusted(buckets, reasoning) if buckets else None
    return answer


def message_answer(line: Any) -> Answer:
    """One line of the results of Anthropic's batch; those that failed or expired cost nothing."""
    answer = anthropic_answer(fields(fields(fields(line).get("result")).get("message")))
    if ("service_tier", "batch") not in answer.context:
        answer.context = (*_BATCH, *answer.context)
    return answer
