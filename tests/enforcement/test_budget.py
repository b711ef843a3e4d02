"""$1.00 of budget at $0.10 a call, however the calls come: at most $1.00 is spent and at least $0.90."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from costguard import BudgetExceeded, Guard
from tests.enforcement.proof_processes import start
from tests.enforcement.provider import GPT_4O_OUTPUT_TOKENS_FOR_TEN_CENTS, Provider
from tests.enforcement.worker import work
from tests.ledger.stores import new_url

BUDGET = "$1.00/ever"
ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say something long."}]}
WITH_MAX = {"max_tokens": GPT_4O_OUTPUT_TOKENS_FOR_TEN_CENTS}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else new_url(request.param, tmp_path)


@pytest.fixture(params=["learned", "strict"])
def holds(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[{}, WITH_MAX], ids=["without max_tokens", "with max_tokens"])
def options(request: pytest.FixtureRequest) -> dict[str, int]:
    options: dict[str, int] = request.param
    return options


@pytest.fixture
def guard(store: str, holds: Any) -> Iterator[Guard]:
    with Guard(store, budgets=[BUDGET], holds=holds, wait=60) as guard:
        guard.instrument()
        yield guard


def assert_the_budget_was_kept(guard: Guard, provider: Provider, answered: int) -> None:
    (standing,) = guard.standings()
    entries = guard.entries()
    assert Decimal("0.90") <= standing.spent <= Decimal("1.00")
    assert standing.held == 0
    assert provider.sold == answered == len(entries), "a paid answer was lost or not recorded"
    assert sum(entry.cost or 0 for entry in entries) == standing.spent == guard.spent()
    assert len({entry.call_id for entry in entries}) == len(entries)


def test_twenty_calls_in_a_row_spend_the_budget_and_no_more(
    guard: Guard, provider: Provider, options: dict[str, int]
) -> None:
    client = OpenAI(base_url=provider.url, api_key="none")
    answered = 0
    for _ in range(20):
        try:
            client.chat.completions.create(**ASK, **options)
            answered += 1
        except BudgetExceeded as refusal:
            assert not refusal.busy
    assert_the_budget_was_kept(guard, provider, answered)


async def test_fifty_coroutines_at_once_spend_the_budget_and_no_more(
    guard: Guard, provider: Provider, options: dict[str, int]
) -> None:
    client = AsyncOpenAI(base_url=provider.url, api_key="none")

    async def call() -> bool:
        try:
            await client.chat.completions.create(**ASK, **options)
        except BudgetExceeded:
            return False
        return True

    answered = sum(await asyncio.gather(*(call() for _ in range(50))))
    assert_the_budget_was_kept(guard, provider, answered)


def test_fifty_threads_at_once_spend_the_budget_and_no_more(
    guard: Guard, provider: Provider, options: dict[str, int]
) -> None:
    client = OpenAI(base_url=provider.url, api_key="none")

    def call(_: int) -> bool:
        try:
            client.chat.completions.create(**ASK, **options)
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        answered = sum(pool.map(call, range(50)))
    assert_the_budget_was_kept(guard, provider, answered)


@pytest.mark.long
@pytest.mark.parametrize(
    ("shared", "threads"),
    [("sqlite", 1), ("sqlite", 5), ("postgres", 5)],
    ids=["sqlite, one thread each", "sqlite, five threads each", "postgres, five threads each"],
)
def test_four_processes_on_one_store_spend_the_budget_and_no_more(
    tmp_path: Path, holds: Any, provider: Provider, options: dict[str, int], shared: str, threads: int
) -> None:
    store = new_url(shared, tmp_path)
    given = {
        "store": store, "budgets": [BUDGET], "holds": holds, "url": provider.url,
        "calls": 25, "threads": threads, "options": options,
    }  # fmt: skip
    children = [start(work, given) for _ in range(4)]
    for child in children:
        assert child.line.recv() == "ready"
    for child in children:
        child.line.send("go")
    answered = sum(child.line.recv() for child in children)
    for child in children:
        child.join()
    with Guard(store, budgets=[BUDGET], wait=60) as guard:
        assert_the_budget_was_kept(guard, provider, answered)


def test_a_prompt_that_costs_more_than_it_shows_does_not_overshoot_when_fifty_come_at_once(store: str) -> None:
    # The provider keeps the conversation: four bytes are sent, 20,000 input tokens are billed.
    with Provider(lambda _: (20_000, 5_000)) as provider, Guard(store, budgets=[BUDGET], wait=60) as guard:
        guard.instrument()
        client = OpenAI(base_url=provider.url, api_key="none")

        def call(_: int) -> bool:
            try:
                client.chat.completions.create(**ASK, max_tokens=5_000)
            except BudgetExceeded:
                return False
            return True

        with ThreadPoolExecutor(50) as pool:
            answered = sum(pool.map(call, range(50)))
        assert_the_budget_was_kept(guard, provider, answered)
