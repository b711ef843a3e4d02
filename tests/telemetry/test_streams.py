"""The span of a stream ends when the stream does, whichever way that is, and there is one of it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import openai
import pytest
from examples import wire
from examples.provider import Provider
from opentelemetry import trace

from costguard import Guard, tagged
from tests.telemetry.conftest import MODEL, Traces, a_tenth

Watched = Callable[..., Guard]

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True}


def the_only(traces: Traces) -> Any:
    until = time.monotonic() + 10
    while not traces.finished() and time.monotonic() < until:
        # What a garbage collection ended is settled by a thread.
        Event().wait(0.01)
    (span,) = traces.finished()
    return span


@pytest.fixture
def halting(provider: Provider) -> Iterator[Event]:
    """The provider sends some of a stream, then waits for this event, then goes away."""
    go_on = Event()

    def answer(_path: str, body: dict[str, Any]) -> Iterator[bytes]:
        events = wire.chat_events(1, body, a_tenth(body))
        yield next(events)
        yield next(events)
        go_on.wait(10)
        raise ConnectionAbortedError

    provider.answer = answer  # type: ignore[method-assign]
    yield go_on
    go_on.set()


def test_one_that_is_closed_early(watched: Watched, provider: Provider, traces: Traces) -> None:
    guard = watched()
    with tagged(user="alice"), openai.OpenAI() as client, client.chat.completions.create(**ASK) as stream:
        next(iter(stream))
        assert traces.finished() == []
    span = the_only(traces)
    (entry,) = guard.entries()
    assert (span.end_time, span.attributes["costguard.status"]) == (entry.at_ns + entry.duration_ns, "closed")
    assert span.attributes["costguard.estimated"] is True
    assert span.attributes["gen_ai.usage.cost"] == float(entry.cost or 0) > 0
    assert span.attributes["user.id"] == "alice"


def test_one_that_is_dropped(watched: Watched, provider: Provider, traces: Traces) -> None:
    watched()
    with openai.OpenAI() as client:

        def drop() -> None:
            next(iter(client.chat.completions.create(**ASK)))

        drop()
        gc.collect()
        assert the_only(traces).attributes["costguard.estimated"] is True


def test_one_whose_provider_goes_away(watched: Watched, provider: Provider, traces: Traces, halting: Event) -> None:
    guard = watched()
    halting.set()
    with openai.OpenAI(max_retries=0) as client, pytest.raises(Exception, match=r"."):
        list(client.chat.completions.create(**ASK))
    span = the_only(traces)
    (entry,) = guard.entries()
    assert span.attributes["costguard.status"] == entry.status
    assert (span.status.status_code is trace.StatusCode.ERROR) is (entry.status == "error")


async def test_one_whose_task_is_cancelled(
    watched: Watched, provider: Provider, traces: Traces, halting: Event
) -> None:
    guard = watched()
    async with openai.AsyncOpenAI(max_retries=0) as client:
        begun = asyncio.Event()

        async def read() -> None:
            with traces.tracer.start_as_current_span("the task"):
                async for _ in await client.chat.completions.create(**ASK):
                    begun.set()

        reader = asyncio.create_task(read())
        await asyncio.wait_for(begun.wait(), 10)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    halting.set()
    own, task = sorted(traces.finished(), key=lambda span: span.name)
    (entry,) = guard.entries()
    assert (own.name, own.parent.span_id) == (f"chat {MODEL}", task.context.span_id)
    assert own.attributes["costguard.status"] == entry.status
    assert own.attributes["costguard.estimated"] is True


def test_one_that_another_instrumentation_watches_has_its_span_alone(
    watched: Watched, provider: Provider, traces: Traces
) -> None:
    """Its span is open as long as the stream, and not current while it is read."""
    watched()
    with openai.OpenAI() as client:
        span = traces.tracer.start_span("theirs", attributes={"openinference.span.kind": "LLM"})
        with trace.use_span(span, end_on_exit=False):
            stream = client.chat.completions.create(**ASK, stream_options={"include_usage": True})
        list(stream)
        span.end()
    assert the_only(traces).attributes["gen_ai.usage.cost"] == 0.11
