"""What Google's answers do not say of their cost, guessed from the request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.estimate import input_tokens, likely, output_tokens
from costguard.providers.usage import count_of, fields

_VIDEO_SECONDS = 8
"""The length of a Veo video where none is asked for (https://ai.google.dev/gemini-api/docs/video)."""


def content_usage(body: Mapping[str, Any], answer: Any) -> Usage:
    """Of contents without usage: by their text and the arguments of their function calls."""
    written = 0
    candidates = fields(answer).get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        parts = fields(fields(candidate).get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            told = fields(part)
            for said in (told.get("text"), told.get("functionCall")):
                text = said if isinstance(said, str) else json.dumps(said, default=str) if said else ""
                written += len(text.encode("utf-8", "replace"))
    return Usage(input_tokens=likely(input_tokens(body)), output_tokens=output_tokens(written))


def cache_usage(body: Mapping[str, Any], answer: Any) -> Usage:
    """A cache that is made is billed once as input, and its tokens by the hour, which no price list has.

    https://cloud.google.com/vertex-ai/generative-ai/docs/context-cache/context-cache-overview: the answer says how
    many tokens it holds; an estimate all the same, for the storage is not in it.
    """
    metadata = fields(fields(answer).get("usageMetadata"))
    told = count_of(metadata.get("totalTokenCount"))
    return Usage(input_tokens=likely(input_tokens(body)) if told is None else told)


def video_usage(body: Mapping[str, Any], _answer: Any) -> Usage:
    """Videos are billed by the second; the answer is an operation that says nothing of them."""
    given = body.get("parameters")
    parameters = given if isinstance(given, dict) else {}
    seconds = count_of(parameters.get("durationSeconds")) or _VIDEO_SECONDS
    return Usage(seconds=seconds * (count_of(parameters.get("sampleCount")) or 1))
