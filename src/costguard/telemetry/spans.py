"""The one span of each call: that of another instrumentation if there is one, else one of our own."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary, ref

from costguard.call import Call
from costguard.telemetry.attributes import COSTS, Value, of_cost

_OPERATIONS = frozenset(("chat", "text_completion", "embeddings", "generate_content", "responses"))
_KINDS = frozenset(("LLM", "EMBEDDING"))
_MOST_INSIDE = 8


class Begun:
    """What is kept of a call's beginning, until it is settled: by then the context belongs to whoever reads the stream.

    around: the span that was current
    theirs: the same, if another instrumentation made it for this call
    inside: spans that began since, in this call's context
    over:   it was settled; some context may still think that it goes on
    """

    __slots__ = ("around", "inside", "over", "theirs")

    def __init__(self, around: Any, theirs: Any) -> None:
        self.around = around
        self.theirs = theirs
        self.inside: list[Any] = []
        self.over = False


_begun: ContextVar[Begun | None] = ContextVar("costguard_begun", default=None)
_latest: ContextVar[Any] = ContextVar("costguard_latest_span", default=None)
"""A weak reference to the span that began last in this context. Some are made for a call and never made current."""


class Spans:
    """tracer_provider: OpenTelemetry's global one if None"""

    def __init__(self, tracer_provider: Any) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._given = tracer_provider
        self._tracer = trace.get_tracer("costguard", tracer_provider=tracer_provider)
        self._watching: Any = None
        # Those that have a call already: a second call below the same one gets a span of its own.
        self._taken: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    def begin(self, call: Call) -> None:
        """In the context of the app."""
        provider = self._given or self._trace.get_tracer_provider()
        if provider is not self._watching:
            self._watch(provider)
        around = self._trace.get_current_span()
        theirs: Any = around
        if not self._free(theirs):
            latest = _latest.get()
            theirs = None if latest is None else latest()
            if theirs is None or not (_below(theirs, around) and self._free(theirs)):
                theirs = None
        if theirs is not None:
            self._taken[theirs] = True
        begun = call.span = Begun(around, theirs)
        _begun.set(begun)

    def _free(self, span: Any) -> bool:
        return span.is_recording() and is_of_a_call(span) and span not in self._taken

    def forget(self, call: Call) -> Begun | None:
        """The call is over; what began it."""
        begun, call.span = call.span, None
        if not isinstance(begun, Begun):
            return None
        begun.over = True
        if _begun.get() is begun:
            _begun.set(None)
        return begun

    def end(
        self, call: Call | None, name: str, begin_ns: int, end_ns: int, *, failed: bool,
        attributes: Callable[[], dict[str, Value]],
    ) -> None:  # fmt: skip
        """Tell the attributes of a call that was settled, on one span."""
        begun = None if call is None else self.forget(call)
        around, found, without = None, False, ""
        if begun is not None:
            around = begun.around
            theirs = begun.theirs
            if theirs is None:
                theirs = next((each for each in begun.inside if is_of_a_call(each)), None)
            begun.inside = []
            begun.around = begun.theirs = None
            if theirs is not None and theirs.is_recording():
                _add(theirs, attributes())
                return
            if theirs is not None:
                # It ended before the stream did. It has the tokens; a second span with them would count them twice.
                around, found = theirs, True
                if COSTS & set(getattr(theirs, "attributes", None) or ()):
                    return
                without = _told_apart(theirs)
        context = None if around is None else self._trace.set_span_in_context(around)
        own = self._tracer.start_span(
            "costguard.cost" if found else name, context=context, start_time=begin_ns,
            kind=self._trace.SpanKind.INTERNAL if found else self._trace.SpanKind.CLIENT,
        )  # fmt: skip
        if own.is_recording():
            told = of_cost(attributes()) if found else attributes()
            told.pop(without, None)
            own.set_attributes(told)
            if failed:
                own.set_status(self._trace.StatusCode.ERROR)
        own.end(end_time=end_ns)

    def _watch(self, provider: Any) -> None:
        """Hear of the spans that begin inside of calls. Only the SDK's provider tells; others are done without."""
        self._watching = provider
        if not hasattr(provider, "add_span_processor"):
            return
        from opentelemetry.sdk.trace import SpanProcessor

        class Inside(SpanProcessor):
            def on_start(self, span: Any, parent_context: Any = None) -> None:
                _latest.set(ref(span))
                begun = _begun.get()
                if begun is not None and not begun.over and len(begun.inside) < _MOST_INSIDE:
                    begun.inside.append(span)

        provider.add_span_processor(Inside())


def is_of_a_call(span: Any) -> bool:
    """Whether another instrumentation made this span for a call of an LLM, and not for a chain or an agent."""
    present = getattr(span, "attributes", None) or {}
    kind = present.get("openinference.span.kind")
    if kind is not None:
        return kind in _KINDS
    operation = present.get("gen_ai.operation.name")
    if operation is not None:
        return operation in _OPERATIONS
    return any(name in present for name in ("gen_ai.request.model", "gen_ai.system", "llm.request.type"))


def _below(span: Any, parent: Any) -> bool:
    """Whether a span began below this one, or both have none above."""
    above, around = getattr(span, "parent", None), parent.get_span_context()
    return above.span_id == around.span_id if above is not None else not around.is_valid


def _told_apart(span: Any) -> str:
    """The cost that an instrumentation tells by itself after its span has ended: Logfire's of streams, as a log."""
    scope = getattr(getattr(span, "instrumentation_scope", None), "name", "")
    return "operation.cost" if scope.startswith("logfire") else ""


def _add(span: Any, attributes: dict[str, Value]) -> None:
    """What is there was read by that instrumentation; the cost and whose it is, only we know."""
    present = getattr(span, "attributes", None) or {}
    span.set_attributes({name: value for name, value in attributes.items() if name in COSTS or name not in present})
    ours = COSTS & attributes.keys()
    if ours:
        _keep(span, ours)


def _keep(span: Any, names: frozenset[str]) -> None:
    """OpenLIT, Logfire and others write a cost of their own when they end the span, over ours. One call, one cost."""
    set_one, set_many = span.set_attribute, span.set_attributes

    def set_attribute(key: str, value: Any) -> None:
        if key not in names:
            set_one(key, value)

    def set_attributes(attributes: Any) -> None:
        set_many({key: value for key, value in attributes.items() if key not in names})

    try:
        span.set_attribute, span.set_attributes = set_attribute, set_attributes
    except AttributeError:
        return
