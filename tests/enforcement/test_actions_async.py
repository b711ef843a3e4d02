"""Async code and a store over the network: nothing of it is waited for on the event loop.

The network is a proxy that holds requests back until the event loop itself lets them through: a loop that waited
for the store would wait for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from costguard import BudgetExceeded, Guard, Usage
from costguard.call import Call
from costguard.events import Outcome
from tests.enforcement.provider import GPT_4O_OUTPUT_TOKENS_FOR_TEN_CENTS, Provider
from tests.ledger.postgres import server
from tests.ledger.proxy import Proxy

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say something long."}]}


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(server().data / ".s.PGSQL.5432")
    yield proxy
    proxy.gate.set()
    proxy.close()


def far(proxy: Proxy, **settings: Any) -> Guard:
    name = server().database().partition("?")[0].rpartition("/")[2]
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable&patience=10"
    # A store that an event loop blocked by itself waits for is not let pass as one that is down.
    given = {"engine": "direct", "budgets": ["$1/day"], "wait": 0, "on_store_failure": "refuse", **settings}
    guard = Guard(url, **given)
    guard.instrument()
    return guard


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


def client(provider: Provider) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=provider.url, api_key="none", max_retries=0)


async def while_the_network_stands_still(proxy: Proxy, work: Awaitable[Any]) -> list[str]:
    """What happened in which order, where the network moves again only when the event loop was seen to turn."""
    happened: list[str] = []
    proxy.gate.clear()

    async def run() -> Any:
        try:
            return await work
        finally:
            happened.append("done")

    task = asyncio.ensure_future(run())
    asked = proxy.trips()
    # Until the request hangs in the network, and some turns more.
    while not asked:
        await asyncio.sleep(0.001)
        asked = proxy.trips()
        assert not task.done()
    for _ in range(50):
        await asyncio.sleep(0)
    happened.append("the loop turned")
    proxy.gate.set()
    await asyncio.wait_for(task, 30)
    return happened


@pytest.mark.parametrize("engine", ["direct", "leases"])
async def test_a_call_waits_for_a_slow_store_without_holding_up_the_event_loop(
    proxy: Proxy, provider: Provider, engine: str
) -> None:
    with far(proxy, engine=engine) as guard:
        call = client(provider).chat.completions.create(**ASK)
        assert await while_the_network_stands_still(proxy, call) == ["the loop turned", "done"]
        assert len(guard.entries()) == provider.sold == 1
        assert guard.standings()[0].held == 0


async def test_what_it_cost_is_recorded_when_the_answer_is_there(proxy: Proxy, provider: Provider) -> None:
    with far(proxy, budgets=["$0.95/day"]) as guard:
        for number in range(9):
            await client(provider).chat.completions.create(**ASK)
            assert len(guard.entries()) == number + 1
        with pytest.raises(BudgetExceeded) as error:
            await client(provider).chat.completions.create(**ASK, max_tokens=GPT_4O_OUTPUT_TOKENS_FOR_TEN_CENTS)
        assert not error.value.busy


async def test_settling_does_not_hold_up_the_event_loop(proxy: Proxy) -> None:
    with far(proxy) as guard:
        made = Call("openai", "gpt-4o", max_output_tokens=10_000)
        await guard.reserve_async(made)

        async def settle() -> None:
            waiting = guard.settling(made, Outcome("ok", Usage(output_tokens=10)))
            assert waiting is not None
            await waiting()

        assert await while_the_network_stands_still(proxy, settle()) == ["the loop turned", "done"]
        assert len(guard.entries()) == 1


@pytest.mark.parametrize("ask", [lambda guard: guard.check_async(), lambda guard: guard.budget("$1/day")(door)()])
async def test_the_check_at_the_door_does_not_hold_up_the_event_loop(
    proxy: Proxy, ask: Callable[[Guard], Awaitable[Any]]
) -> None:
    with far(proxy) as guard:
        assert await while_the_network_stands_still(proxy, ask(guard)) == ["the loop turned", "done"]


async def door() -> None:
    """A view."""


async def test_actions_and_rolling_windows_are_looked_up_off_the_event_loop(proxy: Proxy, provider: Provider) -> None:
    with far(proxy, budgets=["$1/90m then fit at 90%", "1000000 tokens/day"]) as guard:
        call = client(provider).chat.completions.create(**ASK)
        assert await while_the_network_stands_still(proxy, call) == ["the loop turned", "done"]
        assert len(guard.entries()) == 1


async def test_a_call_that_is_cancelled_while_it_waits_for_the_store_leaves_no_hold(
    proxy: Proxy, provider: Provider
) -> None:
    with far(proxy) as guard:
        proxy.trips()
        proxy.gate.clear()
        task = asyncio.ensure_future(client(provider).chat.completions.create(**ASK))
        while not proxy.trips():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.gate.set()
        for _ in range(500):
            guard.flush()
            if not guard.standings()[0].held:
                break
            await asyncio.sleep(0.01)
        assert guard.standings()[0].held == 0
        assert provider.sold == len(guard.entries()) == 0


async def test_a_call_that_is_cancelled_while_it_is_recorded_is_recorded(proxy: Proxy, provider: Provider) -> None:
    with far(proxy) as guard:
        provider.gate.clear()
        task = asyncio.ensure_future(client(provider).chat.completions.create(**ASK))
        while not provider.asked:
            await asyncio.sleep(0.001)
        proxy.trips()
        proxy.gate.clear()
        provider.gate.set()
        while not proxy.trips():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.gate.set()
        guard.flush()
        (entry,) = guard.entries()
        assert (entry.status, entry.estimated) == ("ok", False)
        assert guard.standings()[0].held == 0


async def test_calls_that_wait_for_running_ones_take_none_of_the_threads_of_the_app(
    proxy: Proxy, provider: Provider
) -> None:
    from anyio import to_thread

    with far(proxy, budgets=["$0.15/day"], wait=30, holds="strict") as guard:
        provider.gate.clear()
        asking = client(provider)
        first = asyncio.ensure_future(asking.chat.completions.create(**ASK, max_tokens=10_000))
        while not provider.asked:
            await asyncio.sleep(0.001)
        waiting = [asyncio.ensure_future(asking.chat.completions.create(**ASK, max_tokens=5_000)) for _ in range(3)]
        await asyncio.sleep(0)
        limiter = to_thread.current_default_thread_limiter()
        assert limiter.borrowed_tokens == 0
        provider.gate.set()
        await first
        for done in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(done, BudgetExceeded) or done.choices
        assert guard.standings()[0].held == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stream_too_is_recorded_when_it_was_read(proxy: Proxy, stream: bool) -> None:
    from tests.enforcement.speaking import Heard, Voice, read

    with Heard(tokens=20) as heard, far(proxy) as guard:
        answer = await Voice(heard, "chat", is_async=True).ask(stream=stream)
        if stream:
            await read("chat", answer)
        assert len(guard.entries()) == 1
