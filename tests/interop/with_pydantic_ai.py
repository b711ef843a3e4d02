"""pydantic-ai through costguard. Run in its own environment by test_frameworks.py."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from costguard import BudgetExceeded
from tests.interop import clients
from tests.interop.conftest import CHAT_MODEL, CLAUDE_MODEL, Books
from tests.interop.server import FACTS, INPUT, OUTPUT, WORDS, Server

TEXT = "".join(WORDS)


class City(BaseModel):
    city: str
    population: int


def chat(server: Server) -> Any:
    return OpenAIChatModel(CHAT_MODEL, provider=OpenAIProvider(openai_client=clients.async_openai_client(server)))


def responses(server: Server) -> Any:
    return OpenAIResponsesModel(CHAT_MODEL, provider=OpenAIProvider(openai_client=clients.async_openai_client(server)))


def claude(server: Server) -> Any:
    client = clients.async_anthropic_client(server)
    return AnthropicModel(CLAUDE_MODEL, provider=AnthropicProvider(anthropic_client=client))


MODELS = [
    pytest.param(chat, id="openai-chat"),
    pytest.param(responses, id="openai-responses"),
    pytest.param(claude, id="anthropic"),
]


@pytest.mark.parametrize("model", MODELS)
async def test_a_run_is_one_entry(model: Any, server: Server, books: Books) -> None:
    result = await Agent(model(server)).run("How many live in Paris?")
    assert result.output == TEXT
    assert (result.usage.input_tokens, result.usage.output_tokens) == (INPUT, OUTPUT)
    books.assert_one_entry_per_request()


def test_a_sync_run_is_one_entry(server: Server, books: Books) -> None:
    assert Agent(chat(server)).run_sync("How many live in Paris?").output == TEXT
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_a_streamed_run_is_one_entry(model: Any, server: Server, books: Books) -> None:
    async with Agent(model(server)).run_stream("How many live in Paris?") as result:
        assert "".join([piece async for piece in result.stream_text(delta=True)]) == TEXT
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_a_typed_output_is_one_entry(model: Any, server: Server, books: Books) -> None:
    result = await Agent(model(server), output_type=City).run("Paris?")
    assert result.output == City(**FACTS)
    books.assert_one_entry_per_request()


async def test_a_run_with_a_tool_is_an_entry_per_request(server: Server, books: Books) -> None:
    agent = Agent(chat(server))

    @agent.tool_plain
    def population(city: str, population: int) -> str:
        return f"{city}: {population}"

    result = await agent.run("How many live in Paris?")
    assert result.output == TEXT
    assert result.usage.requests == 2
    books.assert_one_entry_per_request(2)


@pytest.mark.parametrize("model", MODELS)
async def test_a_refusal_comes_through_as_it_is(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        await Agent(model(server), retries=3).run("How many live in Paris?")
    books.assert_refused_once()


@pytest.mark.parametrize("model", MODELS)
async def test_a_refused_stream_raises_at_its_start(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        async with Agent(model(server)).run_stream("How many live in Paris?") as result:
            await result.get_output()
    books.assert_refused_once()
