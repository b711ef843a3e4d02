"""The ways to make one call, each a function of a server that tells what the caller got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.interop import clients
from tests.interop.conftest import CHAT_MODEL, CLAUDE_MODEL, EMBEDDING_MODEL
from tests.interop.server import Server

ASK: list[Any] = [{"role": "user", "content": "How many live in Paris?"}]
CHAT: dict[str, Any] = {"model": CHAT_MODEL, "messages": ASK}
RESPONSE: dict[str, Any] = {"model": CHAT_MODEL, "input": "How many live in Paris?"}
MESSAGE: dict[str, Any] = {"model": CLAUDE_MODEL, "messages": ASK, "max_tokens": 1000}
EMBED: dict[str, Any] = {"model": EMBEDDING_MODEL, "input": "Paris"}

Way = Callable[[Server], Any]


def kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def whole(value: Any) -> list[Any]:
    return [kind(value), value.model_dump(mode="json")]


def streamed(stream: Any, items: list[Any]) -> list[Any]:
    return [kind(stream), hasattr(stream, "response"), [whole(item) for item in items]]


def openai_call(make: Callable[[Any], Any]) -> Way:
    def run(server: Server) -> Any:
        with clients.openai_client(server) as client:
            return make(client)

    return run


def async_openai_call(make: Callable[[Any], Any]) -> Way:
    async def run(server: Server) -> Any:
        async with clients.async_openai_client(server) as client:
            return await make(client)

    return lambda server: asyncio.run(run(server))


def anthropic_call(make: Callable[[Any], Any]) -> Way:
    def run(server: Server) -> Any:
        with clients.anthropic_client(server) as client:
            return make(client)

    return run


def async_anthropic_call(make: Callable[[Any], Any]) -> Way:
    async def run(server: Server) -> Any:
        async with clients.async_anthropic_client(server) as client:
            return await make(client)

    return lambda server: asyncio.run(run(server))


def read(stream: Any) -> list[Any]:
    return streamed(stream, list(stream))


async def read_async(stream: Any) -> list[Any]:
    return streamed(stream, [item async for item in stream])


def raw(response: Any) -> list[Any]:
    return [kind(response), response.status_code, whole(response.parse())]


def raw_stream(response: Any) -> list[Any]:
    return [kind(response), *read(response.parse())]


def lines(response: Any) -> list[Any]:
    with response as body:
        return [kind(body), list(body.iter_lines())]


def helper(manager: Any) -> list[Any]:
    with manager as stream:
        return [kind(stream), [kind(event) for event in stream]]


async def chat_async(client: Any) -> Any:
    return whole(await client.chat.completions.create(**CHAT))


async def chat_stream_async(client: Any) -> Any:
    return await read_async(await client.chat.completions.create(**CHAT, stream=True))


async def chat_raw_async(client: Any) -> Any:
    return raw(await client.chat.completions.with_raw_response.create(**CHAT))


async def response_async(client: Any) -> Any:
    return whole(await client.responses.create(**RESPONSE))


async def message_async(client: Any) -> Any:
    return whole(await client.messages.create(**MESSAGE))


async def message_stream_async(client: Any) -> Any:
    return await read_async(await client.messages.create(**MESSAGE, stream=True))


async def message_helper_async(client: Any) -> Any:
    async with client.messages.stream(**MESSAGE) as stream:
        return [kind(stream), [kind(event) async for event in stream]]


ASKED = {"stream_options": {"include_usage": True}}

WAYS: dict[str, Way] = {
    "chat": openai_call(lambda client: whole(client.chat.completions.create(**CHAT))),
    "chat raw": openai_call(lambda client: raw(client.chat.completions.with_raw_response.create(**CHAT))),
    "chat async": async_openai_call(chat_async),
    "chat raw async": async_openai_call(chat_raw_async),
    "response": openai_call(lambda client: whole(client.responses.create(**RESPONSE))),
    "response async": async_openai_call(response_async),
    "embeddings": openai_call(lambda client: whole(client.embeddings.create(**EMBED))),
    "message": anthropic_call(lambda client: whole(client.messages.create(**MESSAGE))),
    "message raw": anthropic_call(lambda client: raw(client.messages.with_raw_response.create(**MESSAGE))),
    "message async": async_anthropic_call(message_async),
    "chat stream": openai_call(lambda client: read(client.chat.completions.create(**CHAT, stream=True))),
    "chat stream with usage": openai_call(
        lambda client: read(client.chat.completions.create(**CHAT, stream=True, **ASKED))
    ),
    "chat stream raw": openai_call(
        lambda client: raw_stream(client.chat.completions.with_raw_response.create(**CHAT, stream=True))
    ),
    "chat stream lines": openai_call(
        lambda client: lines(client.chat.completions.with_streaming_response.create(**CHAT, stream=True))
    ),
    "chat stream helper": openai_call(lambda client: helper(client.chat.completions.stream(**CHAT))),
    "chat stream async": async_openai_call(chat_stream_async),
    "response stream": openai_call(lambda client: read(client.responses.create(**RESPONSE, stream=True))),
    "response stream helper": openai_call(lambda client: helper(client.responses.stream(**RESPONSE))),
    "message stream": anthropic_call(lambda client: read(client.messages.create(**MESSAGE, stream=True))),
    "message stream helper": anthropic_call(lambda client: helper(client.messages.stream(**MESSAGE))),
    "message stream async": async_anthropic_call(message_stream_async),
    "message stream helper async": async_anthropic_call(message_helper_async),
}
