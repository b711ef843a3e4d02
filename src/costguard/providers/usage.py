"""Usage as providers report it, read into disjoint buckets.

Readers take a response as the SDK's own model or as parsed JSON, alike. A value that is missing, negative
or of a wrong type never raises and is never silently zero: without a readable total there is no usage at
all, and the caller of the reader estimates. An unreadable part of a readable total counts at the full price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, isfinite
from typing import Any

from costguard.events import Outcome, Status
from costguard.pricing.usage import Usage
from costguard.providers.charged import charged

_EMPTY: dict[str, Any] = {}
_new = object.__new__
MOST = 1 << 48
"""Counts from here on are noise, beyond any real call, that no store could add up."""

STANDARD = frozenset((None, "", "default", "standard", "auto", "on_demand", "not_available", "global"))


class Answer(Outcome):
    """What one response says of its cost: an outcome already, unless the call did not simply succeed.

    usage:     None when it says nothing readable
    context:   what else the price depends on, as it says; standard values are left out
    extra:     usage billed at another model's price
    reported:  nano-dollars that the provider says it charged, `extra` included
    pending:   accepted, not answered yet: usage comes with a later poll
    failed:    the provider reports that it failed
    """

    # Defaults of the class: to set them all on each answer, as `Outcome` does, would cost more than the rest.
    status: Status = "ok"
    estimated = False
    billable = True
    by_response = False
    context: tuple[tuple[str, str], ...] = ()
    extra: tuple[tuple[str, Usage], ...] = ()
    reported: int | None = None
    summed = False
    ended_ns = 0
    pending = False
    failed = False
    usage: Usage | None
    model: str | None
    response_id: str | None

    def __init__(self, usage: Usage | None = None, model: str | None = None, response_id: str | None = None) -> None:
        self.usage = usage
        self.model = model
        self.response_id = response_id


Reader = Callable[[Any], Answer]


def fields(value: Any) -> Mapping[str, Any]:
    """The fields of a model of an SDK, unknown ones included, or of a parsed JSON object; else nothing."""
    if type(value) is dict:
        return value
    try:
        extra = value.__pydantic_extra__
        own: dict[str, Any] = value.__dict__
    except AttributeError:
        return value if isinstance(value, dict) else _EMPTY
    return {**own, **extra} if extra else own


def count_of(value: Any) -> int | None:
    """A whole number of zero or more, None for anything else. A bool is an int to Python, and nonsense here;
    some gateways send 12.0."""
    if type(value) is float and isfinite(value) and value == int(value):
        value = int(value)
    return value if type(value) is int and 0 <= value < MOST else None


def part_of(source: Mapping[str, Any], name: str, most: int) -> int:
    """A part of a total, zero if it is unreadable or exceeds the total: then the rest is billed in full."""
    value = source.get(name)
    if not value:
        return 0
    found = count_of(value)
    return found if found is not None and found <= most else 0


def text_in(source: Mapping[str, Any], name: str) -> str | None:
    value = source.get(name)
    return value if type(value) is str else None


def openai_usage(raw: Any) -> Usage | None:
    """Usage of OpenAI's APIs: `prompt_tokens` or `input_tokens`, cached and audio ones inside the totals.

    https://platform.openai.com/docs/api-reference/chat/object#chat-object-usage; thread runs spell the
    details in the singular. Transcriptions report tokens or `{"type": "duration", "seconds": 7}`.
    """
    source = fields(raw)
    if "prompt_tokens" in source:
        taken, given = source["prompt_tokens"], source.get("completion_tokens")
        details, more = source.get("prompt_tokens_details"), source.get("completion_tokens_details")
    else:
        taken, given = source.get("input_tokens"), source.get("output_tokens")
        details, more = source.get("input_tokens_details"), source.get("output_tokens_details")
        if taken is None:
            return seconds_usage(source.get("seconds")) if source.get("type") == "duration" else None
    if type(taken) is not int or type(given) is not int or not (0 <= taken < MOST and 0 <= given < MOST):
        taken, given = _unusual(taken, given, source)
        if taken is None or given is None:
            return None
    if details is None or len(source) > 5:
        taken, given, details, more = _elsewhere(source, taken, given, details, more)
    buckets: dict[str, int] = {}
    parts = _EMPTY if details is None else fields(details)
    cached = parts.get("cached_tokens") if parts else None
    if parts and (parts.get("audio_tokens") or parts.get("image_tokens") or parts.get("cache_write_tokens")):
        _split_input(buckets, taken, parts)
    else:
        if cached:
            cached = cached if type(cached) is int and 0 < cached <= taken else part_of(parts, "cached_tokens", taken)
            taken -= cached
        if taken:
            buckets["input"] = taken
        if cached:
            buckets["cache_read"] = cached
    reasoning = 0
    if more is not None:
        parts = fields(more)
        reasoning = parts.get("reasoning_tokens") or 0
        if reasoning:
            if type(reasoning) is not int or not 0 < reasoning < MOST:
                reasoning = part_of(parts, "reasoning_tokens", MOST)
            # xAI's chat has them outside of the completion (https://docs.x.ai/docs/guides/reasoning), others inside.
            if reasoning > given or source.get("total_tokens") != taken + (cached or 0) + given:
                given, reasoning = _reasoned(source, buckets, given, reasoning)
        if parts.get("audio_tokens") or parts.get("image_tokens"):
            audio = part_of(parts, "audio_tokens", given)
            image = part_of(parts, "image_tokens", given - audio)
            if audio:
                buckets["output_audio"] = audio
            if image:
                buckets["output_image"] = image
            given -= audio + image
    if given:
        buckets["output"] = given
    # A call that consumed nothing at all has not been reported: some gateways fill in zeros.
    if not buckets:
        return None
    usage = _new(Usage)
    usage.buckets = buckets
    usage.reasoning_tokens = reasoning
    return usage


def _reasoned(source: Mapping[str, Any], buckets: dict[str, int], given: int, reasoning: int) -> tuple[int, int]:
    """Output and reasoning, where the total does not say that one is part of the other."""
    if source.get("total_tokens") == sum(buckets.values()) + given + reasoning:
        return given + reasoning, reasoning
    return given, reasoning if reasoning <= given else 0


def _unusual(taken: Any, given: Any, source: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Counts that are no plain integers, and those of embeddings, which have a prompt and a total only."""
    if given is None and "completion_tokens" not in source and "output_tokens" not in source:
        given = 0
    return count_of(taken), count_of(given)


