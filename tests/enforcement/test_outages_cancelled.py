"""A task cancelled at each await of a call in turn: nothing stays held, nothing that was sent is forgotten."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from costguard import Guard, tagged
from costguard.call import Call
from costguard.events import Outcome
from costguard.pricing.usage import Usage
from tests.enforcement.proof_provider import PaidProvider, prompt
from tests.enforcement.proof_stores import ALL, place

MOST_AWAITS = 400


@types.coroutine
def cancelled_at(number: int, inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, int]:
    """Run `inner` in this task, which is cancelled at the n-th time that it waits; how often it waited."""
    waits = 0
    step: Callable[[], Any] = lambda: inner.send(None)  # noqa: E731
    while True:
        try:
            waited_for = step()
        except StopIteration:
            return waits
        waits += 1
        if waits == number:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            value = yield waited_for
        except BaseException as error:
            step = lambda error=error: inner.throw(error)  # noqa: E731
        else:
            step = lambda value=value: inner.send(value)  # noqa: E731


async def answer(client: AsyncOpenAI, name: str) -> None:
    await client.chat.completions.create(model="gpt-4o", messages=prompt(name, 5_000), max_tokens=10_000)  # type: ignore[call-overload]


async def stream(client: AsyncOpenAI, name: str) -> None:
    pieces = await client.chat.completions.create(
        model="gpt-4o",
        messages=prompt(name, 5_000),  # type: ignore[arg-type]
        max_tokens=10_000,
        stream=True,
    )
    async with pieces:
        async for _ in pieces:
            pass


Way = Callable[[AsyncOpenAI, str], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("way", [answer, stream])
@pytest.mark.parametrize("store", ALL)
async def test_a_call_cancelled_at_any_await_holds_nothing_and_is_recorded_if_it_was_sent(
    store: str, way: Way, tmp_path: Path
) -> None:
    with PaidProvider() as provider, place(store, tmp_path).guard(budgets=["$1000/ever"]) as guard:
        guard.instrument(usage_hosts=[provider.url.split("/")[2]])
        waits = await _cancel_everywhere(guard, provider, way)
    assert waits >= 3
    assert provider.sold_again == 0


async def _cancel_everywhere(guard: Guard, provider: PaidProvider, way: Way) -> int:
    for number in range(1, MOST_AWAITS):
        name = f"k{number}"
        # A client of its own: connecting is some of the awaits.
        client = AsyncOpenAI(base_url=provider.url, api_key="none", max_retries=0)
        waits = 0

        async def run(name: str = name, client: AsyncOpenAI = client, number: int = number) -> None:
            nonlocal waits
            with tagged(name=name):
                waits = await cancelled_at(number, way(client, name))

        task = asyncio.create_task(run())
        (end,) = await asyncio.gather(task, return_exceptions=True)
        await client.close()
        await _until(lambda: _held(guard) == 0, f"cancelled at wait {number}, it still holds {_held(guard)}")
        # What was sent may arrive after its sender is gone.
        await _until(lambda name=name: _recorded_if_sent(guard, provider, name), f"cancelled at wait {number}")
        if end is None:
            # It waited less often than that: the last round was not disturbed at all.
            (last,) = guard.entries(name=name)
            assert (last.status, last.cost) == ("ok", Decimal("0.05"))
            return waits
        assert isinstance(end, asyncio.CancelledError), end
    raise AssertionError(f"a call waits more than {MOST_AWAITS} times")


def _held(guard: Guard) -> Decimal:
    (standing,) = guard.standings()
    return standing.held


def _recorded_if_sent(guard: Guard, provider: PaidProvider, name: str) -> bool:
    """A call that arrived has one entry, which is not free. One that did not may have one: who is cancelled while
    the request is on its way cannot know, and an estimate is the safe side. Before that there is no cost."""
    entries = guard.entries(name=name)
    assert len(entries) <= 1
    if provider.asked[name]:
        return len(entries) == 1 and bool(entries[0].cost)
    return not entries or entries[0].status == "cancelled"


async def _until(happened: Callable[[], bool], otherwise: str) -> None:
    for _ in range(2_000):
        if happened():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(otherwise)


@pytest.mark.parametrize("store", ALL)
async def test_a_call_cancelled_while_it_waits_for_money_leaves_the_money_to_others(store: str, tmp_path: Path) -> None:
    with PaidProvider() as provider, place(store, tmp_path).guard(budgets=["$0.15/ever"], wait=600) as guard:
        guard.instrument()
        running = Call("openai", "gpt-4o", max_output_tokens=10_000)
        await guard.reserve_async(running)
        held = _held(guard)
        async with AsyncOpenAI(base_url=provider.url, api_key="none", max_retries=0) as client:
            for number in range(1, 12):
                waiting = asyncio.create_task(_discard(cancelled_at(number, answer(client, f"k{number}"))))
                (end,) = await asyncio.gather(waiting, return_exceptions=True)
                assert isinstance(end, asyncio.CancelledError), end
                await _until(lambda: _held(guard) == held, f"cancelled at wait {number}, it holds {_held(guard)}")
            assert not provider.asked
            guard.settle(running, Outcome("ok", Usage(output_tokens=5_000)))
            await answer(client, "after")
        (standing,) = guard.standings()
        assert (standing.held, standing.spent) == (0, Decimal("0.1"))


async def _discard(waits: Awaitable[Any]) -> None:
    await waits
