"""Ways in which money was lost, held for ever or refused wrongly, each found by attack and held here."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from openai import OpenAI

from costguard import Budget, BudgetExceeded, Guard, Settled, StoreUnavailable, Tags, Usage, tagged
from costguard.call import Call
from costguard.events import Hold, Outcome
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.money import from_nanos
from costguard.providers import collected
from tests.enforcement.provider import Provider

TEN_CENTS = Usage(output_tokens=10_000)  # of gpt-4o, at $10 for a million


def call(**given: Any) -> Call:
    given.setdefault("max_output_tokens", 10_000)
    return Call("openai", "gpt-4o", **given)


def pay(guard: Guard, usage: Usage = TEN_CENTS) -> None:
    made = call()
    guard.reserve(made)
    guard.settle(made, Outcome("ok", usage))


def held_and_spent(guard: Guard, **tags: str) -> tuple[Decimal, Decimal]:
    (standing,) = guard.standings(**tags)
    return standing.held, standing.spent


class Switch(MemoryLedger):
    """A store that can be cut off."""

    down = False

    def reserve(self, *args: Any, **kwargs: Any) -> Any:
        if self.down:
            raise StoreUnavailable("the store is cut off")
        return super().reserve(*args, **kwargs)

    def settle(self, *args: Any, **kwargs: Any) -> Any:
        if self.down:
            raise StoreUnavailable("the store is cut off")
        return super().settle(*args, **kwargs)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/costs.db"


HOSTILE = [
    "a\nb",
    "a\r\nb",
    "a\u2028b",
    "a\x85b",
    "a\x1cb",
    "a\x0bb",
    'a"],0]',
    "a','b",
    "a\x00b",
    "\ud800",
    "x" * 999,
    "%s?",
]


@pytest.mark.parametrize("user", HOSTILE, ids=ascii)
def test_the_lost_hold_of_a_hostile_payer_is_charged_to_that_payer_alone(store: str, user: str) -> None:
    ledger = open_ledger(store)
    with Guard(ledger, budgets=["$1/ever per user"], wait=0) as guard:
        with tagged(user=user):
            made = call()
            guard.reserve(made)
        assert held_and_spent(guard, user=user) == (Decimal("0.1"), 0)
        (lost,) = ledger.expire(time.time_ns() + 10**15)
        assert lost.tags == made.tags
        assert held_and_spent(guard, user=user) == (0, Decimal("0.1"))
        guard.settle(made, Outcome("ok", Usage(output_tokens=5_000)))
        assert held_and_spent(guard, user=user) == (0, Decimal("0.05"))
        assert guard.spent(user=user) == guard.spent() == Decimal("0.05")


def test_a_payer_cut_to_length_is_the_same_payer_however_often_its_tags_are_refined() -> None:
    with tagged(user="a" * 199 + " b") as outer, tagged(feature="chat") as inner:
        assert inner.user == outer.user == "a" * 199


def test_tokens_of_a_second_model_are_recorded_once_however_often_a_call_is_settled(store: str) -> None:
    with Guard(store, budgets=["$1/ever"]) as guard:
        made = call()
        guard.reserve(made)
        ended = Outcome("ok", TEN_CENTS, extra=(("gpt-4o-mini", Usage(input_tokens=1_000)),))
        guard.settle(made, ended)
        guard.settle(made, ended)
        assert len(guard.entries()) == 2
        assert held_and_spent(guard) == (0, Decimal("0.10015"))


def test_a_store_that_goes_while_a_call_waits_for_money_lets_it_through_like_any_other() -> None:
    ledger = Switch()
    with Guard(ledger, budgets=["$0.15/ever"], wait=30) as guard:
        first, second = call(), call()
        guard.reserve(first)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(guard.reserve, second)
            ledger.down = True
            waiting.result(20)
        ledger.down = False
        guard.settle(first, Outcome("ok", TEN_CENTS))
        guard.settle(second, Outcome("ok", TEN_CENTS))
        assert held_and_spent(guard) == (0, Decimal("0.2"))


def test_hooks_hear_once_of_an_entry_that_waited_for_the_store_and_may_flush_there() -> None:
    ledger = Switch()
    heard: list[Any] = []

    def hook(event: Any) -> None:
        heard.append(event)
        guard.flush(0)

    guard = Guard(ledger, budgets=["$0.10/ever"], hooks=[hook])
    ledger.down = True
    pay(guard)
    pay(guard)
    assert heard == []
    ledger.down = False
    flushing = threading.Thread(target=guard.flush, daemon=True)
    flushing.start()
    flushing.join(20)
    assert not flushing.is_alive()
    assert [type(event) for event in heard] == [Settled, Settled]
    assert len({event.entry.call_id for event in heard}) == 2


def test_an_entry_that_no_store_takes_does_not_keep_back_the_others() -> None:
    class Picky(Switch):
        def settle(self, entry: Any, hold: Hold | None) -> Any:
            if entry.model == "gpt-4o" and not self.down:
                raise OverflowError("too large")
            return super().settle(entry, hold)

    ledger = Picky()
    guard = Guard(ledger, budgets=["$1/ever"])
    ledger.down = True
    pay(guard)
    other = Call("openai", "gpt-4o-mini", max_output_tokens=10)
    guard.reserve(other)
    guard.settle(other, Outcome("ok", Usage(output_tokens=10)))
    ledger.down = False
    guard.flush()
    assert [entry.model for entry in guard.entries()] == ["gpt-4o-mini"]


def test_learned_holds_learn_under_a_guard_whose_other_budgets_are_strict() -> None:
    with Guard("memory://", budgets=[Budget(Decimal(1), "ever", holds="learned")], holds="strict") as guard:
        for tokens in (100, 1_000):
            pay(guard, Usage(output_tokens=tokens))
        made = call()
        guard.reserve(made)
        assert made.hold.amount > 10_000_000


@pytest.mark.parametrize("holds", ["learned", "strict"])
def test_a_model_priced_by_the_second_is_held_for_and_refused_like_any_other(holds: Any) -> None:
    with Guard("memory://", budgets=["$0.20/ever"], holds=holds, wait=0) as guard:

        def transcribe() -> None:
            made = Call("openai", "whisper-1", "transcriptions")
            guard.reserve(made)
            assert made.hold.amount > 0
            guard.settle(made, Outcome("ok", Usage(seconds=1_000)))

        transcribe()
        transcribe()
        with pytest.raises(BudgetExceeded):
            transcribe()
        assert guard.spent() == Decimal("0.2")


def test_a_budget_added_by_a_route_while_another_thread_counts_budgets_is_not_missed_by_it() -> None:
    class Meanwhile(Budget):
        def counts(self, tags: Tags) -> bool:
            if len(guard.budgets) == 1:
                adding = threading.Thread(target=view)
                adding.start()
                adding.join(20)
            return Budget.counts(self, tags)

    with Guard("memory://", budgets=[Meanwhile(Decimal(9), "ever")]) as guard:

        @guard.budget("$1/day", per="user")
        def view() -> None:
            pass

        tags = {"user": "alice", "route": view.__qualname__}
        guard.standings(**tags)
        assert len(guard.budgets) == len(guard.standings(**tags)) == 2


def test_one_tagged_open_in_many_threads_leaks_into_none() -> None:
    from costguard import current_tags

    shared = tagged(environment="production")
    opened, closing = threading.Barrier(2, timeout=20), threading.Event()

    def early() -> dict[str, str]:
        with shared:
            opened.wait()
            closing.wait(20)
        return dict(current_tags())

    def late() -> dict[str, str]:
        opened.wait()
        with shared:
            closing.set()
            first.result(20)
        return dict(current_tags())

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(early)
        second = pool.submit(late)
        assert (first.result(20), second.result(20)) == ({}, {})


class Interrupt(BaseException):
    """As KeyboardInterrupt, and the worker time-outs of servers, come: out of a signal handler."""


def test_a_call_interrupted_right_after_its_hold_was_taken_holds_nothing() -> None:
    class Interrupted(MemoryLedger):
        def reserve(self, *args: Any, **kwargs: Any) -> Any:
            super().reserve(*args, **kwargs)
            signal.raise_signal(signal.SIGUSR1)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Guard(Interrupted(), budgets=["$1/ever"]) as guard:
            with pytest.raises(Interrupt):
                guard.reserve(call())
            with pytest.raises(Interrupt):
                asyncio.run(guard.reserve_async(call()))
            assert held_and_spent(guard) == (0, 0)
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_a_call_cancelled_while_it_waits_for_money_holds_nothing(store: str) -> None:
    with Guard(store, budgets=["$0.15/ever"], wait=30) as guard:
        first = call()
        await guard.reserve_async(first)
        waiting = [asyncio.create_task(guard.reserve_async(call())) for _ in range(20)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        assert held_and_spent(guard) == (Decimal("0.1"), 0)
        guard.settle(first, Outcome("ok", TEN_CENTS))
        assert held_and_spent(guard) == (0, Decimal("0.1"))


async def test_a_sync_call_on_the_event_loop_does_not_wait_for_calls_that_need_the_loop() -> None:
    with Guard("memory://", budgets=["$0.15/ever"], wait=600) as guard:
        first = call()
        await guard.reserve_async(first)
        with pytest.raises(BudgetExceeded) as refusal:
            guard.reserve(call())
        assert refusal.value.busy


async def test_sync_views_that_wait_leave_threads_for_the_stream_they_wait_for() -> None:
    from anyio import CapacityLimiter, create_task_group, fail_after, to_thread
    from anyio.to_thread import current_default_thread_limiter

    pool: CapacityLimiter = current_default_thread_limiter()
    before, pool.total_tokens = pool.total_tokens, 6
    ends: list[str] = []
    try:
        with Guard("memory://", budgets=["$0.15/ever"], wait=600) as guard:
            first = call()
            await guard.reserve_async(first)

            def view() -> None:
                try:
                    pay(guard, Usage(output_tokens=10))
                    ends.append("answered")
                except BudgetExceeded as refusal:
                    assert refusal.busy
                    ends.append("busy")

            async with create_task_group() as tasks:
                for _ in range(18):
                    tasks.start_soon(to_thread.run_sync, view)
                # A stream that a sync generator makes: each chunk takes a thread of the pool.
                with fail_after(60):
                    for _ in range(20):
                        await to_thread.run_sync(lambda: None)
                    # One that has begun and not yet asked would find the money that is about to be free.
                    while ends.count("busy") < 15:
                        await to_thread.run_sync(lambda: None)
                guard.settle(first, Outcome("ok", Usage(output_tokens=10)))
            assert ends.count("answered") == 3
            assert ends.count("busy") == 15
            assert held_and_spent(guard) == (0, Decimal("0.0004"))
    finally:
        pool.total_tokens = before


def test_threads_do_not_queue_for_a_locked_file_each_with_its_whole_patience(tmp_path: Path) -> None:
    def refused(guard: Guard) -> str:
        with pytest.raises(StoreUnavailable) as raised:
            guard.reserve(call())
        return str(raised.value)

    url = f"sqlite:///{tmp_path}/costs.db?patience=1"
    with Guard(url, budgets=["$9/ever"], engine="direct", on_store_failure="refuse") as guard:
        other = sqlite3.connect(tmp_path / "costs.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with ThreadPoolExecutor(30) as pool:
                told = list(pool.map(refused, [guard] * 30))
            # Whoever waits for those before it has given up before its turn.
            assert any("was busy with other threads of this process for 1 s" in one for one in told)
        finally:
            other.execute("ROLLBACK")
            other.close()


def test_a_stream_dropped_in_a_garbage_collection_is_recorded_when_flush_returns() -> None:
    collecting = threading.Event()

    class Dropped:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            collected.tell(settle)

    def settle() -> None:
        collecting.wait(20)
        guard.settle(made, Outcome("closed", TEN_CENTS))

    with Guard("memory://", budgets=["$1/ever"]) as guard:
        made = call()
        guard.reserve(made)
        collected.watch()
        Dropped()
        gc.collect()
        threading.Timer(0.05, collecting.set).start()
        guard.flush()
        assert held_and_spent(guard) == (0, Decimal("0.1"))


def test_a_stream_that_a_garbage_collection_ends_under_the_lock_of_its_ledger_is_recorded() -> None:
    class Collecting(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            gc.collect()
            return super().__iter__()

    def stream() -> Iterator[None]:
        try:
            yield
        finally:
            guard.settle(made, Outcome("closed", TEN_CENTS))

    with Guard("memory://", budgets=["$1/ever"]) as guard:
        made = call()
        guard.reserve(made)
        ring: list[Any] = [stream()]
        ring.append(ring)
        next(ring[0])
        del ring
        # It goes through what it is given under its lock, which any thread's own statement may be at.
        asking = threading.Thread(target=guard.ledger.balances, args=(Collecting(),), daemon=True)
        asking.start()
        asking.join(20)
        assert not asking.is_alive()
        guard.flush()
        assert held_and_spent(guard) == (0, Decimal("0.1"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_forked_while_another_thread_settles_can_settle_too(tmp_path: Path) -> None:
    settling, forked = threading.Event(), threading.Event()

    class Slow(Switch):
        def settle(self, *args: Any, **kwargs: Any) -> Any:
            found = super().settle(*args, **kwargs)
            if threading.current_thread() is not threading.main_thread():
                settling.set()
                forked.wait(20)
            return found

    ledger = Slow()
    guard = Guard(ledger, budgets=["$9/ever"])
    ledger.down = True
    pay(guard)
    ledger.down = False
    flushing = threading.Thread(target=guard.flush)
    flushing.start()
    settling.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        guard.flush()
        os._exit(0 if guard.spent() == Decimal("0.1") else 1)
    forked.set()
    flushing.join(20)
    assert os.waitpid(child, 0)[1] == 0


def test_books_are_right_after_any_mix_of_ends(store: str) -> None:
    from random import Random

    random = Random(7)
    users = [f"user{number}\u2028\n\"'" for number in range(5)]
    with Guard(store, budgets=["$0.50/ever per user", "$1.50/ever"], wait=0.2) as guard:

        def work(seed: int) -> None:
            mine = Random(seed)
            with tagged(user=mine.choice(users)):
                made = call(max_output_tokens=mine.choice([None, 100, 5_000]))
                try:
                    guard.reserve(made)
                except BudgetExceeded:
                    return
                usage = mine.choice([None, Usage(), Usage(output_tokens=mine.randrange(100, 6_000))])
                status: Any = mine.choice(["ok", "ok", "error", "closed", "cancelled"])
                for _ in range(mine.choice([1, 1, 2])):
                    guard.settle(made, Outcome(status, usage, billable=status != "error"))

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(work, [random.randrange(10**9) for _ in range(400)]))
        entries = guard.entries(limit=10_000)
        assert len({entry.call_id for entry in entries}) == len(entries)
        total = Decimal(0)
        for user in users:
            one, all_of_them = sorted(guard.standings(user=user), key=lambda standing: standing.limit)
            assert one.held == all_of_them.held == 0
            assert one.spent == guard.spent(user=user) == sum(entry.cost or 0 for entry in guard.entries(user=user))
            overshoot = sum(max(Decimal(0), (entry.cost or 0) - entry.held) for entry in entries)
            assert one.spent <= one.limit + overshoot
            assert all_of_them.spent <= all_of_them.limit + overshoot
            total += one.spent
        assert total == guard.spent() == from_nanos(sum(entry.nanos or 0 for entry in entries))


class SoftTimeLimitExceeded(Exception):
    """As a job queue raises it in a signal handler."""


def test_a_time_limit_that_ends_the_wait_for_money_ends_the_call() -> None:
    def limit(_number: int, _frame: FrameType | None) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, limit)
    try:
        with Provider() as provider, Guard("memory://", budgets=["$0.15/ever"], wait=30) as guard:
            guard.instrument()
            guard.reserve(call())
            client = OpenAI(base_url=provider.url, api_key="none", max_retries=0)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(SoftTimeLimitExceeded):
                client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "x"}], max_tokens=10_000
                )
            assert provider.sold == 0
            assert guard.standings()[0].held == Decimal("0.1"), "only the hold of the running call is left"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_raised_limit_is_told_of_when_it_is_reached_too(tmp_path: Path) -> None:
    told: list[Any] = []
    for limit in ("$0.10", "$0.20"):
        with Guard(f"sqlite:///{tmp_path}/costs.db", budgets=[f"{limit}/ever"], alerts=[told.append]) as guard:
            pay(guard)
    assert [alert.limit for alert in told if alert.fraction == 1] == [Decimal("0.1"), Decimal("0.2")]


def test_a_fault_of_ours_does_not_cost_the_app_its_answer() -> None:
    class Faulty(MemoryLedger):
        def reserve(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("a bug")

    with Guard(Faulty(), budgets=["$1/ever"]) as guard:
        pay(guard)
        assert guard.spent() == guard.standings()[0].spent == Decimal("0.1")