_CACHED = ("num_cached_tokens", "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
"""Where Mistral, DeepSeek, Together and Moonshot, and gateways to Anthropic tell of cached tokens."""


def _elsewhere(
    source: Mapping[str, Any], taken: int, given: int, details: Any, more: Any
) -> tuple[int, int, Mapping[str, Any] | None, Any]:
    """What some say in other places than OpenAI: input, output and their details."""
    parts = fields(details or source.get("prompt_token_details") or source.get("input_token_details"))
    more = more or source.get("output_token_details")
    found: dict[str, Any] = {}
    if not parts.get("cached_tokens"):
        told = [source[name] for name in _CACHED if source.get(name)]
        found = {"cached_tokens": told[0]} if told else {}
    if source.get("cache_creation_input_tokens") and not parts.get("cache_write_tokens"):
        found["cache_write_tokens"] = source["cache_creation_input_tokens"]
    total = count_of(source.get("total_tokens"))
    if total is not None and total > taken + given:
        audio = part_of(parts, "audio_tokens", MOST)
        if "prompt_audio_seconds" in source and total == taken + given + audio:
            # Mistral's audio is outside of the prompt.
            taken += audio
        elif not parts and more is None and source.get("completion_tokens") is not None:
            # Gemini behind OpenAI's protocol: its thoughts stand in the total alone, and are billed as output.
            more = {"reasoning_tokens": total - taken - given}
    return taken, given, {**parts, **found} if found else parts, more


def _split_input(buckets: dict[str, int], total: int, details: Mapping[str, Any]) -> None:
    cached = part_of(details, "cached_tokens", total)
    written = part_of(details, "cache_write_tokens", total - cached)
    audio = part_of(details, "audio_tokens", total)
    image = part_of(details, "image_tokens", total - audio)
    if not (audio or image):
        plain = total - cached - written
        if plain:
            buckets["input"] = plain
        if cached:
            buckets["cache_read"] = cached
        if written:
            buckets["cache_write_5m"] = written
        return
    # Cached tokens may be audio or image ones; by how many is not said, except where they would not fit else.
    split = fields(details.get("cached_tokens_details"))
    cached_audio = part_of(split, "audio_tokens", min(audio, cached))
    cached_image = part_of(split, "image_tokens", min(image, cached - cached_audio))
    over = cached + written + audio + image - cached_audio - cached_image - total
    if over > 0:
        more = min(over, image - cached_image, cached - cached_audio - cached_image)
        cached_image += more
        cached_audio += min(over - more, audio - cached_audio, cached - cached_audio - cached_image)
    plain = total - written - audio - image - (cached - cached_audio - cached_image)
    if plain < 0:
        written, plain = 0, max(0, plain + written)
    found = {
        "input": plain,
        "cache_read": cached - cached_audio - cached_image,
        "cache_write_5m": written,
        "input_audio": audio - cached_audio,
        "cache_read_audio": cached_audio,
        "input_image": image - cached_image,
        "cache_read_image": cached_image,
    }
    buckets.update({name: count for name, count in found.items() if count > 0})


def seconds_usage(value: Any) -> Usage | None:
    """Audio billed by its length; a started second counts. Whisper gives the length as a string."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    if isinstance(value, bool) or not 0 < seconds < 1e9:
        return None
    return Usage.trusted({"seconds": ceil(seconds)})


def openai_answer(response: Any) -> Answer:
    """Chat completions, completions, embeddings, transcriptions, images: facts at the top level."""
    source = fields(response)
    raw = source.get("usage")
    model, response_id = source.get("model"), source.get("id")
    answer = Answer(
        None if raw is None else openai_usage(raw),
        model if type(model) is str else None,
        response_id if type(response_id) is str else None,
    )
    tier = source.get("service_tier")
    if type(tier) is str and tier not in STANDARD:
        answer.context = (("service_tier", tier),)
    if raw is not None:
        # What is no part of an SDK's own model, of which parsed JSON knows nothing.
        more = raw if type(raw) is dict else getattr(raw, "__pydantic_extra__", None)
        if more:
            answer.reported = charged(more)
    else:
        # Groq puts the usage of a stream into an object of its own.
        inner = fields(source.get("x_groq")).get("usage")
        if inner is not None:
            answer.usage = openai_usage(inner)
    return answer


def embedding_answer(response: Any) -> Answer:
    """Embeddings and reranking: all tokens are input; some say nothing but the total, or count searches."""
    answer = openai_answer(response)
    if answer.usage is None:
        usage = fields(fields(response).get("usage"))
        found = {"input": count_of(usage.get("total_tokens")), "search_units": count_of(usage.get("search_units"))}
        buckets = {name: count for name, count in found.items() if count}
        answer.usage = Usage.trusted(buckets) if buckets else None
    return answer


def is_final(event: Mapping[str, Any], *, merged: bool) -> bool:
    """Whether usage in this event of a stream is the last word: some report it in every event, as it grows."""
    if merged:
        delta = event.get("delta")
        return isinstance(delta, dict) and bool(delta.get("stop_reason"))
    choices = event.get("choices")
    if not choices or not isinstance(choices, list):
        return True
    return any(fields(choice).get("finish_reason") for choice in choices)
