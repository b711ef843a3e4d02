"""The one span of each call: that of another instrumentation if there is one, else one of our own."""

from __future__ import annotations

from contextvars import ContextVar
from threading import local
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from costguard.call import Call
from costguard.events import Entry
from costguard.telemetry.attributes import COSTS, SpanAttributes, operation_of
from costguard.telemetry.theirs import add, is_below, is_of_a_call, told_apart

_MOST_INSIDE = 8

SCOPE = "costguard"


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

_watched: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""Providers that tell of the spans that begin, by their ids: once each, however many guards there are."""


class Spans:
    """attributes: what a span is told; tracer_provider: OpenTelemetry's global one if None"""

    def __init__(self, tracer_provider: Any, attributes: SpanAttributes) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._attributes = attributes
        self._given = tracer_provider
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._watching: Any = None
        self._silent = False
        # Those that have a call already: a second call below the same one gets a span of its own.
        self._taken: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._last = local()

    def begin(self, call: Call) -> None:
        """In the context of the app."""
        provider = self._given or self._trace.get_tracer_provider()
        if provider is not self._watching:
            self._watch(provider)
        around = self._trace.get_current_span()
        if self._silent and around is self._trace.INVALID_SPAN:
            return
        theirs: Any = around
        if not self._free(theirs):
            latest = _latest.get()
            theirs = None if latest is None else latest()
            if theirs is None or not (is_below(theirs, around) and self._free(theirs)):
                theirs = None
        if theirs is not None:
            self._taken[theirs] = True
        begun = call.span = Begun(around, theirs)
        _begun.set(begun)

    def _free(self, span: Any) -> bool:
        return span.is_recording() and is_of_a_call(span) and span not in self._taken

    def drop(self, call: Call) -> None:
        """A call that was refused, or is not made. The span that was there for it may have another one instead."""
        begun = call.span
        if not isinstance(begun, Begun):
            return
        if begun.theirs is not None:
            self._taken.pop(begun.theirs, None)
        # What began it is kept: where the store was away, it is settled later.
        _over(begun)

    def _forget(self, call: Call) -> Begun | None:
        """What began it."""
        begun, call.span = call.span, None
        if not isinstance(begun, Begun):
            return None
        _over(begun)
        return begun

    def end(self, call: Call | None, entry: Entry, asked: str) -> None:
        """Tell how a call was settled, on one span. asked: the model that the app asked for"""
        begun = None if call is None else self._forget(call)
        around, found, without = None, False, ""
        if begun is not None:
            around = begun.around
            theirs = begun.theirs or self._inside(begun)
            begun.inside = []
            begun.around = begun.theirs = None
            if theirs is not None and theirs.is_recording():
                self._last.told = (entry.at_ns, theirs)
                add(theirs, self._attributes.of(entry, asked))
                return
            if theirs is not None:
                # It ended before the stream did. It has the tokens; a second span with them would count them twice.
                around, found = theirs, True
                if COSTS & set(getattr(theirs, "attributes", None) or ()):
                    return
                without = told_apart(theirs)
        elif not entry.attempts:
            # Billed beside a call at another model's price, and settled right after it by the same thread.
            at_ns, around = getattr(self._last, "told", (0, None))
            around = around if at_ns == entry.at_ns else None
        if self._silent:
            return
        told = self._attributes.of_cost(entry, asked) if found else self._attributes.of(entry, asked)
        told.pop(without, None)
        kinds = self._trace.SpanKind
        own = self._tracer.start_span(
            "costguard.cost" if found else f"{operation_of(entry)} {asked}",
            context=None if around is None else self._trace.set_span_in_context(around),
            kind=kinds.INTERNAL if found or not entry.attempts else kinds.CLIENT,
            # At its beginning, as samplers see no others.
            attributes=told,
            start_time=entry.at_ns,
        )
        if entry.status == "error" and own.is_recording():
            own.set_status(self._trace.StatusCode.ERROR)
        self._last.told = (entry.at_ns, own)
        own.end(end_time=entry.at_ns + entry.duration_ns)

    def _inside(self, begun: Begun) -> Any:
        """One that an instrumentation below ours made for this call, and not for another that began meanwhile."""
        for span in begun.inside:
            if is_of_a_call(span) and span not in self._taken:
                self._taken[span] = True
                return span
        return None

    def _watch(self, provider: Any) -> None:
        """Hear of the spans that begin inside of calls. Only the SDK's provider tells; others are done without."""
        self._watching = provider
        # What nobody has set up yet, or has switched off, needs no attributes.
        self._silent = type(provider) in (self._trace.ProxyTracerProvider, self._trace.NoOpTracerProvider)
        if not hasattr(provider, "add_span_processor") or _watched.get(id(provider)) is provider:
            return
        from opentelemetry.sdk.trace import SpanProcessor

        class Inside(SpanProcessor):
            def on_start(self, span: Any, parent_context: Any = None) -> None:
                begun = _begun.get()
                if getattr(span.instrumentation_scope, "name", "") == SCOPE:
                    return
                _latest.set(ref(span))
                if begun is not None and not begun.over and len(begun.inside) < _MOST_INSIDE:
                    begun.inside.append(span)

        _watched[id(provider)] = provider
        provider.add_span_processor(Inside())


def _over(begun: Begun) -> None:
    begun.over = True
    if _begun.get() is begun:
        _begun.set(None)
