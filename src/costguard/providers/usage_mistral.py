"""Usage as Mistral reports it: audio and connectors stand beside the prompt, not in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.usage import STANDARD, Answer, count_of, fields, part_of, seconds_usage, text_in

_CONNECTORS = {
    "web_search": "web_searches",
    "web_search_premium": "web_searches",
    "code_interpreter": "code_executions",
    "document_library": "file_searches",
    "image_generation": "images",
}


def mistral_usage(raw: Any) -> Usage | None:
    """Usage of chat, FIM, agents, embeddings, transcriptions and conversations.

    Audio tokens are outside `prompt_tokens` (the total says so: 9 + 375 + 201 = 585), and audio is billed by the
    second, `prompt_audio_seconds` (https://mistral.ai/pricing). Cached tokens are in the prompt, in
    `prompt_tokens_details` or in Mistral's own `num_cached_tokens`. What connectors put in is outside the prompt too
    (https://docs.mistral.ai/agents/connectors/websearch: 188 + 7112 + 55 = 7355).
    """
    source = fields(raw)
    taken, given = source.get("prompt_tokens"), source.get("completion_tokens")
    if taken is None and given is None:
        return seconds_usage(source.get("prompt_audio_seconds"))
    taken, given = count_of(taken), count_of(0 if given is None else given)
    if taken is None or given is None:
        return None
    details = fields(source.get("prompt_tokens_details") or source.get("prompt_token_details"))
    audio = count_of(details.get("audio_tokens")) or 0
    if audio and audio <= taken and count_of(source.get("total_tokens")) == taken + given:
        taken -= audio
    cached = part_of(details, "cached_tokens", taken) or part_of(source, "num_cached_tokens", taken)
    more = fields(source.get("completion_tokens_details"))
    found = {
        "input": taken - cached + (count_of(source.get("connector_tokens")) or 0),
        "cache_read": cached,
        "input_audio": audio,
        "output": given,
        "seconds": count_of(source.get("prompt_audio_seconds")) or 0,
    }
    for name, count in fields(source.get("connectors")).items():
        bucket = _CONNECTORS.get(name)
        if bucket is not None:
            found[bucket] = found.get(bucket, 0) + (count_of(count) or 0)
    buckets = {name: count for name, count in found.items() if count}
    # A call that consumed nothing at all has not been reported.
    return Usage.trusted(buckets, part_of(more, "reasoning_tokens", given)) if buckets else None


def mistral_answer(response: Any) -> Answer:
    """Any answer with a `usage`; the tier is inside it. A conversation names its model in each output."""
    source = fields(response)
    raw = source.get("usage")
    answer = Answer(
        None if raw is None else mistral_usage(raw),
        text_in(source, "model") or _model_of(source.get("outputs")),
        text_in(source, "id"),
    )
    tier = text_in(fields(raw), "service_tier") or text_in(source, "service_tier")
    if tier is not None and tier not in STANDARD:
        answer.context = (("service_tier", tier),)
    return answer


def ocr_answer(response: Any) -> Answer:
    """OCR is billed by the page; pages that are annotated too cost more, which the answer does not count apart."""
    source = fields(response)
    pages = count_of(fields(source.get("usage_info")).get("pages_processed"))
    answer = Answer(Usage.trusted({"pages": pages}) if pages else None, text_in(source, "model"))
    if source.get("document_annotation"):
        answer.context = (("annotated", "true"),)
    return answer


def speech_guess(body: Mapping[str, Any], _answer: Any) -> Usage:
    """Speech is billed by the character of its text and reports nothing."""
    text = body.get("input")
    return Usage(characters=len(text) if isinstance(text, str) else 0)


def pages_guess(_body: Mapping[str, Any], answer: Any) -> Usage:
    pages = fields(answer).get("pages")
    return Usage(pages=len(pages) if isinstance(pages, list) and pages else 1)


def _model_of(outputs: Any) -> str | None:
    for output in outputs if isinstance(outputs, list) else ():
        model = text_in(fields(output), "model")
        if model:
            return model
    return None
