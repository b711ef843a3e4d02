"""What a worker with leases asks of its store, and what it gives back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Event

import pytest

from costguard.budgets import Limit
from costguard.errors import StoreUnavailable
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Ledger, Refusal
from costguard.ledger.journal import JournalLedger
from costguard.ledger.leases import LeaseLedger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.wrapper import Wrapper
from costguard.overshoot import Overshoot
from costguard.pricing.usage import Usage
from tests.ledger.lease_worker import TIGHT, WIDE, limits, spend
from tests.ledger.stores import new_url
from tests.ledger.values import CENT, DAY, NOW, SECOND, entry, hold, limit

ROOT = Path(__file__).parents[2]


class Far(Wrapper):
    """A store at the end of a network: it counts what it is asked, and can be cut off."""

    def __init__(self, inner: Ledger) -> None:
        super().__init__(inner)
        self.asked: Counter[str] = Counter()
        self.down = False
        self.down_for: set[str] = set()
        self.loses_answers = False
        self.gate = Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    def _ask(self, what: str) -> None:
        self.asked[what] += 1
        if self.down or what in self.down_for:
            raise StoreUnavailable("the store is down")

    def local(self, hold: Hold) -> bool:
        return False

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        self._ask("reserve")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(30)
        self.at_once -= 1
        answer = self.inner.reserve(hold, now_ns, alone=alone)
        if self.loses_answers:
            raise StoreUnavailable("the connection broke")
        return answer

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        self._ask("balances")
        return self.inner.balances(limits)

    def reached(self, limits: Sequence[Limit]) -> Refusal | None:
        self._ask("reached")
        return self.inner.reached(limits)

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        self._ask("settle")
        return self.inner.settle(entry, hold)

    def release(self, hold: Hold) -> bool:
        self._ask("release")
        return self.inner.release(hold)

    def extend(self, hold_ids: Sequence[str], expires_ns: int) -> set[str]:
        self._ask("extend")
        return self.inner.extend(hold_ids, expires_ns)


class Clock:
    """Wall clock and steady clock, which this test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)

    def wall(self) -> int:
        return self.now

    def steady(self) -> float:
        return (self.now - NOW) / SECOND


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def far() -> Far:
    return Far(MemoryLedger())


@pytest.fixture
def worker(far: Far, clock: Clock) -> Callable[[], LeaseLedger]:
    return lambda: LeaseLedger(far, background=False, clock=clock.wall, steady=clock.steady)


@pytest.fixture
def ledger(worker: Callable[[], LeaseLedger]) -> LeaseLedger:
    return worker()


def call(ledger: Ledger, now_ns: int, *on: Limit, cents: float = 1, cost: float | None = None) -> Hold:
    one = hold(*on, cents=cents, at_ns=now_ns)
    assert ledger.reserve(one, now_ns) is None
    ledger.settle(entry(one, cents if cost is None else cost), one)
    return one


