"""An entry in the words of OpenTelemetry's GenAI conventions, of OpenInference, and of the backends that read cost.

What each backend reads, in November 2026: Langfuse `gen_ai.usage.cost`, then `llm.cost.total`; Logfire
`operation.cost` and `gen_ai.system`; Phoenix token counts. Two of them misread the newest convention names (Langfuse
counts `gen_ai.usage.cache_write.input_tokens` a second time and takes `gen_ai.usage.cost.amount` for a kind of token),
so that those are only written where `OTEL_SEMCONV_STABILITY_OPT_IN` asks for them, and never beside the older ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from costguard.events import Entry

Value: TypeAlias = str | int | float | bool
Hide: TypeAlias = Callable[[str], str | None]
"""What is told of a user's id: itself, a hash of it, or nothing."""

_OPERATIONS = {"responses": "chat", "interactions": "chat", "completions": "text_completion"}

# https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/, `gen_ai.provider.name`
_PROVIDERS = {
    "azure": "azure.ai.openai", "bedrock": "aws.bedrock", "google": "gcp.gemini", "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai", "xai": "x_ai",
}  # fmt: skip
# `gen_ai.system`: the same before 1.37 of the conventions, which older backends read.
_SYSTEMS = {**_PROVIDERS, "azure": "az.ai.openai", "xai": "xai"}

COSTS = frozenset(("gen_ai.usage.cost", "gen_ai.usage.cost.amount", "llm.cost.total", "operation.cost"))
"""Of these a call has one value. Backends add up what they find, on the spans of a trace too."""

_WITH_COST = ("costguard.", "user.id", "session.id", "deployment.environment.name", *COSTS)


def is_a_call(entry: Entry) -> bool:
    """Whether an entry tells how a call ended, and not what became of its hold or what was corrected later.

    One that is `pending` is told of when its answer is read; until then its cost is a guess.
    """
    if entry.status in ("lost", "pending", "adjusted") or entry.operation == "lease":
        return False
    return entry.attempts > 0 or bool(entry.usage.buckets)


def of_cost(attributes: dict[str, Value]) -> dict[str, Value]:
    """Those of them that no other instrumentation knows: for a span beside one that has the rest."""
    return {name: value for name, value in attributes.items() if name.startswith(_WITH_COST)}


OTHER_ERROR = "_OTHER"
"""`error.type` where no class of errors is known (https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/)."""


def operation_of(entry: Entry) -> str:
    """`gen_ai.operation.name`: "chat", "text_completion", "embeddings", else our own word."""
    return _OPERATIONS.get(entry.operation, entry.operation)


def provider_of(entry: Entry) -> str:
    """`gen_ai.provider.name`, such as "openai" or "aws.bedrock"."""
    return _PROVIDERS.get(entry.provider, entry.provider)


def of_span(
    entry: Entry, asked: str, *, hide: Hide, newest: bool = False, openinference: bool = False
) -> dict[str, Value]:
    """The attributes of the span of one call.

    asked:  the model that the app asked for; the entry has the one that answered
    newest: the newest convention names for cached tokens and cost, instead of the ones before
    """
    usage, tags = entry.usage, entry.tags
    provider = provider_of(entry)
    found: dict[str, Value] = {
        "gen_ai.operation.name": operation_of(entry),
        "gen_ai.provider.name": provider,
        "gen_ai.system": _SYSTEMS.get(entry.provider, entry.provider),
        "gen_ai.request.model": asked,
        "gen_ai.response.model": entry.model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "costguard.status": entry.status,
        "costguard.call_id": entry.call_id,
    }
    if entry.response_id is not None:
        found["gen_ai.response.id"] = entry.response_id
    written = "gen_ai.usage.cache_write.input_tokens" if newest else "gen_ai.usage.cache_creation.input_tokens"
    parts = {"gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens, written: usage.cache_write_tokens}
    if newest:
        parts["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    found |= {name: count for name, count in parts.items() if count}
    if entry.nanos is not None:
        # Attributes have no decimal type; the ledger keeps the exact amount, of which this is the nearest float.
        cost = entry.nanos / 1e9
        names = ("gen_ai.usage.cost.amount",) if newest else ("gen_ai.usage.cost", "llm.cost.total")
        found |= dict.fromkeys((*names, "operation.cost"), cost)
        if newest:
            found["gen_ai.usage.cost.currency"] = entry.currency
    else:
        found["costguard.unpriced"] = True
    if entry.estimated:
        found["costguard.estimated"] = True
    if entry.status == "error":
        found["error.type"] = OTHER_ERROR
    for tag, name in (
        ("user", "user.id"), ("session", "session.id"), ("environment", "deployment.environment.name"),
        ("feature", "costguard.feature"), ("route", "costguard.route"),
    ):  # fmt: skip
        value = tags.get(tag)
        if tag == "user" and value is not None:
            value = hide(value)
        if value is not None:
            found[name] = value
    if openinference:
        found |= _openinference(entry, asked)
    return found


def _openinference(entry: Entry, asked: str) -> dict[str, Value]:
    """https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md"""
    usage = entry.usage
    found: dict[str, Value] = {
        "openinference.span.kind": "EMBEDDING" if entry.operation == "embeddings" else "LLM",
        "llm.provider": entry.provider,
        "llm.model_name": entry.model or asked,
        "llm.token_count.prompt": usage.input_tokens,
        "llm.token_count.completion": usage.output_tokens,
        "llm.token_count.total": usage.input_tokens + usage.output_tokens,
    }
    parts = {
        "llm.token_count.prompt_details.cache_read": usage.cache_read_tokens,
        "llm.token_count.prompt_details.cache_write": usage.cache_write_tokens,
        "llm.token_count.completion_details.reasoning": usage.reasoning_tokens,
    }
    return found | {name: count for name, count in parts.items() if count}


def of_metric(entry: Entry, asked: str) -> dict[str, Value]:
    """The attributes of a measurement: never a user or a session."""
    found: dict[str, Value] = {
        "gen_ai.operation.name": operation_of(entry),
        "gen_ai.provider.name": provider_of(entry),
        "gen_ai.request.model": asked,
        "gen_ai.response.model": entry.model,
    }
    for tag, name in (("feature", "costguard.feature"), ("environment", "deployment.environment.name")):
        value = entry.tags.get(tag)
        if value is not None:
            found[name] = value
    if entry.status == "error":
        found["error.type"] = OTHER_ERROR
    return found
