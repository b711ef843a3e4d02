"""LangChain through costguard. Run in its own environment by test_frameworks.py."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from costguard import BudgetExceeded
from tests.interop.clients import http_clients
from tests.interop.conftest import CHAT_MODEL, CLAUDE_MODEL, EMBEDDING_MODEL, Books
from tests.interop.server import CACHE_READ, FACTS, INPUT, OUTPUT, WORDS, Server

TEXT = "".join(WORDS)


class City(BaseModel):
    city: str
    population: int


def gpt(server: Server, **options: Any) -> Any:
    # LangChain asks for the usage of a stream by itself only with the default HTTP client.
    options = {"stream_usage": True, **options}
    return ChatOpenAI(model=CHAT_MODEL, api_key="sk-local", **http_clients(server), **options)


def claude(server: Server) -> Any:
    return ChatAnthropic(model=CLAUDE_MODEL, api_key="sk-local", base_url=server.url, max_tokens=1000)


MODELS = [
    pytest.param(gpt, id="ChatOpenAI"),
    pytest.param(lambda server: gpt(server, use_responses_api=True), id="ChatOpenAI-responses"),
    pytest.param(claude, id="ChatAnthropic"),
]


def assert_langchain_counts_the_same(message: AIMessage) -> None:
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_tokens"] == INPUT
    assert message.usage_metadata["output_tokens"] == OUTPUT
    assert message.usage_metadata["input_token_details"]["cache_read"] == CACHE_READ


@pytest.mark.parametrize("model", MODELS)
def test_invoke_is_one_entry(model: Any, server: Server, books: Books) -> None:
    message = model(server).invoke("How many live in Paris?")
    assert type(message) is AIMessage
    assert message.text == TEXT
    assert_langchain_counts_the_same(message)
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_ainvoke_is_one_entry(model: Any, server: Server, books: Books) -> None:
    message = await model(server).ainvoke("How many live in Paris?")
    assert message.text == TEXT
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_is_one_entry(model: Any, server: Server, books: Books) -> None:
    chunks = list(model(server).stream("How many live in Paris?"))
    assert {type(chunk) for chunk in chunks} == {AIMessageChunk}
    whole = sum(chunks[1:], chunks[0])
    assert whole.text == TEXT
    assert_langchain_counts_the_same(whole)
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
async def test_an_async_stream_is_one_entry(model: Any, server: Server, books: Books) -> None:
    text = "".join([chunk.text async for chunk in model(server).astream("How many live in Paris?")])
    assert text == TEXT
    books.assert_one_entry_per_request()


def test_a_stream_that_did_not_ask_for_usage_is_still_exact(server: Server, books: Books) -> None:
    chunks = list(gpt(server, stream_usage=False).stream("How many live in Paris?"))
    assert "".join(chunk.text for chunk in chunks) == TEXT
    assert all(chunk.usage_metadata is None for chunk in chunks), "the caller sees a usage that it did not ask for"
    books.assert_one_entry_per_request()


def test_a_stream_left_early_is_never_free(server: Server, books: Books) -> None:
    server.gate.clear()
    stream = gpt(server).stream("How many live in Paris?")
    while not next(stream).text:
        pass
    stream.close()
    server.gate.set()
    (entry,) = books.entries()
    assert (entry.status, entry.estimated) == ("closed", True)
    assert entry.cost
    assert books.guard.standings(user="alice")[0].held == 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_one_entry(model: Any, method: str, server: Server, books: Books) -> None:
    answer = model(server).with_structured_output(City, method=method).invoke("Paris?")
    assert answer == City(**FACTS)
    books.assert_one_entry_per_request()


def test_a_batch_in_threads_keeps_the_tags(server: Server, books: Books) -> None:
    gpt(server).batch(["one", "two", "three", "four"])
    books.assert_one_entry_per_request(4)


def test_embeddings_are_one_entry(server: Server, books: Books) -> None:
    embeddings = OpenAIEmbeddings(
        model=EMBEDDING_MODEL, api_key="sk-local", check_embedding_ctx_length=False, **http_clients(server)
    )
    assert embeddings.embed_documents(["Paris", "Rome"]) == [[0.5, 0.25], [0.5, 0.25]]
    books.assert_one_entry_per_request()


async def test_async_embeddings_are_one_entry(server: Server, books: Books) -> None:
    embeddings = OpenAIEmbeddings(
        model=EMBEDDING_MODEL, api_key="sk-local", check_embedding_ctx_length=False, **http_clients(server)
    )
    await embeddings.aembed_query("Paris")
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("model", MODELS)
def test_a_refusal_comes_through_as_it_is(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        model(server).invoke("How many live in Paris?")
    books.assert_refused_once()


@pytest.mark.parametrize("model", MODELS)
def test_a_refused_stream_raises_at_its_first_chunk(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        next(model(server).stream("How many live in Paris?"))
    books.assert_refused_once()


@pytest.mark.parametrize("model", MODELS)
async def test_a_refusal_comes_through_async_code(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        await model(server).ainvoke("How many live in Paris?")
    books.assert_refused_once()
