"""Spans that other instrumentations make: which of them are of a call, and how to tell a call's cost on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.telemetry.attributes import CACHE_CREATION, CACHE_WRITE, COSTS, Value

# https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/, `gen_ai.operation.name`; then those of
# OpenLIT and Logfire. Of agents, workflows and tools, which have calls below them: none.
_OPERATIONS = frozenset((
    "chat", "text_completion", "embeddings", "generate_content", "responses", "completion", "rerank",
    "image", "image_generation", "audio", "speech_to_text", "text_to_speech", "speech", "transcription",
))  # fmt: skip
_KINDS = frozenset(("LLM", "EMBEDDING", "RERANKER"))
"""Of OpenInference."""

_LARGER = "traceloop.span.kind"
"""OpenLLMetry's, of workflows, tasks, agents and tools: spans of calls do not have it."""


def is_of_a_call(span: Any) -> bool:
    """Whether another instrumentation made this span for a call of an LLM, and not for a chain or an agent."""
    present = getattr(span, "attributes", None)
    if not present:
        return False
    kind = present.get("openinference.span.kind")
    if kind is not None:
        return kind in _KINDS
    operation = present.get("gen_ai.operation.name")
    if operation is not None:
        return operation in _OPERATIONS
    if _LARGER in present:
        return False
    return any(name in present for name in ("gen_ai.request.model", "gen_ai.system", "llm.request.type"))


def is_below(span: Any, parent: Any) -> bool:
    """Whether a span began below this one, or both have none above."""
    above, around = getattr(span, "parent", None), parent.get_span_context()
    return above.span_id == around.span_id if above is not None else not around.is_valid


def told_apart(span: Any) -> str:
    """The cost that an instrumentation tells by itself after its span has ended: Logfire's of streams, as a log."""
    scope = getattr(getattr(span, "instrumentation_scope", None), "name", "")
    return "operation.cost" if scope.startswith("logfire") else ""


def add(span: Any, attributes: dict[str, Value]) -> None:
    """What is there was read by that instrumentation; the cost and whose it is, only we know."""
    present = getattr(span, "attributes", None) or {}
    told = {name: value for name, value in attributes.items() if name in COSTS or name not in present}
    ours = COSTS & attributes.keys()
    if ours:
        # Those that it wrote by itself are of the same call.
        told.update(dict.fromkeys(COSTS & set(present), attributes["operation.cost"]))
    for name, other in ((CACHE_CREATION, CACHE_WRITE), (CACHE_WRITE, CACHE_CREATION)):
        if other in present:
            told.pop(name, None)
    span.set_attributes(told)
    names = {CACHE_WRITE} if CACHE_CREATION in told else {CACHE_CREATION} if CACHE_WRITE in told else set()
    _keep(span, frozenset(names | COSTS) if ours else frozenset(names))


def _keep(span: Any, names: frozenset[str]) -> None:
    """OpenLIT, Logfire and others write a cost of their own when they end the span, over ours. One call, one cost."""
    if not names:
        return
    set_one, set_many = span.set_attribute, span.set_attributes

    def set_attribute(key: str, value: Any) -> None:
        if key not in names:
            set_one(key, value)

    def set_attributes(attributes: Mapping[str, Any]) -> None:
        set_many({key: value for key, value in attributes.items() if key not in names})

    try:
        span.set_attribute, span.set_attributes = set_attribute, set_attributes
    except AttributeError:
        return
