"""`stop_at_limit`: a stream ends, as if the model had, when what has come is worth its hold."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import pytest

from costguard import Guard, Usage, tagged
from costguard.call import Call
from costguard.events import Outcome
from costguard.providers.meter import Meter
from costguard.providers.openai import OPENAI
from costguard.providers.stopping import Stopped, stopping
from tests.enforcement.speaking import APIS, Heard, Voice, got, read

PROVIDERS = {"chat": "openai", "responses": "openai", "messages": "anthropic"}


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Heard(tokens=3_000) as heard:
        yield heard


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def learn(guard: Guard, voice: Voice, tokens: int) -> None:
    """Such calls have cost so many tokens so far."""
    for _ in range(64):
        made = Call(PROVIDERS[voice.api], voice.model)
        guard.reserve(made)
        guard.settle(made, Outcome("ok", Usage(output_tokens=tokens)))


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_that_is_worth_its_hold_ends_as_if_it_were_over(heard: Heard, api: str, is_async: bool) -> None:
    with Guard("memory://", budgets=["$100/day"], stop_at_limit=True) as guard:
        guard.instrument(usage_hosts=[heard.provider.url.removeprefix("http://")])
        voice = Voice(heard, api, is_async=is_async)
        learn(guard, voice, 500)
        stream = await got(voice.ask(stream=True))
        text = await read(api, stream)
        assert 250 < len(text.split()) < 700
        entry = guard.entries(limit=1)[0]
        assert (entry.status, entry.estimated, entry.reason) == ("closed", True, "stopped at its hold")
        assert 300 <= entry.usage.output_tokens <= 700
        assert entry.held * 7 / 10 < (entry.cost or 0) <= entry.held * 13 / 10
        assert guard.standings()[0].held == 0
        response = stream.response
        assert response.is_closed


@pytest.mark.parametrize("api", APIS)
async def test_a_stream_within_its_hold_is_whole(heard: Heard, api: str, is_async: bool) -> None:
    heard.tokens = 400
    with Guard("memory://", budgets=["$100/day"], stop_at_limit=True) as guard:
        guard.instrument(usage_hosts=[heard.provider.url.removeprefix("http://")])
        voice = Voice(heard, api, is_async=is_async)
        learn(guard, voice, 600)
        text = await read(api, await got(voice.ask(stream=True)))
        assert len(text.split()) == 400
        entry = guard.entries(limit=1)[0]
        assert (entry.status, entry.estimated, entry.reason) == ("ok", False, None)


async def test_a_stream_whose_caller_set_a_ceiling_that_is_held_is_left_to_the_provider(heard: Heard) -> None:
    with Guard("memory://", budgets=["$100/day"], stop_at_limit=True, holds="strict") as guard:
        guard.instrument(usage_hosts=[heard.provider.url.removeprefix("http://")])
        text = await read("chat", Voice(heard, "chat").ask(900, stream=True))
        assert len(text.split()) == 900
        assert guard.entries()[0].status == "ok"


@pytest.mark.parametrize(("tags", "stopped"), [({"stop_at_limit": "true"}, True), ({}, False)])
async def test_a_tag_asks_for_it_for_some_calls(heard: Heard, tags: dict[str, str], stopped: bool) -> None:
    with Guard("memory://", budgets=["$100/day"]) as guard:
        guard.instrument(usage_hosts=[heard.provider.url.removeprefix("http://")])
        voice = Voice(heard, "chat")
        learn(guard, voice, 500)
        with tagged(tags):
            text = await read("chat", voice.ask(stream=True))
        assert (len(text.split()) < 3_000) is stopped
        assert (guard.entries(limit=1)[0].reason == "stopped at its hold") is stopped


@pytest.mark.parametrize("size", [1, 7, 61, 1_000])
def test_the_reader_gets_whole_events_up_to_the_stop(size: int) -> None:
    """However the bytes are cut: half an event at the end would be taken for a broken one."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
    whole = event * 400
    route = OPENAI.route("post", "/chat/completions")
    assert route is not None
    ended: list[str] = []
    meter = Meter(route, "text/event-stream", "", lambda how, _: ended.append(how), hide=False)
    feed = stopping(meter, 100, lambda: ended.append("told"))
    passed, end = fed(feed, [whole[at : at + size] for at in range(0, len(whole), size)])
    assert end is not None
    assert ended == ["told"]
    assert passed == event * (len(passed) // len(event))
    assert 100 <= len(passed) // len(event) <= 100 + 1_000 // len(event) + 1


def fed(feed: Callable[[bytes], bytes], chunks: Iterable[bytes]) -> tuple[bytes, Stopped | None]:
    """What is passed on, and how it was stopped."""
    passed: list[bytes] = []
    for chunk in chunks:
        try:
            passed.append(feed(chunk))
        except Stopped as stopped:
            return b"".join((*passed, stopped.rest)), stopped
    return b"".join(passed), None


def test_looking_for_the_stop_costs_little_beside_reading_the_stream() -> None:
    """Not a timing: the events are looked into a bounded number of times, however long the stream is."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":" word"}}],"padding":"' + b"x" * 150 + b'"}\n\n'
    route = OPENAI.route("post", "/chat/completions")
    assert route is not None
    meter = Meter(route, "text/event-stream", "", lambda how, _: None, hide=False)
    looks = 0
    counted = meter.deltas.tokens

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(deltas, name)

        def tokens(self) -> int:
            nonlocal looks
            looks += 1
            return counted()

    deltas = meter.deltas
    meter.deltas = Counting()  # type: ignore[assignment]
    feed = stopping(meter, 10_000, lambda: None)
    assert fed(feed, repeat(event))[1] is not None
    assert looks < 1_000


async def test_a_stopped_stream_that_is_dropped_is_settled_once(heard: Heard) -> None:
    with Guard("memory://", budgets=["$100/day"], stop_at_limit=True) as guard:
        guard.instrument(usage_hosts=[heard.provider.url.removeprefix("http://")])
        voice = Voice(heard, "chat")
        learn(guard, voice, 500)
        stream = voice.ask(stream=True)
        for number, _ in enumerate(stream):
            if number == 10:
                break
        del stream
        gc.collect()
        guard.flush()
        deadline = time.monotonic() + 10
        while len(guard.entries()) < 65 and time.monotonic() < deadline:
            gc.collect()
        (entry,) = guard.entries(limit=1)
        assert (entry.status, entry.reason) == ("closed", None)
