"""Other instrumentors that come and go while costguard stays, goes, or comes again. Run by test_instrumentors.py."""

from __future__ import annotations

import io
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import anthropic
import openai
import pytest

from costguard import BudgetExceeded, Guard, instrument, tagged
from tests.interop.clients import openai_client
from tests.interop.conftest import TOO_SMALL
from tests.interop.server import Server
from tests.interop.tools import Logfire, OpenInference
from tests.interop.ways import CHAT, WAYS

CLIENTS = ["OpenAI", "AsyncOpenAI", "Anthropic", "AsyncAnthropic"]
CALLS = ["chat", "chat async", "chat stream", "message", "message stream async"]


@pytest.fixture(autouse=True)
def untouched_sdks() -> Iterator[None]:
    """Each test finds the SDKs' client classes as they were imported: some tools leave something behind."""
    names = ("request", "_is_instrumented_by_logfire", "_original_request_method")
    classes = [base for sdk in (openai, anthropic) for cls in CLIENTS for base in getattr(sdk, cls, int).__mro__]
    before = [(cls, name, vars(cls).get(name)) for cls in dict.fromkeys(classes) for name in names]
    yield
    for cls, name, value in before:
        if value is not None:
            setattr(cls, name, value)
        elif name in vars(cls):
            delattr(cls, name)


@pytest.fixture(scope="module", params=[OpenInference, Logfire])
def tool(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture
def guard(untouched_sdks: None) -> Iterator[Guard]:
    with Guard("memory://") as guard, tagged(user="alice"):
        yield guard


def call(server: Server, guard: Guard) -> list[int]:
    """How many entries each call made."""
    made = []
    for way in CALLS:
        before = len(guard.entries())
        WAYS[way](server)
        made.append(len(guard.entries()) - before)
    return made


ONCE, NEVER = [1] * len(CALLS), [0] * len(CALLS)


def test_a_tool_that_came_later_and_leaves_first(server: Server, guard: Guard, tool: Any) -> None:
    guard.instrument()
    tool.install()
    tool.uninstall()
    assert call(server, guard) == ONCE
    guard.uninstrument()
    assert call(server, guard) == NEVER


def test_a_tool_that_came_later_and_leaves_last(server: Server, guard: Guard, tool: Any) -> None:
    guard.instrument()
    tool.install()
    guard.uninstrument()
    tool.uninstall()
    assert call(server, guard) == NEVER
    guard.instrument()
    assert call(server, guard) == ONCE


def test_a_tool_that_came_earlier_and_leaves_last(server: Server, guard: Guard, tool: Any) -> None:
    tool.install()
    guard.instrument()
    guard.uninstrument()
    tool.uninstall()
    assert call(server, guard) == NEVER


def test_instrumenting_again_after_a_tool_changes_nothing(server: Server, guard: Guard, tool: Any) -> None:
    guard.instrument()
    tool.install()
    guard.instrument()
    with tool.watching() as seen:
        assert call(server, guard) == ONCE
    assert len(seen) >= len(CALLS)
    tool.uninstall()


def test_a_budget_holds_through_every_layer(server: Server, tool: Any) -> None:
    with Guard("memory://", budgets=[TOO_SMALL], holds="strict", wait=0) as guard:
        for _ in range(2):
            tool.install()
            guard.instrument()
            for way in CALLS:
                with pytest.raises(BudgetExceeded):
                    WAYS[way](server)
            guard.uninstrument()
            tool.uninstall()
    assert server.asked == []


def test_one_client_instrumented_by_logfire_is_counted_once(server: Server, guard: Guard) -> None:
    guard.instrument()
    with openai_client(server) as client:
        Logfire().instrument(client)
        client.chat.completions.create(**CHAT)
    assert len(guard.entries()) == len(server.asked) == 1


def left_first(tool: Any, guard: Guard, server: Server) -> tuple[list[int], list[int]]:
    """The tool puts back the request function that it found, which is not costguard's."""
    tool.install()
    guard.instrument()
    tool.uninstall()
    unnoticed = call(server, guard)
    guard.instrument()
    return unnoticed, call(server, guard)


def one_client(tool: Any, guard: Guard, server: Server) -> tuple[list[int], list[int]]:
    """Logfire keeps the bound `request` of that moment on the client, which is not costguard's."""
    with openai_client(server) as client:
        tool.instrument(client)
        guard.instrument()
        client.chat.completions.create(**CHAT)
        unnoticed = [len(guard.entries())]
        instrument(client, guard)
        client.chat.completions.create(**CHAT)
        return unnoticed, [len(guard.entries()) - unnoticed[0]]


def told(scene: Any, tool: Any) -> tuple[list[int], list[int], str]:
    heard = io.StringIO()
    logging.getLogger("costguard").addHandler(logging.StreamHandler(heard))
    with Server() as server, Guard("memory://") as guard:
        return *scene(tool(), guard, server), heard.getvalue()


@pytest.mark.parametrize(("scene", "tool"), [(left_first, OpenInference), (left_first, Logfire), (one_client, Logfire)])
def test_a_call_that_passes_costguard_by_is_told_of_and_repaired(scene: Any, tool: Any) -> None:
    """In a fork: costguard says so once in the life of a process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as fork:
        before, after, heard = fork.submit(told, scene, tool).result(timeout=30)
    assert all(count == 1 for count in before) or "was not seen by costguard" in heard
    assert all(count == 1 for count in after), "nor does instrumenting again repair it"
