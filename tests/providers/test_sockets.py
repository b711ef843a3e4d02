"""Connections that stay open: each response is one call, refused before it is ordered, settled by its end."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from costguard import Guard, tagged
from costguard.errors import BudgetExceeded
from costguard.pricing.usage import Usage
from costguard.providers.instrument import install, patched, uninstall
from tests.providers.recording import Recording

USAGE = {
    "total_tokens": 150, "input_tokens": 100, "output_tokens": 50,
    "input_token_details": {
        "text_tokens": 40, "audio_tokens": 60, "cached_tokens": 30,
        "cached_tokens_details": {"text_tokens": 10, "audio_tokens": 20},
    },
    "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
}  # fmt: skip
SPOKEN = Usage.of({
    "input": 30, "cache_read": 10, "input_audio": 40, "cache_read_audio": 20, "output": 10, "output_audio": 40,
})  # fmt: skip
TEXT_USAGE = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}


class Voice:
    """A server that answers each `response.create`; of "speak" it thinks of itself."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._server = serve(self._talk, "127.0.0.1", 0)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/v1"

    def _talk(self, connection: ServerConnection) -> None:
        def tell(kind: str, **more: Any) -> None:
            connection.send(json.dumps({"type": kind, "event_id": "event", **more}))

        session = {"model": "gpt-realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
        tell("session.created", session=session)
        number = 0
        for message in connection:
            event = json.loads(message)
            self.heard.append(event["type"])
            asked = event.get("response", {}).get("instructions") or event.get("input")
            if event["type"] not in ("response.create", "input_audio_buffer.commit"):
                continue
            if asked == "refuse":
                tell("error", error={"type": "invalid_request_error", "message": "no"})
                continue
            number += 1
            response = {"id": f"resp_{number}", "object": "realtime.response", "output": []}
            if "responses" in connection.request.path:  # type: ignore[union-attr]
                response["model"] = "gpt-5-2025-08-07"
            tell("response.created", response={**response, "status": "in_progress"})
            tell("response.output_text.delta", delta="One two", response_id=f"resp_{number}")
            if asked == "leave":
                connection.close()
                return
            if event["type"] == "input_audio_buffer.commit":
                used = {"type": "tokens", "input_tokens": 20, "output_tokens": 5, "total_tokens": 25,
                        "input_token_details": {"audio_tokens": 20, "text_tokens": 0}}  # fmt: skip
                tell("conversation.item.input_audio_transcription.completed", item_id="item", usage=used)
            if "responses" in connection.request.path:  # type: ignore[union-attr]
                tell("response.completed", response={**response, "status": "completed", "usage": TEXT_USAGE})
            else:
                tell("response.done", response={**response, "status": "completed", "usage": USAGE})

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def voice() -> Iterator[Voice]:
    server = Voice()
    yield server
    server.close()


@pytest.fixture
def policy() -> Iterator[Recording]:
    recording = Recording()
    install(recording)
    yield recording
    uninstall(recording)


class Talk:
    """A sync or async connection."""

    def __init__(self, kind: str, voice: Voice, api: str = "realtime") -> None:
        self.is_async = kind == "async"
        client: Any = (openai.AsyncOpenAI if self.is_async else openai.OpenAI)(base_url=voice.url, api_key="none")
        self._manager = (
            client.realtime.connect(model="gpt-realtime") if api == "realtime" else client.responses.connect()
        )

    async def __aenter__(self) -> Any:
        return await self._manager.__aenter__() if self.is_async else self._manager.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        await self.got(self._manager.__aexit__(*error) if self.is_async else self._manager.__exit__(*error))

    @staticmethod
    async def got(value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value

    async def until(self, connection: Any, kind: str) -> list[str]:
        kinds: list[str] = []
        while not kinds or kinds[-1] != kind:
            kinds.append((await self.got(connection.recv())).type)
        return kinds


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
async def test_a_response_is_one_call(voice: Voice, policy: Recording, kind: str) -> None:
    talk = Talk(kind, voice)
    async with talk as connection:
        for _ in range(2):
            await talk.got(connection.response.create(response={"instructions": "hi"}))
            assert (await talk.until(connection, "response.done"))[-2:] == [
                "response.output_text.delta", "response.done",
            ]  # fmt: skip
    assert len(policy.reserved) == len(policy.settled) == 2
    for call, outcome in policy.settled:
        assert (call.provider, call.model, call.operation) == ("openai", "gpt-realtime", "realtime")
        assert (outcome.usage, outcome.estimated, outcome.status) == (SPOKEN, False, "ok")


@both
async def test_a_response_over_the_responses_api_is_one_call(voice: Voice, policy: Recording, kind: str) -> None:
    talk = Talk(kind, voice, "responses")
    async with talk as connection:
        await talk.got(connection.response.create(model="gpt-5", input="hi"))
        await talk.until(connection, "response.completed")
    call, outcome = policy.only()
    assert (call.model, outcome.model, call.operation) == ("gpt-5", "gpt-5-2025-08-07", "responses")
    assert outcome.usage == Usage(input_tokens=100, output_tokens=20)


@both
async def test_what_the_server_says_by_itself_is_counted_with_the_transcript(
    voice: Voice, policy: Recording, kind: str
) -> None:
    talk = Talk(kind, voice)
    async with talk as connection:
        await talk.got(connection.input_audio_buffer.commit())
        await talk.until(connection, "response.done")
    assert [(call.input_tokens, call.produces_output) for call in policy.reserved] == [(0, False)] * 2
    assert {call.model: outcome.usage for call, outcome in policy.settled} == {
        "gpt-4o-transcribe": Usage(input_tokens=20, audio_input_tokens=20, output_tokens=5),
        "gpt-realtime": SPOKEN,
    }


@both
async def test_what_the_server_says_by_itself_counts_on_budgets(voice: Voice, kind: str) -> None:
    with Guard("memory://", budgets=["$1/day per user"]) as guard:
        guard.instrument()
        talk = Talk(kind, voice)
        with tagged(user="alice"):
            async with talk as connection:
                await talk.got(connection.input_audio_buffer.commit())
                await talk.until(connection, "response.done")
        guard.uninstrument()
        (standing,) = guard.standings(user="alice")
        assert standing.spent == guard.spent(user="alice") > 0
        assert standing.held == 0


def test_a_response_that_another_thread_hears_of_at_once_is_one_call(voice: Voice, policy: Recording) -> None:
    with openai.OpenAI(base_url=voice.url, api_key="none").realtime.connect(model="gpt-realtime") as connection:
        heard = threading.Event()

        def listen() -> None:
            while connection.recv().type != "response.done":
                pass
            heard.set()

        wire = connection._connection
        send = wire.send

        def send_slowly(data: Any, *args: Any, **kwargs: Any) -> None:
            send(data, *args, **kwargs)
            assert heard.wait(10)

        wire.send = send_slowly  # type: ignore[method-assign]
        threading.Thread(target=listen, daemon=True).start()
        connection.response.create(response={"instructions": "hi"})
    _, outcome = policy.only()
    assert (outcome.usage, outcome.status) == (SPOKEN, "ok")


@both
async def test_what_cannot_be_sent_costs_nothing(voice: Voice, policy: Recording, kind: str) -> None:
    talk = Talk(kind, voice)
    async with talk as connection:
        await talk.got(connection.response.create(response={"instructions": "leave"}))
        with pytest.raises(ConnectionClosed):
            await talk.until(connection, "response.done")
        with pytest.raises(ConnectionClosed):
            await talk.got(connection.response.create())
    assert [outcome.billable for _, outcome in policy.settled] == [True, False]


@both
async def test_a_refusal_comes_before_anything_is_sent(voice: Voice, kind: str) -> None:
    refusing = Recording(refuse=True)
    install(refusing)
    talk = Talk(kind, voice)
    try:
        async with talk as connection:
            with pytest.raises(BudgetExceeded):
                await talk.got(connection.response.create())
    finally:
        uninstall(refusing)
    assert voice.heard == []
    assert refusing.settled == []


@both
async def test_an_order_that_is_not_taken_costs_nothing(voice: Voice, policy: Recording, kind: str) -> None:
    talk = Talk(kind, voice)
    async with talk as connection:
        await talk.got(connection.response.create(response={"instructions": "refuse"}))
        await talk.until(connection, "error")
    _, outcome = policy.only()
    assert (outcome.status, outcome.billable) == ("error", False)


@both
async def test_what_is_open_when_the_connection_goes_is_estimated(voice: Voice, policy: Recording, kind: str) -> None:
    talk = Talk(kind, voice)
    async with talk as connection:
        await talk.got(connection.response.create(response={"instructions": "leave"}))
        await talk.until(connection, "response.output_text.delta")
        with pytest.raises(ConnectionClosed):
            await talk.got(connection.recv())
    _, outcome = policy.only()
    assert (outcome.status, outcome.estimated, outcome.billable) == ("error", True, True)


@both
async def test_leaving_ends_what_was_asked_for(voice: Voice, policy: Recording, kind: str) -> None:
    talk = Talk(kind, voice)
    async with talk as connection:
        await talk.got(connection.response.create(response={"instructions": "hi"}))
    _, outcome = policy.only()
    assert (outcome.status, outcome.estimated) == ("closed", True)


def test_the_sdk_gets_its_own_functions_back() -> None:
    from openai.resources.realtime.realtime import RealtimeConnection

    before = vars(RealtimeConnection)["recv_bytes"]
    recording = Recording()
    install(recording)
    assert vars(RealtimeConnection)["recv_bytes"] is not before
    assert patched().count("openai") == 1
    uninstall(recording)
    assert vars(RealtimeConnection)["recv_bytes"] is before
