from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import openai
import pytest

from costguard.providers.instrument import install, uninstall
from tests.providers.recording import Recording
from tests.providers.server import Server


class Sdk:
    """The sync or the async clients, with the words that hide the difference."""

    def __init__(self, server: Server, kind: str) -> None:
        self.server = server
        self.is_async = kind == "async"
        self._made: list[Any] = []

    def openai(self, mode: str = "plain", **more: Any) -> Any:
        cls = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        client = cls(base_url=self.server.url(mode) + "/v1", api_key="none", **more)
        self._made.append(client)
        return client

    def anthropic(self, mode: str = "plain", **more: Any) -> Any:
        cls = anthropic.AsyncAnthropic if self.is_async else anthropic.Anthropic
        client = cls(base_url=self.server.url(mode), api_key="none", **more)
        self._made.append(client)
        return client

    async def got(self, value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value

    async def each(self, stream: Any) -> AsyncIterator[Any]:
        if hasattr(stream, "__aiter__"):
            async for item in stream:
                yield item
        else:
            for item in stream:
                yield item

    async def all(self, stream: Any) -> list[Any]:
        return [item async for item in self.each(stream)]

    async def enter(self, manager: Any) -> Any:
        return await manager.__aenter__() if self.is_async else manager.__enter__()

    async def leave(self, manager: Any) -> None:
        await self.got(manager.__aexit__(None, None, None) if self.is_async else manager.__exit__(None, None, None))

    async def close(self) -> None:
        for client in self._made:
            await self.got(client.close())


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(one_server: Server) -> Iterator[Server]:
    one_server.requests.clear()
    one_server._count.clear()
    one_server.polls = 0
    one_server.release.clear()
    yield one_server
    one_server.release.set()


@pytest.fixture(params=["sync", "async"])
async def sdk(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Sdk]:
    made = Sdk(server, request.param)
    yield made
    server.release.set()
    await made.close()


@pytest.fixture
def policy(server: Server) -> Iterator[Recording]:
    recording = Recording()
    install(recording, usage_hosts=[server.host])
    yield recording
    uninstall(recording)
