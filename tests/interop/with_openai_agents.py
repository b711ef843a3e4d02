"""openai-agents through costguard. Run in its own environment by test_frameworks.py."""

from __future__ import annotations

from typing import Any

import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel

from costguard import BudgetExceeded
from tests.interop import clients
from tests.interop.conftest import CHAT_MODEL, Books
from tests.interop.server import FACTS, INPUT, OUTPUT, WORDS, Server

set_tracing_disabled(True)

TEXT = "".join(WORDS)


class City(BaseModel):
    city: str
    population: int


def chat(server: Server) -> Any:
    return OpenAIChatCompletionsModel(CHAT_MODEL, clients.async_openai_client(server))


def responses(server: Server) -> Any:
    return OpenAIResponsesModel(CHAT_MODEL, clients.async_openai_client(server))


MODELS = [pytest.param(chat, id="chat"), pytest.param(responses, id="responses")]


def agent(model: Any, **options: Any) -> Any:
    return Agent("guide", instructions="Be short.", model=model, **options)


@pytest.mark.parametrize("model", MODELS)
async def test_a_run_is_one_entry(model: Any, server: Server, books: Books) -> None:
    result = await Runner.run(agent(model(server)), "How many live in Paris?")
    assert result.final_output == TEXT
    (answer,) = result.raw_responses
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (INPUT, OUTPUT)
    books.assert_one_entry_per_request()


def test_a_sync_run_is_one_entry(server: Server, books: Books) -> None:
    assert Runner.run_sync(agent(chat(server)), "How many live in Paris?").final_output == TEXT
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_a_streamed_run_is_one_entry(model: Any, server: Server, books: Books) -> None:
    result = Runner.run_streamed(agent(model(server)), "How many live in Paris?")
    events = [event async for event in result.stream_events()]
    assert result.final_output == TEXT
    assert len([event for event in events if event.type == "raw_response_event"]) > len(WORDS)
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_a_typed_output_is_one_entry(model: Any, server: Server, books: Books) -> None:
    result = await Runner.run(agent(model(server), output_type=City), "Paris?")
    assert result.final_output == City(**FACTS)
    books.assert_one_entry_per_request()


async def test_a_run_with_a_tool_is_an_entry_per_request(server: Server, books: Books) -> None:
    @function_tool
    def population(city: str, population: int) -> str:
        return f"{city}: {population}"

    result = await Runner.run(agent(chat(server), tools=[population]), "How many live in Paris?")
    assert result.final_output == TEXT
    books.assert_one_entry_per_request(2)


@pytest.mark.parametrize("model", MODELS)
async def test_a_refusal_comes_through_as_it_is(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        await Runner.run(agent(model(server)), "How many live in Paris?")
    books.assert_refused_once()


@pytest.mark.parametrize("model", MODELS)
async def test_a_refused_stream_raises_where_it_is_read(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    result = Runner.run_streamed(agent(model(server)), "How many live in Paris?")
    with pytest.raises(BudgetExceeded):
        async for _ in result.stream_events():
            pass
    books.assert_refused_once()
