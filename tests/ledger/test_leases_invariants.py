"""Any interleaving of workers with leases on one store: never over a limit, nobody refused wrongly, exact books."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from costguard.events import Entry, Hold
from costguard.ledger.base import LEASE
from costguard.ledger.leases import LeaseLedger
from costguard.ledger.memory import MemoryLedger
from tests.ledger.values import NOW, SECOND, entry, hold, limit

pytestmark = pytest.mark.long

WORKERS = 3
LIMITS = ("$1/day per user", "$3/month", "400 tokens/day per user", "30 calls/day per user")

Running = tuple[int, int, Hold]
"""Worker, its life (it may have died since), and the call's hold."""


class Workers(RuleBasedStateMachine):
    dearest: float = 1
    """The most that a call costs, of its hold."""

    running: Bundle[Running] = Bundle("running")
    orphans: Bundle[tuple[Entry, Hold]] = Bundle("orphans")

    @initialize()
    def start(self) -> None:
        self.now = NOW
        self.store = MemoryLedger()
        self.lives = [0] * WORKERS
        self.workers = [self.worker() for _ in range(WORKERS)]
        self.dead: list[LeaseLedger] = []
        self.limits = [limit(rule) for rule in LIMITS]
        self.most = {one.key: one.most for one in self.limits}
        self.counted = {one.key: 0 for one in self.limits}

    def worker(self) -> LeaseLedger:
        return LeaseLedger(
            self.store, want_calls=5, background=False, clock=lambda: self.now, steady=lambda: self.now / SECOND
        )

    @rule(
        target=running,
        number=st.integers(0, WORKERS - 1),
        which=st.sets(st.integers(0, len(LIMITS) - 1), min_size=1),
        cents=st.sampled_from([0, 1, 2, 5, 20, 90]),
        tokens=st.integers(0, 90),
    )
    def reserve(self, number: int, which: set[int], cents: int, tokens: int) -> object:
        one = hold(*[self.limits[place] for place in sorted(which)], cents=cents, at_ns=self.now)
        one.tokens = tokens
        worker = self.workers[number]
        refusal = worker.reserve(one, self.now)
        if refusal is None:
            return (number, self.lives[number], one)
        ((spent, held),) = worker.balances([refusal.limit])
        assert (refusal.spent, refusal.held) == (spent, held)
        assert spent + held + one.on(refusal.limit) > refusal.limit.most, "refused, and there was room"
        return multiple()

    @rule(one=consumes(running), share=st.sampled_from([0, 0.3, 1]), known=st.booleans())
    def settle(self, one: Running, share: float, known: bool) -> None:
        number, life, held = one
        made = self.entry(held, self.dearest if share == 1 and life == self.lives[number] else share)
        if life == self.lives[number]:
            assert self.workers[number].settle(made, held if known else None) is not None
        else:
            # Its journal is replayed: straight into the store.
            assert self.store.settle(made, held) is not None
        self.count(made, held)

    def entry(self, held: Hold, share: float) -> Entry:
        made = entry(held, nanos=int(held.amount * share))
        made.usage = type(made.usage)(input_tokens=int(held.tokens * share))
        return made

    def count(self, made: Entry, held: Hold) -> None:
        for one in held.limits:
            self.counted[one.key] += made.on(one)

    @rule(one=consumes(running))
    def release(self, one: Running) -> None:
        number, life, held = one
        if life == self.lives[number]:
            assert self.workers[number].release(held)

    @rule(number=st.integers(0, WORKERS - 1))
    def tick(self, number: int) -> None:
        self.workers[number].tick()

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.1, 25, 70]))
    def wait(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)

    @rule(number=st.integers(0, WORKERS - 1))
    def kill(self, number: int) -> None:
        self.lives[number] += 1
        self.dead.append(self.workers[number])
        self.workers[number] = self.worker()

    @rule(number=st.integers(0, WORKERS - 1))
    def close(self, number: int) -> None:
        self.workers[number].close()

    @rule(number=st.integers(0, WORKERS - 1))
    def expire(self, number: int) -> None:
        self.workers[number].expire(self.now)

    @rule(place=st.integers(0, len(LIMITS) - 1), times=st.sampled_from([1, 2, 3]))
    def raise_limit(self, place: int, times: int) -> None:
        rule = LIMITS[place]
        amount, rest = rule.lstrip("$").split("/" if rule[0] == "$" else " ", 1)
        text = f"${int(amount) * times}/{rest}" if rule[0] == "$" else f"{int(amount) * times} {rest}"
        self.limits[place] = limit(text)
        key = self.limits[place].key
        self.most[key] = max(self.most[key], self.limits[place].most)

    @invariant()
    def never_over_the_limit(self) -> None:
        if not hasattr(self, "limits"):
            return
        for one, (spent, held) in zip(self.limits, self.store.balances(self.limits), strict=True):
            assert held >= 0
            assert self.counted[one.key] <= spent
            over = sum(worker.overshoot for worker in (*self.workers, *self.dead))
            assert over == 0 or self.dearest > 1
            # In tokens it is not told.
            assert one.unit == "tokens" or spent + held <= self.most[one.key] + over

    def teardown(self) -> None:
        if not hasattr(self, "limits"):
            return
        for worker in self.workers:
            worker.close()
            worker.expire(self.now + 1000 * SECOND)
        self.store.expire(self.now + 1000 * SECOND)
        for one, (spent, held) in zip(self.limits, self.store.balances(self.limits), strict=True):
            assert held == 0
            if one.unit == "usd":
                charged = sum(
                    line.nanos or 0
                    for line in self.store.entries({}, limit=10_000)
                    if (line.provider, line.operation) == LEASE and line.tags == self.tags_of(one.payer)
                )
                calls = self.counted[one.key] + self.lost(one.key)
                assert spent == calls + charged

    def tags_of(self, payer: tuple[tuple[str, str], ...]) -> dict[str, str]:
        return dict(payer)

    def lost(self, key: str) -> int:
        """Calls of workers that live, charged when they were overdue."""
        return sum(
            line.nanos or 0
            for line in self.store.entries({}, limit=10_000)
            if line.status == "lost"
            and line.provider != LEASE[0]
            and any(one.key == key for one, _ in self.store._charged[line.call_id])
        )


class DearCalls(Workers):
    """Calls that cost more than they hold: a limit is passed by no more than the workers tell."""

    dearest = 3


TestWorkers = Workers.TestCase
TestDearCalls = DearCalls.TestCase
TestWorkers.settings = TestDearCalls.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
