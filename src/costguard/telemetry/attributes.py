"""An entry in the words of OpenTelemetry's GenAI conventions, of OpenInference, and of the backends that read cost.

What each backend reads, in November 2026: Langfuse `gen_ai.usage.cost`, then `llm.cost.total`; Logfire
`operation.cost` and `gen_ai.system`; Phoenix token counts. Two of them misread the newest convention names (Langfuse
counts `gen_ai.usage.cache_write.input_tokens` a second time and takes `gen_ai.usage.cost.amount` for a kind of token),
so that those are only written where `OTEL_SEMCONV_STABILITY_OPT_IN` asks for them, and never beside the older ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from costguard.events import Entry
from costguard.tags import Tags
from costguard.telemetry.text import sendable
from costguard.telemetry.tokens import tokens_of

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

_COSTS = ("gen_ai.usage.cost", "llm.cost.total", "operation.cost")

CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens"
CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
"""The newest name of the one above. A backend that finds both counts these tokens twice."""

# https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
_OPENINFERENCE_PARTS = (
    "llm.token_count.prompt_details.cache_read",
    "llm.token_count.prompt_details.cache_write",
    "llm.token_count.completion_details.reasoning",
)

_OPENINFERENCE_KINDS = {"embeddings": "EMBEDDING", "rerank": "RERANKER"}

_TAGS = (
    ("user", "user.id"), ("session", "session.id"), ("environment", "deployment.environment.name"),
    ("feature", "costguard.feature"), ("route", "costguard.route"),
)  # fmt: skip

_MOST_KNOWN = 1000

_WITH_COST = ("costguard.", "user.id", "session.id", "deployment.environment.name", *COSTS)


def is_a_call(entry: Entry) -> bool:
    """Whether an entry tells how a call ended, and not what became of its hold or what was corrected later.

    One that is `pending` is told of when its answer is read; until then its cost is a guess.
    """
    if entry.status in ("lost", "pending", "adjusted") or entry.operation == "lease":
        return False
    return entry.attempts > 0 or bool(entry.usage.buckets)


OTHER_ERROR = "_OTHER"
"""`error.type` where no class of errors is known (https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/)."""


def operation_of(entry: Entry) -> str:
    """`gen_ai.operation.name`: "chat", "text_completion", "embeddings", else our own word."""
    return _OPERATIONS.get(entry.operation, entry.operation)


def provider_of(entry: Entry) -> str:
    """`gen_ai.provider.name`, such as "openai" or "aws.bedrock"."""
    return _PROVIDERS.get(entry.provider, entry.provider)


class SpanAttributes:
    """The attributes of the spans of calls.

    hide:   what is told of a user's id
    newest: the newest convention names for cached tokens and cost, instead of the ones before
    openinference: the OpenInference names too
    """

    def __init__(self, *, hide: Hide, newest: bool = False, openinference: bool = False) -> None:
        self._hide = hide
        self._newest = newest
        self._openinference = openinference
        self._written = CACHE_WRITE if newest else CACHE_CREATION
        self._costs = ("gen_ai.usage.cost.amount", "operation.cost") if newest else _COSTS
        # Who asks which model for whom is much the same from one call to the next.
        self._known: dict[tuple[str, str, str, str], dict[str, Value]] = {}
        self._tags: dict[Tags, dict[str, Value]] = {}

    def of(self, entry: Entry, asked: str) -> dict[str, Value]:
        """asked: the model that the app asked for, as it is `sendable`; the entry has the one that answered"""
        model = sendable(entry.model)
        key = (entry.provider, entry.operation, asked, model)
        same = self._known.get(key)
        if same is None:
            same = _kept(self._known, key, self._of_model(entry, asked, model))
        tags = self._tags.get(entry.tags)
        if tags is None:
            tags = _kept(self._tags, entry.tags, self._of_tags(entry.tags))
        given, answered, read, written, reasoned = tokens_of(entry.usage)
        found = {
            **same,
            "gen_ai.usage.input_tokens": given,
            "gen_ai.usage.output_tokens": answered,
            "costguard.status": entry.status,
            "costguard.call_id": entry.call_id,
            **tags,
        }
        if entry.response_id is not None:
            found["gen_ai.response.id"] = sendable(entry.response_id)
        if read:
            found[CACHE_READ] = read
        if written:
            found[self._written] = written
        if reasoned and self._newest:
            found["gen_ai.usage.reasoning.output_tokens"] = reasoned
        nanos = entry.nanos
        if nanos is not None:
            # Attributes have no decimal type; the ledger keeps the exact amount, of which this is the nearest float.
            cost = nanos / 1e9
            for name in self._costs:
                found[name] = cost
            if self._newest:
                found["gen_ai.usage.cost.currency"] = entry.currency
        else:
            found["costguard.unpriced"] = True
        if entry.estimated:
            found["costguard.estimated"] = True
        if entry.status == "error":
            found["error.type"] = OTHER_ERROR
        if self._openinference:
            found["llm.token_count.prompt"] = given
            found["llm.token_count.completion"] = answered
            found["llm.token_count.total"] = given + answered
            parts = zip(_OPENINFERENCE_PARTS, (read, written, reasoned), strict=True)
            found |= {name: count for name, count in parts if count}
        return found

    def of_cost(self, entry: Entry, asked: str) -> dict[str, Value]:
        """Those of them that no other instrumentation knows: for a span beside one that has the rest."""
        return {name: value for name, value in self.of(entry, asked).items() if name.startswith(_WITH_COST)}

    def _of_model(self, entry: Entry, asked: str, model: str) -> dict[str, Value]:
        found: dict[str, Value] = {
            "gen_ai.operation.name": operation_of(entry),
            "gen_ai.provider.name": provider_of(entry),
            "gen_ai.system": _SYSTEMS.get(entry.provider, entry.provider),
            "gen_ai.request.model": asked,
            "gen_ai.response.model": model,
        }
        if self._openinference:
            found["openinference.span.kind"] = _OPENINFERENCE_KINDS.get(entry.operation, "LLM")
            found["llm.provider"] = entry.provider
            found["llm.model_name"] = model or asked
        return found

    def _of_tags(self, tags: Tags) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for tag, name in _TAGS:
            value = tags.get(tag)
            if tag == "user" and value is not None:
                value = self._hide(value)
            if value is not None:
                found[name] = value
        return found


K = TypeVar("K")


def _kept(known: dict[K, dict[str, Value]], key: K, found: dict[str, Value]) -> dict[str, Value]:
    """Names of models and users may be without end: then all are worked out anew."""
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[key] = found
    return found


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
