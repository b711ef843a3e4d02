"""instructor through costguard. Run in its own environment by test_frameworks.py."""

from __future__ import annotations

from typing import Any

import instructor
import pytest
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel

from costguard import BudgetExceeded
from tests.interop import clients
from tests.interop.conftest import CHAT_MODEL, CLAUDE_MODEL, Books
from tests.interop.server import FACTS, Server

ASK: list[Any] = [{"role": "user", "content": "Paris?"}]


class City(BaseModel):
    city: str
    population: int


class Town(BaseModel):
    """What the provider never answers with, so that instructor asks again."""

    mayor: str


def gpt(server: Server, is_async: bool, mode: instructor.Mode) -> Any:
    client = clients.async_openai_client(server) if is_async else clients.openai_client(server)
    return instructor.from_openai(client, mode=mode), {"model": CHAT_MODEL}


def claude(server: Server, is_async: bool, mode: instructor.Mode) -> Any:
    client = clients.async_anthropic_client(server) if is_async else clients.anthropic_client(server)
    return instructor.from_anthropic(client, mode=mode), {"model": CLAUDE_MODEL, "max_tokens": 1000}


WAYS = [
    pytest.param(gpt, instructor.Mode.TOOLS, id="openai-tools"),
    pytest.param(gpt, instructor.Mode.JSON, id="openai-json"),
    pytest.param(gpt, instructor.Mode.RESPONSES_TOOLS, id="openai-responses"),
    pytest.param(claude, instructor.Mode.TOOLS, id="anthropic-tools"),
]


@pytest.mark.parametrize(("provider", "mode"), WAYS)
def test_an_answer_is_one_entry(provider: Any, mode: instructor.Mode, server: Server, books: Books) -> None:
    client, options = provider(server, False, mode)
    assert client.create(response_model=City, messages=ASK, **options).model_dump() == FACTS
    books.assert_one_entry_per_request()


@pytest.mark.parametrize(("provider", "mode"), WAYS)
async def test_an_async_answer_is_one_entry(provider: Any, mode: instructor.Mode, server: Server, books: Books) -> None:
    client, options = provider(server, True, mode)
    answer = await client.create(response_model=City, messages=ASK, **options)
    assert answer.model_dump() == FACTS
    books.assert_one_entry_per_request()


def test_a_partial_stream_is_one_entry(server: Server, books: Books) -> None:
    client, options = gpt(server, False, instructor.Mode.TOOLS)
    *_, last = client.create_partial(response_model=City, messages=ASK, **options)
    assert last.model_dump() == FACTS
    books.assert_one_entry_per_request()


def test_each_time_instructor_asks_again_is_an_entry_of_its_own(server: Server, books: Books) -> None:
    client, options = gpt(server, False, instructor.Mode.TOOLS)
    with pytest.raises(InstructorRetryException):
        client.create(response_model=Town, messages=ASK, max_retries=2, **options)
    books.assert_one_entry_per_request(len(server.asked))
    assert len(server.asked) > 1


def causes(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(("provider", "mode"), WAYS)
def test_a_refusal_is_the_cause_and_is_not_asked_again(
    provider: Any, mode: instructor.Mode, server: Server, books: Books
) -> None:
    client, options = provider(server, False, mode)
    books.refuse()
    with pytest.raises((InstructorRetryException, BudgetExceeded)) as caught:
        client.create(response_model=City, messages=ASK, max_retries=3, **options)
    assert any(isinstance(error, BudgetExceeded) for error in causes(caught.value))
    books.assert_refused_once()


@pytest.mark.parametrize(("provider", "mode"), WAYS)
async def test_an_async_refusal_is_the_cause_and_is_not_asked_again(
    provider: Any, mode: instructor.Mode, server: Server, books: Books
) -> None:
    client, options = provider(server, True, mode)
    books.refuse()
    with pytest.raises((InstructorRetryException, BudgetExceeded)) as caught:
        await client.create(response_model=City, messages=ASK, max_retries=3, **options)
    assert any(isinstance(error, BudgetExceeded) for error in causes(caught.value))
    books.assert_refused_once()
