"""What every SDK version must keep: one call is one entry, and the caller gets the SDK's own objects.

Run on the current SDKs here, on older ones by test_matrix.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from costguard.errors import BudgetExceeded, ConfigError
from costguard.events import Outcome
from costguard.pricing.usage import Usage
from costguard.providers.instrument import (
    install,
    instrument_client,
    patched,
    uninstall,
    uninstrument_client,
)
from costguard.tags import tagged
from tests.providers.conftest import Sdk
from tests.providers.recording import Recording
from tests.providers.server import WORDS, Server

ASK: list[Any] = [{"role": "user", "content": "Count to five."}]
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": ASK}
MESSAGE: dict[str, Any] = {"model": "claude-sonnet-5", "messages": ASK, "max_tokens": 50}
RESPONSE: dict[str, Any] = {"model": "gpt-4o", "input": "Count to five."}
TEXT = "".join(WORDS)

FULL = Usage(input_tokens=100, cache_read_tokens=40, output_tokens=20, reasoning_tokens=15)
MESSAGE_FULL = Usage(input_tokens=100, cache_read_tokens=40, output_tokens=20)

HAS_RESPONSES = hasattr(openai.OpenAI, "responses") or "responses" in openai.OpenAI.__annotations__
needs_responses = pytest.mark.skipif(not HAS_RESPONSES, reason="this openai has no Responses API")


class Count(BaseModel):
    n: int


def ok(outcome: Outcome, usage: Usage = FULL) -> None:
    assert (outcome.status, outcome.usage, outcome.estimated, outcome.billable) == ("ok", usage, False, True)


def guessed(outcome: Outcome, status: str, *, most: int = 40) -> Usage:
    """An estimate: marked, and neither zero nor out of proportion."""
    assert (outcome.status, outcome.estimated, outcome.billable) == (status, True, True)
    usage = outcome.usage
    assert usage is not None
    assert 1 <= usage.input_tokens <= 100
    assert 0 <= usage.output_tokens <= most
    return usage


# --- answers that come at once ---


async def test_a_chat_completion_is_one_call_with_its_usage(sdk: Sdk, policy: Recording) -> None:
    answer = await sdk.got(sdk.openai().chat.completions.create(**CHAT, max_tokens=30, n=2))
    assert answer.choices[0].message.content == TEXT
    assert type(answer).__name__ == "ChatCompletion"
    call, outcome = policy.only()
    ok(outcome)
    assert (call.provider, call.model, call.operation, call.streamed) == ("openai", "gpt-4o", "chat", False)
    assert (call.max_output_tokens, call.attempts) == (60, 1)
    assert call.input_tokens > 0
    assert (outcome.model, outcome.response_id, outcome.context) == ("gpt-4o-2024-08-06", "chatcmpl-1", ())
    assert outcome.ended_ns >= call.started_ns


async def test_a_message_is_one_call_with_its_usage(sdk: Sdk, policy: Recording) -> None:
    answer = await sdk.got(sdk.anthropic().messages.create(**MESSAGE))
    assert answer.content[0].text == TEXT
    call, outcome = policy.only()
    ok(outcome, MESSAGE_FULL)
    assert (call.provider, call.model, call.max_output_tokens) == ("anthropic", "claude-sonnet-5", 50)
    assert (outcome.model, outcome.response_id, outcome.context) == ("claude-sonnet-5", "msg_1", ())


async def test_an_embedding_has_no_output(sdk: Sdk, policy: Recording) -> None:
    await sdk.got(sdk.openai().embeddings.create(model="text-embedding-3-small", input="Paris"))
    call, outcome = policy.only()
    ok(outcome, Usage(input_tokens=100))
    assert not call.produces_output


async def test_parsing_into_a_type_is_one_call(sdk: Sdk, policy: Recording) -> None:
    client = sdk.openai()
    parse = getattr(client.chat.completions, "parse", None) or client.beta.chat.completions.parse
    answer = await sdk.got(parse(**CHAT, response_format=Count))
    assert answer.choices[0].message.parsed == Count(n=5)
    ok(policy.only()[1])


@needs_responses
async def test_a_response_is_one_call_with_its_tier(sdk: Sdk, policy: Recording) -> None:
    answer = await sdk.got(sdk.openai().responses.create(**RESPONSE))
    assert answer.output_text == TEXT
    _, outcome = policy.only()
    ok(outcome)
    assert outcome.context == (("service_tier", "flex"),)


@needs_responses
async def test_a_background_response_is_settled_by_the_first_poll_that_has_its_usage(
    sdk: Sdk, policy: Recording
) -> None:
    client = sdk.openai()
    with tagged(user="alice"):
        ordered = await sdk.got(client.responses.create(**RESPONSE, background=True))
    assert ordered.status == "queued"
    _, outcome = policy.only()
    assert (outcome.status, outcome.usage, outcome.by_response) == ("pending", None, True)
    for _ in range(4):
        await sdk.got(client.responses.retrieve("resp_1"))
    assert len(policy.settled) == 2
    call, outcome = policy.settled[1]
    assert (outcome.status, outcome.usage, outcome.response_id, outcome.by_response) == ("ok", FULL, "resp_1", True)
    assert (call.tags.user, call.model) == ("alice", "gpt-4o")


@needs_responses
async def test_reading_a_response_again_that_was_paid_for_costs_nothing(sdk: Sdk, policy: Recording) -> None:
    for _ in range(3):
        await sdk.got(sdk.openai().responses.retrieve("other_1"))
    assert policy.settled == policy.reserved == []


async def test_free_endpoints_are_not_calls(sdk: Sdk, policy: Recording) -> None:
    await sdk.got(sdk.openai().models.list())
    client = sdk.anthropic()
    if hasattr(client.messages, "count_tokens"):
        await sdk.got(client.messages.count_tokens(model="claude-sonnet-5", messages=ASK))
    assert policy.reserved == policy.settled == []


async def test_the_low_level_post_is_a_call_and_its_dict_stays_as_it_was(sdk: Sdk, policy: Recording) -> None:
    body = {**CHAT, "stream": True}
    before = {**body}
    client = sdk.openai()
    stream_cls = openai.AsyncStream if sdk.is_async else openai.Stream
    stream = await sdk.got(
        client.post("/chat/completions", cast_to=object, body=body, stream=True, stream_cls=stream_cls[Any])
    )
    await sdk.all(stream)
    assert body == before
    ok(policy.only()[1])


async def test_an_answer_without_usage_is_estimated(sdk: Sdk, policy: Recording) -> None:
    await sdk.got(sdk.openai("bare").chat.completions.create(**CHAT))
    usage = guessed(policy.only()[1], "ok")
    assert 5 <= usage.output_tokens <= 8


async def test_nonsense_as_usage_is_estimated_and_never_zero(sdk: Sdk, policy: Recording) -> None:
    await sdk.got(sdk.openai("broken").chat.completions.create(**CHAT))
    await sdk.got(sdk.anthropic("broken").messages.create(**MESSAGE))
    for _, outcome in policy.settled:
        assert guessed(outcome, "ok").output_tokens >= 5


# --- raw responses ---


async def test_a_raw_response_that_is_parsed_counts_once(sdk: Sdk, policy: Recording) -> None:
    raw = await sdk.got(sdk.openai().chat.completions.with_raw_response.create(**CHAT))
    ok(policy.only()[1])
    assert (await sdk.got(raw.parse())).usage.prompt_tokens == 100
    ok(policy.only()[1])


async def test_a_raw_response_that_is_never_parsed_counts(sdk: Sdk, policy: Recording) -> None:
    raw = await sdk.got(sdk.anthropic().messages.with_raw_response.create(**MESSAGE))
    assert raw.status_code == 200
    ok(policy.only()[1], MESSAGE_FULL)


async def test_a_raw_response_may_be_a_stream(sdk: Sdk, policy: Recording) -> None:
    raw = await sdk.got(sdk.openai().chat.completions.with_raw_response.create(**CHAT, stream=True))
    items = await sdk.all(await sdk.got(raw.parse()))
    assert [item.choices[0].delta.content for item in items[:5]] == WORDS
    ok(policy.only()[1])


@pytest.mark.parametrize("how", ["parse", "lines", "bytes", "unread"])
async def test_a_streamed_response_is_read_on_the_way(sdk: Sdk, policy: Recording, how: str) -> None:
    manager = sdk.openai().chat.completions.with_streaming_response.create(**CHAT)
    response = await sdk.enter(manager)
    assert policy.settled == []
    if how == "parse":
        assert (await sdk.got(response.parse())).usage.prompt_tokens == 100
    elif how == "lines":
        await sdk.all(response.iter_lines())
    elif how == "bytes":
        await sdk.all(response.iter_bytes())
    await sdk.leave(manager)
    call, outcome = policy.only()
    assert call.attempts == 1
    if how == "unread":
        guessed(outcome, "closed")
    else:
        ok(outcome)


async def test_the_raw_lines_of_a_stream_have_no_event_that_was_not_asked_for(sdk: Sdk, policy: Recording) -> None:
    manager = sdk.openai().chat.completions.with_streaming_response.create(**CHAT, stream=True)
    response = await sdk.enter(manager)
    lines = [line for line in await sdk.all(response.iter_lines()) if line]
    await sdk.leave(manager)
    assert len(lines) == len(WORDS) + 2
    assert lines[-1] == "data: [DONE]"
    assert not any('"choices":[]' in line for line in lines)
    ok(policy.only()[1])


# --- streams ---


def starts(client: Any, what: str) -> Any:
    if what == "chat":
        return client.chat.completions.create(**CHAT, stream=True)
    if what == "responses":
        return client.responses.create(**RESPONSE, stream=True)
    return client.messages.create(**MESSAGE, stream=True)


def client_for(sdk: Sdk, what: str, mode: str = "plain", **more: Any) -> Any:
    return sdk.anthropic(mode, **more) if what == "messages" else sdk.openai(mode, **more)


STREAMS = ["chat", pytest.param("responses", marks=needs_responses), "messages"]


@pytest.mark.parametrize("mode", ["plain", "gzip", "ragged"])
@pytest.mark.parametrize("what", STREAMS)
async def test_a_stream_read_to_its_end_has_its_usage(sdk: Sdk, policy: Recording, what: str, mode: str) -> None:
    stream = await sdk.got(starts(client_for(sdk, what, mode), what))
    assert type(stream) is ((anthropic if what == "messages" else openai).AsyncStream if sdk.is_async
                            else (anthropic if what == "messages" else openai).Stream)  # fmt: skip
    assert stream.response.status_code == 200
    assert policy.settled == []
    items = await sdk.all(stream)
    call, outcome = policy.only()
    ok(outcome, MESSAGE_FULL if what == "messages" else FULL)
    assert call.streamed
    if what == "chat":
        # The event with the usage was asked for by us: apps crash on its empty `choices`.
        assert len(items) == len(WORDS) + 1
        assert all(item.choices for item in items)
    await sdk.got(stream.close())
    policy.only()


async def test_the_usage_event_stays_for_a_caller_who_asked_for_it(sdk: Sdk, policy: Recording) -> None:
    client = sdk.openai()
    stream = await sdk.got(client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
    items = await sdk.all(stream)
    assert items[-1].usage.prompt_tokens == 100
    ok(policy.only()[1])


async def test_usage_is_not_asked_for_where_it_may_be_an_error(sdk: Sdk, server: Server) -> None:
    recording = Recording()
    install(recording)
    try:
        items = await sdk.all(await sdk.got(starts(sdk.openai(), "chat")))
    finally:
        uninstall(recording)
    assert len(items) == len(WORDS) + 1
    assert "stream_options" not in server.requests[0][1]
    assert guessed(recording.only()[1], "ok").output_tokens == 5


@pytest.mark.parametrize("what", STREAMS)
async def test_a_stream_left_early_is_estimated(sdk: Sdk, policy: Recording, what: str) -> None:
    stream = await sdk.got(starts(client_for(sdk, what, "stay"), what))
    async with contextlib.aclosing(sdk.each(stream)) as items:
        async for _ in items:
            break
    sdk.server.release.set()
    await sdk.got(stream.close())
    usage = guessed(policy.only()[1], "closed")
    if what == "messages":
        assert usage.input_tokens == 100
    if what == "chat":
        assert usage.output_tokens >= 1


@pytest.mark.parametrize("what", STREAMS)
async def test_a_stream_in_a_with_block_is_closed_with_it(sdk: Sdk, policy: Recording, what: str) -> None:
    stream = await sdk.got(starts(client_for(sdk, what, "stay"), what))
    await sdk.enter(stream)
    first = await anext(stream) if sdk.is_async else next(stream)
    assert first
    await sdk.leave(stream)
    guessed(policy.only()[1], "closed")


async def test_closing_the_response_beneath_a_stream_ends_it(sdk: Sdk, policy: Recording) -> None:
    stream = await sdk.got(starts(sdk.openai("stay"), "chat"))
    response = stream.response
    await sdk.got(response.aclose() if sdk.is_async else response.close())
    guessed(policy.only()[1], "closed")


@pytest.mark.parametrize("what", STREAMS)
async def test_a_dropped_stream_is_settled_by_the_garbage_collector(sdk: Sdk, policy: Recording, what: str) -> None:
    stream = await sdk.got(starts(client_for(sdk, what, "stay"), what))
    assert await anext(stream) if sdk.is_async else next(stream)
    stream = None
    gc.collect()
    for _ in range(3):
        await asyncio.sleep(0)
    policy.wait(1)
    guessed(policy.only()[1], "closed")


@pytest.mark.parametrize("what", STREAMS)
async def test_a_cut_connection_is_estimated(sdk: Sdk, policy: Recording, what: str) -> None:
    stream = await sdk.got(starts(client_for(sdk, what, "cut"), what))
    with pytest.raises(Exception):  # noqa: B017, PT011 - the SDKs differ in what they make of it
        await sdk.all(stream)
    guessed(policy.only()[1], "error")


@pytest.mark.parametrize("what", ["chat", "messages"])
async def test_an_error_inside_a_stream_is_an_error(sdk: Sdk, policy: Recording, what: str) -> None:
    stream = await sdk.got(starts(client_for(sdk, what, "error"), what))
    with pytest.raises((openai.APIError, anthropic.APIError)):
        await sdk.all(stream)
    guessed(policy.only()[1], "error")


async def test_a_stream_whose_usage_is_nonsense_is_estimated(sdk: Sdk, policy: Recording) -> None:
    await sdk.all(await sdk.got(starts(sdk.openai("broken"), "chat")))
    assert guessed(policy.only()[1], "ok").output_tokens == 5


@pytest.mark.parametrize("early", [False, True])
async def test_the_stream_helper_of_anthropic(sdk: Sdk, policy: Recording, early: bool) -> None:
    manager = sdk.anthropic("stay" if early else "plain").messages.stream(**MESSAGE)
    stream = await sdk.enter(manager)
    if early:
        assert await anext(aiter(stream)) if sdk.is_async else next(iter(stream))
        await sdk.leave(manager)
        guessed(policy.only()[1], "closed")
    else:
        final = await sdk.got(stream.get_final_message())
        await sdk.leave(manager)
        assert final.content[0].text == TEXT
        ok(policy.only()[1], MESSAGE_FULL)


async def test_the_text_stream_of_anthropic(sdk: Sdk, policy: Recording) -> None:
    manager = sdk.anthropic().messages.stream(**MESSAGE)
    stream = await sdk.enter(manager)
    assert "".join(await sdk.all(stream.text_stream)) == TEXT
    await sdk.leave(manager)
    ok(policy.only()[1], MESSAGE_FULL)


@pytest.mark.parametrize("early", [False, True])
async def test_the_stream_helper_of_openai(sdk: Sdk, policy: Recording, early: bool) -> None:
    client = sdk.openai("stay" if early else "plain")
    helper = getattr(client.chat.completions, "stream", None) or client.beta.chat.completions.stream
    manager = helper(**CHAT)
    stream = await sdk.enter(manager)
    if early:
        assert await anext(aiter(stream)) if sdk.is_async else next(iter(stream))
        await sdk.leave(manager)
        guessed(policy.only()[1], "closed")
    else:
        final = await sdk.got(stream.get_final_completion())
        await sdk.leave(manager)
        assert final.choices[0].message.content == TEXT
        ok(policy.only()[1])


@needs_responses
async def test_the_stream_helper_of_responses(sdk: Sdk, policy: Recording) -> None:
    manager = sdk.openai().responses.stream(**RESPONSE)
    stream = await sdk.enter(manager)
    final = await sdk.got(stream.get_final_response())
    await sdk.leave(manager)
    assert final.output_text == TEXT
    ok(policy.only()[1])


async def test_a_cancelled_stream_is_estimated(server: Server, policy: Recording) -> None:
    sdk = Sdk(server, "async")
    client = sdk.anthropic("stay")
    got = asyncio.Event()

    async def read() -> None:
        async for _ in await client.messages.create(**MESSAGE, stream=True):
            got.set()

    task = asyncio.create_task(read())
    await got.wait()
    # Let the reader come to wait for bytes that do not come.
    for _ in range(50):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    guessed(policy.only()[1], "cancelled")
    server.release.set()
    await sdk.close()


async def test_a_call_cancelled_before_its_answer_is_not_taken_for_free(server: Server, policy: Recording) -> None:
    sdk = Sdk(server, "async")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(sdk.openai("hang").chat.completions.create(**CHAT), 0.3)
    _, outcome = policy.only()
    assert (outcome.status, outcome.usage, outcome.estimated, outcome.billable) == ("cancelled", None, True, True)
    server.release.set()
    await sdk.close()


# --- failures ---


async def test_a_refused_request_costs_nothing(sdk: Sdk, policy: Recording) -> None:
    with pytest.raises(openai.BadRequestError):
        await sdk.got(sdk.openai("refuse").chat.completions.create(**CHAT))
    with pytest.raises(anthropic.BadRequestError):
        await sdk.got(sdk.anthropic("refuse").messages.create(**MESSAGE))
    assert [(outcome.status, outcome.billable) for _, outcome in policy.settled] == [("error", False)] * 2


async def test_a_timeout_after_sending_may_have_been_paid_for(sdk: Sdk, policy: Recording) -> None:
    with pytest.raises(openai.APITimeoutError):
        await sdk.got(sdk.openai("hang", timeout=0.2, max_retries=0).chat.completions.create(**CHAT))
    _, outcome = policy.only()
    assert (outcome.status, outcome.usage, outcome.estimated, outcome.billable) == ("error", None, True, True)


async def test_a_provider_that_cannot_be_reached_costs_nothing(sdk: Sdk, policy: Recording) -> None:
    client = sdk.openai(max_retries=0).with_options(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(openai.APIConnectionError):
        await sdk.got(client.chat.completions.create(**CHAT))
    _, outcome = policy.only()
    assert (outcome.status, outcome.billable) == ("error", False)


async def test_retries_are_attempts_of_one_call(sdk: Sdk, policy: Recording) -> None:
    await sdk.got(sdk.openai("fail2", max_retries=2).chat.completions.create(**CHAT))
    call, outcome = policy.only()
    ok(outcome)
    assert call.attempts == 3


async def test_a_refusal_reaches_the_caller_at_once_and_is_asked_for_once(sdk: Sdk, server: Server) -> None:
    recording = Recording(refuse=True)
    install(recording)
    try:
        for start in (
            lambda: sdk.openai().chat.completions.create(**CHAT),
            lambda: sdk.openai().chat.completions.create(**CHAT, stream=True),
            lambda: sdk.anthropic().messages.create(**MESSAGE),
            lambda: sdk.enter(sdk.anthropic().messages.stream(**MESSAGE)),
        ):
            with pytest.raises(BudgetExceeded):
                await sdk.got(start())
    finally:
        uninstall(recording)
    assert len(recording.reserved) == 4
    assert recording.settled == []
    assert server.requests == []


async def test_a_policy_that_breaks_when_it_settles_does_not_cost_the_caller_an_answer(
    sdk: Sdk, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recording):
        def settle(self, call: Any, outcome: Outcome) -> None:
            raise RuntimeError("a fault of ours")

    broken = Broken()
    install(broken)
    try:
        answer = await sdk.got(sdk.openai().chat.completions.create(**CHAT))
    finally:
        uninstall(broken)
    assert answer.choices
    assert "could not settle" in caplog.text


# --- clients and patches ---


async def test_tags_are_those_of_the_moment_the_call_was_made(sdk: Sdk, policy: Recording) -> None:
    with tagged(user="alice"):
        stream = await sdk.got(starts(sdk.openai(), "chat"))
    with tagged(user="bob"):
        await sdk.all(stream)
    assert policy.only()[0].tags.user == "alice"


async def test_copies_of_a_client_are_seen_too(sdk: Sdk, policy: Recording) -> None:
    await sdk.got(sdk.openai().with_options(timeout=5).chat.completions.create(**CHAT))
    await sdk.got(sdk.anthropic().copy().messages.create(**MESSAGE))
    assert len(policy.settled) == 2


async def test_a_client_made_before_install_is_seen(sdk: Sdk) -> None:
    client = sdk.openai()
    completions = client.chat.completions
    recording = Recording()
    install(recording)
    try:
        await sdk.got(completions.create(**CHAT))
        ok(recording.only()[1])
    finally:
        uninstall(recording)
    await sdk.got(completions.create(**CHAT))
    recording.only()


def test_the_module_level_client_is_seen(server: Server, policy: Recording) -> None:
    openai.api_key, openai.base_url = "none", server.url("plain") + "/v1/"
    try:
        openai.chat.completions.create(**CHAT)
    finally:
        openai.api_key = openai.base_url = None
        openai._client = None
    ok(policy.only()[1])


async def test_the_last_policy_is_asked_and_the_one_before_comes_back(sdk: Sdk) -> None:
    first, second = Recording(), Recording()
    original = vars(openai._base_client.SyncAPIClient)["request"]
    for each in (first, second, second):
        install(each)
    await sdk.got(sdk.openai().chat.completions.create(**CHAT))
    assert (len(first.settled), len(second.settled)) == (0, 1)
    assert {"openai", "anthropic"} <= set(patched())
    uninstall(second)
    await sdk.got(sdk.openai().chat.completions.create(**CHAT))
    assert (len(first.settled), len(second.settled)) == (1, 1)
    uninstall(first)
    uninstall(first)
    await sdk.got(sdk.openai().chat.completions.create(**CHAT))
    assert (len(first.settled), len(second.settled)) == (1, 1)
    assert vars(openai._base_client.SyncAPIClient)["request"] is original
    assert patched() == []


async def test_one_client_and_its_copies(sdk: Sdk, server: Server) -> None:
    recording = Recording()
    client, other = sdk.openai(), sdk.openai()
    instrument_client(client, recording)
    instrument_client(client, recording)
    await sdk.got(client.chat.completions.create(**CHAT))
    await sdk.got(other.chat.completions.create(**CHAT))
    assert recording.only()[0].attempts == 1
    await sdk.got(client.with_options(timeout=5).copy().chat.completions.create(**CHAT))
    assert len(recording.settled) == 2
    uninstrument_client(client)
    uninstrument_client(client)
    await sdk.got(client.chat.completions.create(**CHAT))
    assert len(recording.settled) == 2
    assert "request" not in vars(client)


async def test_a_policy_of_one_client_comes_before_that_of_all(sdk: Sdk, policy: Recording) -> None:
    own = Recording()
    client = sdk.anthropic()
    instrument_client(client, own)
    await sdk.got(client.messages.create(**MESSAGE))
    own.only()
    assert policy.settled == []
    uninstrument_client(client)
    await sdk.got(client.messages.create(**MESSAGE))
    policy.only()


def test_what_is_no_client_is_named() -> None:
    with pytest.raises(ConfigError, match=r"object.*openai"):
        instrument_client(object(), Recording())


async def test_a_request_function_put_on_the_subclass_before_or_after_us(sdk: Sdk, server: Server) -> None:
    """As OpenInference and Logfire do."""
    cls = openai.AsyncOpenAI if sdk.is_async else openai.OpenAI
    seen = []

    def put() -> None:
        below = cls.request
        if sdk.is_async:

            async def request_async(self: Any, *args: Any, **kwargs: Any) -> Any:
                seen.append(1)
                return await below(self, *args, **kwargs)

            cls.request = request_async  # type: ignore[assignment,method-assign]
        else:

            def request(self: Any, *args: Any, **kwargs: Any) -> Any:
                seen.append(1)
                return below(self, *args, **kwargs)

            cls.request = request  # type: ignore[assignment,method-assign]

    for before in (True, False):
        recording = Recording()
        seen.clear()
        if before:
            put()
        install(recording)
        if not before:
            put()
        try:
            await sdk.got(sdk.openai().chat.completions.create(**CHAT))
        finally:
            uninstall(recording)
            del cls.request
        assert len(seen) == 1
        assert recording.only()[0].attempts == 1


async def test_a_client_that_hides_from_us_is_told_of(sdk: Sdk, caplog: pytest.LogCaptureFixture) -> None:
    client = sdk.openai()
    client.request = client.request  # an instance attribute, bound before install()
    recording = Recording()
    install(recording)
    try:
        with caplog.at_level(logging.WARNING, "costguard"):
            await sdk.got(client.chat.completions.create(**CHAT))
    finally:
        uninstall(recording)
    assert recording.settled == []
    assert "not seen by costguard" in caplog.text


async def test_a_class_that_another_tool_put_back_is_patched_again_after_one_call(
    sdk: Sdk, caplog: pytest.LogCaptureFixture
) -> None:
    cls = type(sdk.openai())
    before = cls.request
    recording = Recording()
    install(recording)
    try:
        cls.request = before  # what an instrumentation does that came before us and leaves first
        with caplog.at_level(logging.WARNING, "costguard"):
            await sdk.got(sdk.openai().chat.completions.create(**CHAT))
        assert recording.settled == []
        assert "not seen by costguard" in caplog.text
        await sdk.got(sdk.openai().chat.completions.create(**CHAT))
        assert len(recording.settled) == 1
    finally:
        uninstall(recording)
        del cls.request


async def test_debug_logs_of_the_sdk_do_not_mind_us(
    sdk: Sdk, policy: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await sdk.got(sdk.openai().chat.completions.create(**CHAT))
        await sdk.got(sdk.anthropic().messages.create(**MESSAGE))
    assert len(policy.settled) == 2
    assert "costguard" not in caplog.text


async def test_extra_body_counts_as_what_is_sent(sdk: Sdk, policy: Recording, server: Server) -> None:
    await sdk.all(
        await sdk.got(
            sdk.openai().chat.completions.create(
                **CHAT, max_tokens=30, stream=True, extra_body={"max_tokens": 7, "stream_options": {"x": 1}}
            )
        )
    )
    call, outcome = policy.only()
    ok(outcome)
    assert call.max_output_tokens == 7
    assert server.requests[0][1]["stream_options"] == {"x": 1, "include_usage": True}


async def test_an_attempt_that_timed_out_may_be_billed_and_is_told_of(
    sdk: Sdk, policy: Recording, server: Server
) -> None:
    for client, ask in (
        (sdk.openai("hangs", timeout=0.5), lambda client: client.chat.completions.create(**CHAT)),
        (sdk.anthropic("hangs", timeout=0.5), lambda client: client.messages.create(**MESSAGE)),
    ):
        server._count.clear()
        policy.reserved.clear()
        policy.settled.clear()
        await sdk.got(ask(client))
        call, outcome = policy.only()
        assert (call.attempts, outcome.status, outcome.estimated) == (2, "ok", False)
        if hasattr(openai._base_client.SyncAPIClient, "_sleep_for_retry"):  # not in openai 1.40
            assert call.particulars.note == "attempt 1 got no answer and may be billed too"
