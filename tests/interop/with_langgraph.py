"""LangGraph through costguard: tags in its nodes and threads. Run in its own environment by test_frameworks.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.types import RetryPolicy

from costguard import BudgetExceeded, carry, tagged
from tests.interop.clients import http_clients
from tests.interop.conftest import CHAT_MODEL, Books
from tests.interop.server import WORDS, Server

TEXT = "".join(WORDS)


class State(TypedDict):
    said: Annotated[list[str], add]


def gpt(server: Server, **options: Any) -> Any:
    return ChatOpenAI(model=CHAT_MODEL, api_key="sk-local", stream_usage=True, **http_clients(server), **options)


def graph(server: Server, nodes: dict[str, Any] | None = None, **options: Any) -> Any:
    """Nodes that run side by side, each of which asks once."""
    model = gpt(server)

    def ask(state: State) -> dict[str, list[str]]:
        return {"said": [model.invoke("How many live in Paris?").text]}

    built = StateGraph(State)
    for name, node in (nodes or {"one": ask, "two": ask, "three": ask}).items():
        built.add_node(name, node, **options)
        built.add_edge(START, name)
        built.add_edge(name, END)
    return built.compile()


def test_nodes_in_threads_keep_the_tags(server: Server, books: Books) -> None:
    assert graph(server).invoke({"said": []})["said"] == [TEXT] * 3
    books.assert_one_entry_per_request(3)


async def test_async_nodes_keep_the_tags(server: Server, books: Books) -> None:
    model = gpt(server)

    async def ask(state: State) -> dict[str, list[str]]:
        return {"said": [(await model.ainvoke("How many live in Paris?")).text]}

    await graph(server, {"one": ask, "two": ask}).ainvoke({"said": []})
    books.assert_one_entry_per_request(2)


async def test_plain_nodes_of_an_async_run_keep_the_tags(server: Server, books: Books) -> None:
    await graph(server).ainvoke({"said": []})
    books.assert_one_entry_per_request(3)


def test_streamed_messages_are_one_entry_each(server: Server, books: Books) -> None:
    said = [piece.text for piece, _ in graph(server).stream({"said": []}, stream_mode="messages")]
    assert len("".join(said)) == 3 * len(TEXT)
    books.assert_one_entry_per_request(3)


def test_a_node_tags_what_it_does_itself(server: Server, books: Books) -> None:
    model = gpt(server)

    def asking(feature: str) -> Any:
        def ask(state: State) -> dict[str, list[str]]:
            with tagged(feature=feature):
                return {"said": [model.invoke("How many live in Paris?").text]}

        return ask

    graph(server, {"one": asking("search"), "two": asking("summary")}).invoke({"said": []})
    assert sorted(entry.tags["feature"] for entry in books.entries()) == ["search", "summary"]
    books.assert_one_entry_per_request(2)


def test_threads_of_a_nodes_own_carry_the_tags(server: Server, books: Books) -> None:
    model = gpt(server)

    def ask(state: State) -> dict[str, list[str]]:
        with ThreadPoolExecutor() as pool:
            answers = [pool.submit(carry(model.invoke), "How many live in Paris?") for _ in range(3)]
            return {"said": [answer.result().text for answer in answers]}

    graph(server, {"one": ask}).invoke({"said": []})
    books.assert_one_entry_per_request(3)


def test_an_agent_with_a_tool_is_an_entry_per_request(server: Server, books: Books) -> None:
    @tool
    def population(city: str, population: int) -> str:
        """How many live in a city."""
        return f"{city}: {population}"

    state = create_react_agent(gpt(server), [population]).invoke({"messages": ["How many live in Paris?"]})
    last = state["messages"][-1]
    assert type(last) is AIMessage
    assert last.text == TEXT
    books.assert_one_entry_per_request(2)


def test_a_refusal_comes_through_as_it_is(server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        graph(server, None).invoke({"said": []})
    assert server.asked == []


async def test_a_refusal_comes_through_an_async_run(server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        await graph(server).ainvoke({"said": []})
    assert server.asked == []


def test_a_retry_policy_can_leave_refusals_alone(server: Server, books: Books) -> None:
    """LangGraph's own retries whatever it does not know."""
    books.refuse()
    model = gpt(server)

    def ask(state: State) -> dict[str, list[str]]:
        return {"said": [model.invoke("How many live in Paris?").text]}

    policy = RetryPolicy(initial_interval=0.01, retry_on=lambda error: not isinstance(error, BudgetExceeded))
    with pytest.raises(BudgetExceeded):
        graph(server, {"one": ask}, retry_policy=policy).invoke({"said": []})
    books.assert_refused_once()
