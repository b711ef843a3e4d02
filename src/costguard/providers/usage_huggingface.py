"""Usage of Hugging Face's inference: OpenAI's for chat, the server's details for text generation, else a guess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.estimate import input_tokens, likely, output_tokens, text_of
from costguard.providers.usage import Answer, count_of, fields, openai_answer

_TEXT = ("inputs", "text", "prompt")


def huggingface_answer(response: Any) -> Answer:
    """Chat, or text generation by a provider that answers as OpenAI does. TGI's own answers are a list."""
    if isinstance(response, list):
        response = response[0] if response else None
    answer = openai_answer(response)
    if answer.usage is None:
        answer.usage = _detailed(fields(response).get("details"))
    return answer


def _detailed(details: Any) -> Usage | None:
    """TGI counts the output, and the prompt too where it was asked to
    (https://huggingface.co/docs/text-generation-inference, `details` and `decoder_input_details`)."""
    source = fields(details)
    given, prompt = count_of(source.get("generated_tokens")), source.get("prefill")
    if given is None or not isinstance(prompt, list) or not prompt:
        return None
    return Usage(input_tokens=len(prompt), output_tokens=given)


def text_guess(body: Mapping[str, Any], answer: Any) -> Usage:
    """Text generation: the output as TGI counts it, or by its text; the prompt by its own."""
    first = answer[0] if isinstance(answer, list) and answer else answer
    source = fields(first)
    given = count_of(fields(source.get("details")).get("generated_tokens"))
    if given is None:
        text = source.get("generated_text")
        given = output_tokens(text_of(text if isinstance(text, str) else first))
    return Usage(input_tokens=likely(input_tokens(body)), output_tokens=given)


def embedding_guess(body: Mapping[str, Any], _answer: Any) -> Usage:
    return Usage(input_tokens=likely(input_tokens(body)))


def speech_guess(body: Mapping[str, Any], _answer: Any) -> Usage:
    for name in _TEXT:
        text = body.get(name)
        if isinstance(text, str):
            return Usage(characters=len(text))
    return Usage(requests=1)


def picture_guess(body: Mapping[str, Any], _answer: Any) -> Usage:
    parameters = body.get("parameters")
    asked = fields(parameters).get("num_images_per_prompt") or body.get("n")
    return Usage(images=asked if type(asked) is int and asked > 0 else 1)


def request_guess(_body: Mapping[str, Any], _answer: Any) -> Usage:
    """Everything else is billed by the time it takes to compute, which is not told."""
    return Usage(requests=1)
