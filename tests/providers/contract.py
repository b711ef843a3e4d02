"""What holds for every SDK, as a class of tests; the file of an SDK says how it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from costguard.call import Call, Particulars
from costguard.errors import BudgetExceeded
from costguard.events import Outcome
from costguard.pricing.usage import Usage
from costguard.providers.collected import drain
from costguard.providers.instrument import install, instrument_client, uninstall, uninstrument_client
from costguard.providers.rows import Provider
from tests.providers.recording import Recording
from tests.providers.wires import GIVEN, TAKEN, TEXT, WireServer, serving

FULL = Usage(input_tokens=TAKEN, output_tokens=GIVEN)
MODEL = "model-1"
ASK = "Count to five."


class Changing(Recording):
    """A policy that alters calls while they can be altered."""

    def __init__(self, *, ceiling: int, model: str) -> None:
        super().__init__()
        self.ceiling, self.model = ceiling, model
        self.done: list[bool] = []

    def reserve(self, call: Call) -> None:
        super().reserve(call)
        assert call.knobs is not None
        self.done = [call.knobs.takes_ceiling, call.knobs.lower(self.ceiling), call.knobs.change_model(self.model)]


class Stopping(Recording):
    """A policy that ends streams after two tokens."""

    def reserve(self, call: Call) -> None:
        super().reserve(call)
        call.particulars = Particulars()
        call.particulars.stop = 2


class Speaker:
    """How one SDK is asked. `kind` is "sync" or "async"; what it makes is closed at the end of a test."""

    row: Provider
    answered_model: str | None = f"{MODEL}-0001"
    retries = True
    streams_retry = False
    streams_send_when_asked = True
    """A stream's request is made when it is asked for, not when its first item is."""

    def __init__(self, server: WireServer, kind: str) -> None:
        self.server = server
        self.is_async = kind == "async"
        self.made: list[Any] = []

    def client(self, mode: str) -> Any:
        raise NotImplementedError

    def ask(self, client: Any) -> Any:
        """A plain answer, or a coroutine that gives it."""
        raise NotImplementedError

    def stream(self, client: Any) -> Any:
        """The SDK's stream, or a coroutine that gives it."""
        raise NotImplementedError

    def text(self, item: Any) -> str:
        raise NotImplementedError

    def sent_ceiling(self, body: dict[str, Any]) -> Any:
        return body.get("max_tokens")

    @classmethod
    def functions(cls) -> list[Any]:
        """What is put in the place of by us, as it stands now."""
        found = []
        for seam in cls.row.seams:
            holder: Any = sys.modules.get(seam.module)
            for name in seam.name.split("."):
                holder = getattr(holder, name, None)
            if holder is not None:
                found.append(holder)
        return found

    async def close(self) -> None: ...

    async def got(self, value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value

    async def each(self, stream: Any) -> AsyncIterator[Any]:
        if hasattr(stream, "__aiter__"):
            async for item in stream:
                yield item
        else:
            for item in stream:
                yield item

    async def first(self, stream: Any) -> Any:
        return await anext(aiter(stream)) if hasattr(stream, "__aiter__") else next(iter(stream))

    async def leave(self, stream: Any) -> None:
        close = getattr(stream, "aclose", None) or stream.close
        await self.got(close())


def guessed(outcome: Outcome, status: str) -> Usage:
    """An estimate: marked, and neither zero nor out of proportion."""
    assert (outcome.status, outcome.estimated, outcome.billable) == (status, True, True)
    assert outcome.usage is not None
    assert 1 <= outcome.usage.input_tokens <= 100
    assert 0 <= outcome.usage.output_tokens <= 40
    return outcome.usage


class Contract:
    """Subclasses set `speaker`."""

    speaker: type[Speaker]

    @pytest.fixture(scope="class")
    @classmethod
    def one_wire(cls) -> Iterator[WireServer]:
        yield from serving()

    @pytest.fixture
    def wire(self, one_wire: WireServer) -> Iterator[WireServer]:
        one_wire.requests.clear()
        one_wire._count.clear()
        one_wire.release.clear()
        yield one_wire
        one_wire.release.set()

    @pytest.fixture(params=["sync", "async"])
    async def sdk(self, request: pytest.FixtureRequest, wire: WireServer) -> AsyncIterator[Speaker]:
        made = self.speaker(wire, request.param)
        yield made
        wire.release.set()
        await made.close()

    @pytest.fixture
    def policy(self) -> Iterator[Recording]:
        recording = Recording()
        install(recording)
        yield recording
        uninstall(recording)

    async def test_an_answer_is_one_call_with_its_usage(self, sdk: Speaker, policy: Recording) -> None:
        answer = await sdk.got(sdk.ask(sdk.client("plain")))
        assert sdk.text(answer) == TEXT
        call, outcome = policy.only()
        assert (outcome.status, outcome.usage, outcome.estimated, outcome.billable) == ("ok", FULL, False, True)
        assert (call.provider, call.model, call.operation, call.streamed) == (sdk.row.name, MODEL, "chat", False)
        assert (call.attempts, outcome.model) == (1, sdk.answered_model)
        assert 1 <= call.input_tokens <= 100

    async def test_the_caller_gets_what_the_sdk_gives(self, sdk: Speaker) -> None:
        plain = type(await sdk.got(sdk.ask(sdk.client("plain"))))
        before = await sdk.got(sdk.stream(sdk.client("plain")))
        items = [item async for item in sdk.each(before)]
        recording = Recording()
        install(recording)
        try:
            answer = await sdk.got(sdk.ask(sdk.client("plain")))
            stream = await sdk.got(sdk.stream(sdk.client("plain")))
            assert (type(answer), type(stream)) == (plain, type(before))
            assert [type(item) async for item in sdk.each(stream)] == [type(item) for item in items]
        finally:
            uninstall(recording)

    async def test_a_stream_read_to_the_end_is_one_call_with_its_usage(self, sdk: Speaker, policy: Recording) -> None:
        stream = await sdk.got(sdk.stream(sdk.client("plain")))
        text = "".join([sdk.text(item) async for item in sdk.each(stream)])
        assert text == TEXT
        call, outcome = policy.only()
        assert (outcome.status, outcome.usage, outcome.estimated) == ("ok", FULL, False)
        assert (call.streamed, call.attempts, outcome.model) == (True, 1, sdk.answered_model)

    async def test_a_stream_left_early_is_estimated(self, sdk: Speaker, policy: Recording) -> None:
        stream = await sdk.got(sdk.stream(sdk.client("stay")))
        await sdk.first(stream)
        with contextlib.suppress(RuntimeError):
            # cohere 5 goes on when its generator is closed, which Python reports.
            await sdk.leave(stream)
        del stream
        await self._collected()
        await policy.told(1)
        guessed(policy.only()[1], "closed")

    async def test_a_stream_that_is_dropped_is_settled_once(self, sdk: Speaker, policy: Recording) -> None:
        stream = await sdk.got(sdk.stream(sdk.client("stay")))
        await sdk.first(stream)
        del stream
        await self._collected()
        await policy.told(1)
        guessed(policy.only()[1], "closed")

    async def test_a_stream_that_is_never_read_is_settled_once(self, sdk: Speaker, policy: Recording) -> None:
        stream = await sdk.got(sdk.stream(sdk.client("plain")))
        del stream
        await self._collected()
        if policy.reserved:
            await policy.told(1)
            _, outcome = policy.only()
            assert outcome.status == "closed"
            assert outcome.billable is sdk.streams_send_when_asked
        else:
            assert sdk.server.requests == []

    async def test_a_stream_that_breaks_off_is_estimated(self, sdk: Speaker, policy: Recording) -> None:
        stream = await sdk.got(sdk.stream(sdk.client("cut")))
        with pytest.raises(Exception):  # noqa: B017, PT011 - the transport's own
            _ = [item async for item in sdk.each(stream)]
        usage = guessed(policy.only()[1], "error")
        assert usage.output_tokens >= 1

    async def test_a_stream_whose_provider_fails_is_an_error_and_not_free(
        self, sdk: Speaker, policy: Recording
    ) -> None:
        with contextlib.suppress(Exception):
            stream = await sdk.got(sdk.stream(sdk.client("error")))
            _ = [item async for item in sdk.each(stream)]
        guessed(policy.only()[1], "error")

    async def test_a_cancelled_stream_is_estimated(self, sdk: Speaker, policy: Recording) -> None:
        if not sdk.is_async:
            return

        begun = asyncio.Event()

        async def read() -> None:
            stream = await sdk.got(sdk.stream(sdk.client("stay")))
            async for _ in sdk.each(stream):
                begun.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        policy.wait(1)
        guessed(policy.only()[1], "cancelled")

    async def test_a_call_cancelled_before_it_answers_is_estimated(self, sdk: Speaker, policy: Recording) -> None:
        if not sdk.is_async:
            return
        task = asyncio.ensure_future(sdk.ask(sdk.client("hang")))
        while not sdk.server.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        _, outcome = policy.only()
        assert (outcome.status, outcome.estimated, outcome.billable) == ("cancelled", True, True)

    async def test_an_error_status_costs_nothing(self, sdk: Speaker, policy: Recording) -> None:
        uninstall(policy)
        with pytest.raises(Exception) as before:  # noqa: PT011 - whatever the SDK raises
            await sdk.got(sdk.ask(sdk.client("refuse")))
        install(policy)
        with pytest.raises(type(before.value)):
            await sdk.got(sdk.ask(sdk.client("refuse")))
        _, outcome = policy.only()
        assert (outcome.status, outcome.billable) == ("error", False)

    async def test_a_stream_that_is_declined_costs_nothing(self, sdk: Speaker, policy: Recording) -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the SDK raises
            _ = [item async for item in sdk.each(await sdk.got(sdk.stream(sdk.client("refuse"))))]
        _, outcome = policy.only()
        assert (outcome.status, outcome.billable) == ("error", False)

    async def test_a_refusal_comes_at_once_and_the_provider_is_not_asked(self, sdk: Speaker, wire: WireServer) -> None:
        recording = Recording(refuse=True)
        install(recording)
        try:
            with pytest.raises(BudgetExceeded):
                await sdk.got(sdk.ask(sdk.client("plain")))
            with pytest.raises(BudgetExceeded):
                _ = [item async for item in sdk.each(await sdk.got(sdk.stream(sdk.client("plain"))))]
        finally:
            uninstall(recording)
        assert (len(recording.reserved), recording.settled, wire.requests) == (2, [], [])

    async def test_retries_are_attempts_of_one_call(self, sdk: Speaker, policy: Recording) -> None:
        if not sdk.retries:
            return
        await sdk.got(sdk.ask(sdk.client("fail2")))
        call, outcome = policy.only()
        assert (call.attempts, outcome.status, outcome.usage) == (3, "ok", FULL)

    async def test_an_unreachable_provider_costs_nothing(self, sdk: Speaker, policy: Recording) -> None:
        sdk.server = Unreachable()  # type: ignore[assignment]
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the SDK raises
            await sdk.got(sdk.ask(sdk.client("plain")))
        _, outcome = policy.only()
        assert (outcome.status, outcome.billable) == ("error", False)

    @pytest.mark.parametrize("mode", ["bare", "broken"])
    async def test_usage_that_is_missing_or_nonsense_is_estimated(
        self, sdk: Speaker, policy: Recording, mode: str
    ) -> None:
        with contextlib.suppress(Exception):
            # Some SDKs check what they get.
            await sdk.got(sdk.ask(sdk.client(mode)))
        outcome = policy.only()[1]
        if mode == "broken" and outcome.status == "error":
            # The guard takes what it expected of it.
            assert (outcome.usage, outcome.estimated, outcome.billable) == (None, True, True)
        else:
            assert guessed(outcome, "ok").output_tokens >= 1

    @pytest.mark.parametrize("mode", ["bare", "broken"])
    async def test_streams_without_readable_usage_are_estimated(
        self, sdk: Speaker, policy: Recording, mode: str
    ) -> None:
        async def read() -> None:
            stream = await sdk.got(sdk.stream(sdk.client(mode)))
            _ = [item async for item in sdk.each(stream)]

        with contextlib.suppress(Exception):
            # Some SDKs check what they get, and leave the rest unread.
            await read()
        await self._collected()
        await policy.told(1)
        outcome = policy.only()[1]
        assert guessed(outcome, outcome.status).output_tokens >= 1

    async def test_a_ceiling_and_another_model_reach_the_provider(self, sdk: Speaker, wire: WireServer) -> None:
        changing = Changing(ceiling=7, model="model-2")
        install(changing)
        try:
            await sdk.got(sdk.ask(sdk.client("plain")))
            stream = await sdk.got(sdk.stream(sdk.client("plain")))
            _ = [item async for item in sdk.each(stream)]
        finally:
            uninstall(changing)
        assert changing.done == [True, True, True]
        assert [(sdk.sent_ceiling(body), body["model"]) for _, body in wire.requests] == [(7, "model-2")] * 2

    async def test_a_stream_is_ended_when_it_is_worth_its_hold(self, sdk: Speaker) -> None:
        stopping = Stopping()
        install(stopping)
        try:
            stream = await sdk.got(sdk.stream(sdk.client("plain")))
            text = "".join([sdk.text(item) async for item in sdk.each(stream)])
        finally:
            uninstall(stopping)
        assert text
        assert TEXT.startswith(text)
        assert text != TEXT
        call, outcome = stopping.only()
        assert (outcome.status, outcome.estimated) == ("closed", True)
        assert call.particulars is not None
        assert call.particulars.note == "stopped at its hold"

    async def test_one_client_is_watched_alone(self, sdk: Speaker) -> None:
        recording = Recording()
        watched, other = sdk.client("plain"), sdk.client("plain")
        instrument_client(watched, recording)
        instrument_client(watched, recording)
        await sdk.got(sdk.ask(watched))
        await sdk.got(sdk.ask(other))
        assert recording.only()[1].usage == FULL
        uninstrument_client(watched)
        await sdk.got(sdk.ask(watched))
        assert len(recording.settled) == 1

    async def test_taking_the_policy_away_gives_the_sdk_its_functions_back(self, sdk: Speaker) -> None:
        await sdk.got(sdk.ask(sdk.client("plain")))
        before = self.speaker.functions()
        assert before
        recording = Recording()
        install(recording)
        assert all(now is not then for now, then in zip(self.speaker.functions(), before, strict=True))
        uninstall(recording)
        assert self.speaker.functions() == before

    async def _collected(self) -> None:
        """What was let go of has been collected; async generators are closed by the event loop, in a task."""
        for _ in range(2):
            gc.collect()
            for _ in range(10):
                await asyncio.sleep(0)
        assert drain(10)


class Unreachable:
    """No one listens on this port: it is reserved."""

    def url(self, _mode: str) -> str:
        return "http://127.0.0.1:1"
