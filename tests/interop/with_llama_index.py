"""LlamaIndex through costguard. Run in its own environment by test_frameworks.py."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel

from costguard import BudgetExceeded
from tests.interop.conftest import CHAT_MODEL, EMBEDDING_MODEL, Books
from tests.interop.server import FACTS, WORDS, Server

TEXT = "".join(WORDS)
ASK = [ChatMessage(role="user", content="How many live in Paris?")]


@pytest.fixture(autouse=True)
def usage_asked_for(books: Books, server: Server) -> None:
    """As at api.openai.com, where streams are asked for their usage."""
    books.guard.instrument(usage_hosts=[f"127.0.0.1:{server.port}"])


class City(BaseModel):
    city: str
    population: int


def chat(server: Server) -> Any:
    return OpenAI(model=CHAT_MODEL, api_base=f"{server.url}/v1", api_key="sk-local")


def responses(server: Server) -> Any:
    return OpenAIResponses(model=CHAT_MODEL, api_base=f"{server.url}/v1", api_key="sk-local")


def embedder(server: Server) -> Any:
    return OpenAIEmbedding(model=EMBEDDING_MODEL, api_base=f"{server.url}/v1", api_key="sk-local")


MODELS = [pytest.param(chat, id="OpenAI"), pytest.param(responses, id="OpenAIResponses")]


@pytest.mark.parametrize("model", MODELS)
def test_a_chat_is_one_entry(model: Any, server: Server, books: Books) -> None:
    assert model(server).chat(ASK).message.content == TEXT
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_an_async_chat_is_one_entry(model: Any, server: Server, books: Books) -> None:
    assert (await model(server).achat(ASK)).message.content == TEXT
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_is_one_entry(model: Any, server: Server, books: Books) -> None:
    assert "".join(piece.delta or "" for piece in model(server).stream_chat(ASK)) == TEXT
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_an_async_stream_is_one_entry(model: Any, server: Server, books: Books) -> None:
    pieces = [piece.delta or "" async for piece in await model(server).astream_chat(ASK)]
    assert "".join(pieces) == TEXT
    books.assert_one_entry_per_request()


def test_a_typed_program_is_one_entry(server: Server, books: Books) -> None:
    answer = chat(server).as_structured_llm(City).complete("Paris?").raw
    assert answer == City(**FACTS)
    books.assert_one_entry_per_request()


def test_embeddings_are_one_entry(server: Server, books: Books) -> None:
    assert embedder(server).get_text_embedding_batch(["Paris", "Rome"]) == [[0.5, 0.25], [0.5, 0.25]]
    books.assert_one_entry_per_request()


async def test_async_embeddings_are_one_entry(server: Server, books: Books) -> None:
    await embedder(server).aget_query_embedding("Paris")
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("ask", [
    pytest.param(lambda server: chat(server).chat(ASK), id="chat"),
    pytest.param(lambda server: responses(server).chat(ASK), id="responses"),
    pytest.param(lambda server: list(chat(server).stream_chat(ASK)), id="stream"),
    pytest.param(lambda server: embedder(server).get_text_embedding("Paris"), id="embedding"),
])  # fmt: skip
def test_a_refusal_comes_through_and_is_not_asked_again(ask: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        ask(server)
    books.assert_refused_once()


async def test_a_refusal_comes_through_async_code(server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        await chat(server).achat(ASK)
    books.assert_refused_once()