def test_most_calls_ask_nothing_of_the_store(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    for _ in range(200):
        call(ledger, clock.now, on)
    assert far.asked["reserve"] + far.asked["balances"] <= 20
    assert ledger.balances([on]) == [(200 * CENT, 0)]


def test_a_refill_is_one_question_or_two(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    for _ in range(5):
        before = far.asked.total()
        assert ledger.reserve(hold(on, cents=200), clock.now) is None
        assert far.asked.total() - before <= 2


def test_slices_grow_while_they_are_used_up_quickly_and_shrink_again(
    ledger: LeaseLedger, far: Far, clock: Clock
) -> None:
    on = limit("$1000/day per user")

    def most_held(calls: int) -> int:
        held = []
        for _ in range(calls):
            call(ledger, clock.now, on)
            held.append(far.inner.balances([on])[0][1])
        return max(held)

    early = most_held(10)
    assert most_held(1000) > 5 * early
    for _ in range(8):
        ledger.tick()
        clock.wait(5)
        ledger.tick()
        call(ledger, clock.now, on)
    assert far.inner.balances([on])[0][1] <= early


def test_the_first_slice_is_what_its_call_needs(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$1000/day per user")
    assert ledger.reserve(hold(on, cents=10, at_ns=clock.now), clock.now) is None
    assert far.inner.balances([on]) == [(0, 10 * CENT)]


@pytest.mark.parametrize("at_once", [1, 2, 5, 20, 100])
def test_a_worker_has_leased_at_most_four_times_what_its_calls_have_held(
    ledger: LeaseLedger, far: Far, clock: Clock, at_once: int
) -> None:
    on = limit("$1000/day per user")
    for _ in range(5):
        calls = [hold(on, cents=10, at_ns=clock.now) for _ in range(at_once)]
        for one in calls:
            assert ledger.reserve(one, clock.now) is None
            ledger.tick()
            assert far.inner.balances([on])[0][1] <= 4 * at_once * 10 * CENT
        for one in calls:
            ledger.settle(entry(one, 0.1), one)
        clock.wait(0.05)


def test_what_the_first_calls_of_a_kind_held_does_not_size_the_slices_of_the_later_ones(
    ledger: LeaseLedger, far: Far, clock: Clock
) -> None:
    on = limit("$1000/day per user")
    call(ledger, clock.now, on, cents=10, cost=0.1)
    for _ in range(200):
        call(ledger, clock.now, on, cents=0.2, cost=0.1)
        clock.wait(0.01)
    ledger.tick()
    assert far.inner.balances([on])[0][1] <= 10 * CENT


def test_a_slice_is_at_most_an_eighth_of_what_is_left_and_near_the_end_what_one_call_needs(
    ledger: LeaseLedger, far: Far, clock: Clock
) -> None:
    on = limit("$1/day per user")
    while True:
        one = hold(on, cents=1, at_ns=clock.now)
        if ledger.reserve(one, clock.now) is not None:
            break
        ((spent, held),) = far.inner.balances([on])
        left = on.most - spent
        assert held <= max(CENT, left // 4)
        if left < 8 * CENT:
            assert held == CENT
        ledger.settle(entry(one, 1), one)
        clock.wait(0.3)
        ledger.tick()
    assert far.inner.balances([on]) == [(100 * CENT, 0)]


def test_the_next_slice_is_leased_ahead(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    for _ in range(15):
        call(ledger, clock.now, on)
    asked = far.asked["reserve"]
    ledger.tick()
    assert far.asked["reserve"] == asked + 1
    for _ in range(15):
        call(ledger, clock.now, on)
    assert far.asked["reserve"] == asked + 1


def test_an_idle_slice_goes_back_after_a_second(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    call(ledger, clock.now, on, cents=3, cost=1)
    ledger.tick()
    assert far.inner.balances([on])[0][1] > 0
    clock.wait(1.1)
    ledger.tick()
    assert far.inner.balances([on]) == [(CENT, 0)]


def test_an_idle_slice_keeps_only_what_its_running_calls_hold(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    slow = hold(on, cents=3, at_ns=clock.now)
    ledger.reserve(slow, clock.now)
    ledger.tick()
    clock.wait(1.1)
    ledger.tick()
    assert far.inner.balances([on]) == [(0, 3 * CENT)]
    ledger.settle(entry(slow, 2), slow)
    ledger.tick()
    assert far.inner.balances([on])[0][0] == 2 * CENT
    clock.wait(1.1)
    ledger.tick()
    assert far.inner.balances([on]) == [(2 * CENT, 0)]


def test_what_another_worker_needs_is_given_back_while_calls_run(
    worker: Callable[[], LeaseLedger], far: Far, clock: Clock
) -> None:
    on = limit("$1/day per user")
    rich, poor = worker(), worker()
    for _ in range(100):
        call(rich, clock.now, on, cents=0.1)
    slow = hold(on, cents=0.1, at_ns=clock.now)
    rich.reserve(slow, clock.now)
    for _ in range(800):
        call(poor, clock.now, on, cents=0.1)
    last = hold(on, cents=9, at_ns=clock.now)
    refusal = poor.reserve(last, clock.now)
    assert refusal is not None
    assert refusal.spent == 90 * CENT
    assert refusal.held > 0
    clock.wait(0.1)
    rich.tick()
    assert poor.reserve(last, clock.now) is None
    assert far.inner.balances([on]) == [(90 * CENT, 9.1 * CENT)]


def test_leases_are_kept_alive_while_slices_end_faster_than_the_store_takes_them_back(
    ledger: LeaseLedger, far: Far, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich, poor = limit("$1000/day per user"), limit("$0.10/day")
    slow = hold(rich, cents=5, at_ns=clock.now)
    assert ledger.reserve(slow, clock.now) is None
    released = far.release

    def release(lease: Hold) -> bool:
        # Another call ends meanwhile, near exhaustion: its slice is one more to give back.
        assert far.asked["release"] < 100
        call(ledger, clock.now, poor, cents=2, cost=0)
        return released(lease)

    monkeypatch.setattr(far, "release", release)
    call(ledger, clock.now, poor, cents=2, cost=0)
    clock.wait(25)
    ledger.tick()
    ledger.tick()
    clock.wait(50)
    assert far.inner.expire(clock.now) == []


def test_slices_of_a_window_that_has_ended_go_back(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    call(ledger, clock.now, on)
    clock.now += DAY
    call(ledger, clock.now, limit("$100/day per user", at_ns=clock.now))
    ledger.tick()
    assert far.inner.balances([on]) == [(CENT, 0)]


def test_a_lower_limit_takes_back_what_was_leased_beyond_it(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    high, low = limit("$1000/day per user"), limit("$0.10/day per user")
    several = [hold(high, cents=5, at_ns=clock.now) for _ in range(6)]
    for one in several:
        assert ledger.reserve(one, clock.now) is None
    for one in several[1:]:
        ledger.release(one)
    ledger.settle(entry(several[0], 5), several[0])
    assert far.inner.balances([high])[0][1] > 10 * CENT
    refusal = ledger.reserve(hold(low, cents=6, at_ns=clock.now), clock.now)
    assert refusal is not None
    assert refusal.spent == 5 * CENT
    assert sum(far.inner.balances([low])[0]) <= 10 * CENT
    assert ledger.reserve(hold(low, cents=5, at_ns=clock.now), clock.now) is None


def test_a_higher_limit_counts_at_the_next_call(ledger: LeaseLedger, clock: Clock) -> None:
    low, high = limit("$0.10/day per user"), limit("$1/day per user")
    call(ledger, clock.now, low, cents=10)
    assert ledger.reserve(hold(low, cents=1, at_ns=clock.now), clock.now) is not None
    assert ledger.reserve(hold(high, cents=50, at_ns=clock.now), clock.now) is None


def test_while_the_store_is_down_calls_run_on_what_is_leased(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    call(ledger, clock.now, on, cents=12, cost=1)
    far.down = True
    many = hold(on, cents=10, at_ns=clock.now)
    assert ledger.reserve(many, clock.now) is None
    more = hold(on, cents=10, at_ns=clock.now)
    with pytest.raises(StoreUnavailable):
        ledger.reserve(more, clock.now)
    far.down = False
    assert ledger.reserve(hold(on, cents=1, at_ns=clock.now), clock.now) is None


def test_a_lease_of_which_the_answer_was_lost_is_given_back(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    far.loses_answers = True
    with pytest.raises(StoreUnavailable):
        ledger.reserve(hold(on, at_ns=clock.now), clock.now)
    assert far.inner.balances([on])[0][1] > 0
    far.loses_answers = False
    ledger.tick()
    assert far.inner.balances([on]) == [(0, 0)]


def test_one_thread_asks_for_a_limit_and_the_others_take_what_it_brings(far: Far) -> None:
    ledger = LeaseLedger(far, want_calls=40, clock=lambda: NOW)
    on = limit("$100/day per user")
    far.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(ledger.reserve, hold(on, cents=1), NOW) for _ in range(20)]
        far.gate.set()
        assert [one.result(timeout=30) for one in calls] == [None] * 20
    assert far.most_at_once == 1
    ledger.close()


def test_several_limits_are_leased_all_or_none(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    wide, tight = limit("$100/day per user"), limit("$0.05/month")
    refusal = ledger.reserve(hold(wide, tight, cents=6, at_ns=clock.now), clock.now)
    assert refusal is not None
    assert refusal.limit is tight
    assert ledger.balances([wide, tight]) == [(0, 0), (0, 0)]
    ledger.tick()
    clock.wait(1.1)
    ledger.tick()
    assert far.inner.balances([wide, tight]) == [(0, 0), (0, 0)]


def test_leases_are_kept_alive_while_their_worker_lives(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    slow = hold(on, cents=3, at_ns=clock.now)
    ledger.reserve(slow, clock.now)
    for _ in range(10):
        clock.wait(25)
        ledger.tick()
    assert far.inner.expire(clock.now) == []
    ledger.settle(entry(slow, 2), slow)
    clock.wait(2)
    ledger.tick()
    assert far.inner.balances([on]) == [(2 * CENT, 0)]


def test_a_worker_that_slept_past_its_leases_replaces_their_charge_by_the_truth(
    ledger: LeaseLedger, far: Far, clock: Clock
) -> None:
    on = limit("$100/day per user")
    slow = hold(on, cents=3, at_ns=clock.now)
    ledger.reserve(slow, clock.now)
    clock.wait(100)
    (lost,) = far.inner.expire(clock.now)
    assert far.inner.balances([on]) == [(lost.nanos, 0)]
    new = call(ledger, clock.now, on)
    assert new.leases != slow.leases
    ledger.settle(entry(slow, 2), slow)
    ledger.tick()
    clock.wait(2)
    ledger.tick()
    assert far.inner.balances([on]) == [(3 * CENT, 0)]
    assert {line.status for line in far.inner.entries({})} == {"ok"}
    assert ledger.overshoot == 0


def test_a_worker_that_slept_makes_its_next_call_though_its_lost_lease_cannot_go_back_yet(
    ledger: LeaseLedger, far: Far, clock: Clock
) -> None:
    on = limit("$100/day per user")
    call(ledger, clock.now, on, cents=3, cost=2)
    clock.wait(100)
    (lost,) = far.inner.expire(clock.now)
    assert lost.nanos == 1 * CENT
    # As with entries that wait for a store that was busy a moment ago.
    far.down_for = {"release"}
    assert ledger.reserve(hold(on, cents=5, at_ns=clock.now), clock.now) is None
    with pytest.raises(StoreUnavailable):
        ledger.tick()
    far.down_for = set()
    ledger.tick()
    assert far.inner.balances([on])[0][0] == 2 * CENT


def test_a_worker_that_slept_and_that_nobody_missed_goes_on_with_its_leases(
    ledger: LeaseLedger, far: Far, clock: Clock
) -> None:
    on = limit("$100/day per user")
    call(ledger, clock.now, on, cents=5, cost=1)
    slow = hold(on, cents=3, at_ns=clock.now)
    ledger.reserve(slow, clock.now)
    clock.wait(100)
    assert call(ledger, clock.now, on).leases == slow.leases
    assert far.inner.expire(clock.now) == []


def test_a_call_that_never_ends_is_charged_by_its_worker_and_replaced_by_the_truth(
    ledger: LeaseLedger, far: Far, clock: Clock
) -> None:
    on = limit("$1/day per user")
    slow = hold(on, cents=30, seconds=10, at_ns=clock.now)
    ledger.reserve(slow, clock.now)
    clock.wait(11)
    for _ in range(40):
        ledger.tick()
    assert far.inner.balances([on]) == [(30 * CENT, 0)]
    assert ledger.settle(entry(slow, 4), slow) is not None
    assert far.inner.balances([on]) == [(4 * CENT, 0)]


def test_costs_beyond_what_was_leased_are_told_as_overshoot(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$1/day per user")
    one = hold(on, cents=100, at_ns=clock.now)
    ledger.reserve(one, clock.now)
    ledger.settle(entry(one, 130), one)
    assert ledger.overshoot == 30 * CENT
    assert ledger.overshoots == {"$1.00/day per user": (on, 30 * CENT)}
    assert far.inner.balances([on]) == [(130 * CENT, 0)]


def test_a_budget_that_refuses_nothing_has_no_overshoot(ledger: LeaseLedger, clock: Clock) -> None:
    call(ledger, clock.now, limit("$1/day then alert at 100%"), cents=10, cost=40)
    assert (ledger.overshoot, ledger.overshoots) == (0, {})


def test_overshoot_is_told_by_budget_in_the_units_of_the_budgets(ledger: LeaseLedger, clock: Clock) -> None:
    usd, tokens = limit("$1/day per user"), limit("1000 tokens/day per user")
    both = tuple(sorted([usd, tokens], key=lambda one: one.key))
    one = hold(*both, cents=1, at_ns=clock.now)
    one.tokens = 100
    assert ledger.reserve(one, clock.now) is None
    dear = entry(one, 3)
    dear.usage = Usage(input_tokens=100, output_tokens=50)
    ledger.settle(dear, one)
    assert ledger.overshoots == {usd.budget.title: (usd, 2 * CENT), tokens.budget.title: (tokens, 50)}
    assert Overshoot(ledger).by_budget == {usd.budget.title: Decimal("0.02"), tokens.budget.title: Decimal(50)}


def test_a_dearer_call_draws_on_the_rest_of_its_slice_first(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    call(ledger, clock.now, on, cents=12, cost=1)
    call(ledger, clock.now, on, cents=1, cost=8)
    assert ledger.overshoot == 0
    assert far.inner.balances([on]) == [(9 * CENT, 3 * CENT)]


def test_what_suffices_is_local_and_the_door_is_answered_here(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    assert not ledger.local(hold(on, at_ns=clock.now))
    assert ledger.reached([on]) is None
    call(ledger, clock.now, on, cents=5, cost=1)
    asked = far.asked.total()
    assert ledger.local(hold(on, cents=2, at_ns=clock.now))
    assert not ledger.local(hold(on, cents=5000, at_ns=clock.now))
    assert ledger.reached([on]) is None
    assert far.asked.total() == asked


def test_closing_gives_back_all_but_what_running_calls_hold(ledger: LeaseLedger, far: Far, clock: Clock) -> None:
    on = limit("$100/day per user")
    slow = hold(on, cents=3, at_ns=clock.now)
    ledger.reserve(slow, clock.now)
    call(ledger, clock.now, on)
    ledger.close()
    assert far.inner.balances([on]) == [(CENT, 3 * CENT)]
    ledger.settle(entry(slow, 2), slow)
    ledger.tick()
    assert far.inner.balances([on])[0][0] == 3 * CENT
    ledger.close()
    assert far.inner.balances([on]) == [(3 * CENT, 0)]


def test_the_thread_gives_idle_slices_back_by_itself(tmp_path: Path) -> None:
    store = open_ledger(new_url("sqlite", tmp_path))
    ledger = LeaseLedger(store, idle=0.2)
    (on,) = limits(TIGHT)
    assert spend(ledger, 3, 0.1, (on,))["allowed"] == 3
    given_back = Event()
    for _ in range(200):
        if store.balances([on]) == [(3 * CENT // 10, 0)]:
            given_back.set()
            break
        given_back.wait(0.05)
    assert given_back.is_set()
    ledger.close()


def test_a_forked_child_begins_without_leases_and_gives_back_none_of_its_parents(tmp_path: Path) -> None:
    store = open_ledger(new_url("sqlite", tmp_path))
    ledger = LeaseLedger(store)
    (on,) = limits("$100/month")
    slow = hold(on, cents=3, at_ns=time.time_ns())
    ledger.reserve(slow, time.time_ns())
    child = os.fork()
    if child == 0:
        code = 1
        try:
            mine = hold(on, cents=1, at_ns=time.time_ns())
            if ledger.reserve(mine, time.time_ns()) is None and mine.leases[0] not in slow.leases:
                ledger.settle(entry(mine, 1), mine)
                ledger.close()
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert ledger.settle(entry(slow, 2), slow) == ()
    assert ledger.overshoot == 0
    ledger.close()
    assert store.balances([on]) == [(3 * CENT, 0)]
    store.close()


@pytest.mark.parametrize("count", [1, 5])
def test_what_a_killed_worker_leaves_is_little(count: int, tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.lease_worker", url, "cold", str(count)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stdout.readline() == "spending\n"
    worker.kill()
    worker.communicate(timeout=30)
    store = open_ledger(url)
    store.expire(time.time_ns() + 120 * SECOND)
    ((spent, held),) = store.balances(limits(WIDE))
    # A cold hold is ten cents, a call cost one; before, twenty such holds were leased at once.
    assert count * CENT <= spent <= 30 * CENT
    assert held == 0
    store.close()


@pytest.mark.parametrize("what", ["idle", "child"])
def test_what_a_process_leased_goes_back_when_it_ends(what: str, tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.ledger.lease_worker", url, what, "5"],
        cwd=ROOT, input="end\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    store = open_ledger(url)
    ((spent, held),) = store.balances(limits(TIGHT))
    assert (spent, held) == (5 * CENT if what == "idle" else CENT, 0)
    store.close()


def test_over_a_journal_the_books_are_exact(tmp_path: Path) -> None:
    store = open_ledger(new_url("sqlite", tmp_path))
    ledger = LeaseLedger(JournalLedger(store, tmp_path / "journal"))
    ledger.open()
    (on,) = limits("$0.10/month")
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: spend(ledger, 50, 0.1, (on,)), range(8)))
    assert sum(one["allowed"] for one in said) == 100
    assert sum(one["busy"] for one in said) == 0
    assert ledger.balances([on]) == [(10 * CENT, 0)]
    ledger.close()
    assert store.balances([on]) == [(10 * CENT, 0)]
    assert store.spent({}) == 10 * CENT
    store.close()
