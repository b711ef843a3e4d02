"""Any interleaving of the verbs, and losses of all its data: Valkey answers as the store in memory, to the nano."""

from __future__ import annotations

import tempfile
from copy import copy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from costguard.budgets import Limit
from costguard.call import Call, new_call_id
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import LEASE, Lease
from costguard.ledger.memory import MemoryLedger
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger.valkey import opened, server
from tests.ledger.values import DAY, NOW, SECOND, entry, facts, hold, limit

pytestmark = pytest.mark.long

RULES = (
    "$1/day per user",
    "$0.60/week per user",
    # Above 2^53 nano-dollars, where doubles have gaps.
    "$20000000.000000001/month",
    "900 tokens/day per user",
    "3 calls/day per feature",
)
TAGS = [Tags(user="alice", feature="chat"), Tags(user="bob", feature="chat")]
AMOUNTS = st.one_of(
    st.integers(0, 700_000_000), st.integers(0, 20), st.integers(9_007_199_254_740_990, 9_007_199_254_740_995)
)
TOKENS = st.integers(0, 500)


def told(crossings: tuple[Crossing, ...] | None) -> list[tuple[str, int, int]] | None:
    return None if crossings is None else [(one.key, one.spent, one.at_ns) for one in crossings]


class ValkeyAndMemory(RuleBasedStateMachine):
    holds: Bundle[Hold] = Bundle("holds")
    leases: Bundle[Lease] = Bundle("leases")
    settled: Bundle[tuple[Hold, Entry]] = Bundle("settled")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.model = MemoryLedger()
        self.ledger = opened(f"sqlite:///{Path(self.folder.name)}/costs.db", server().url())
        self.now = NOW
        self.seen: dict[str, Limit] = {}
        self.taken: list[Hold] = []

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule(seconds=st.sampled_from([0, 1, 30, 60, DAY // SECOND]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    def take(self, one: Hold, *, alone: bool) -> None:
        self.seen.update({limit.key: limit for limit in one.limits})
        other = copy(one)
        refusals = [self.model.reserve(one, self.now, alone=alone), self.ledger.reserve(other, self.now, alone=alone)]
        assert refusals[0] == refusals[1]
        assert (one.amount, one.tokens) == (other.amount, other.tokens)
        if refusals[0] is None:
            self.taken.append(one)

    @rule(
        target=holds,
        tags=st.sampled_from(TAGS),
        rules=st.sets(st.sampled_from(RULES), max_size=5),
        amount=AMOUNTS,
        tokens=TOKENS,
        seconds=st.sampled_from([10, 600]),
        alone=st.booleans(),
    )
    def reserve(self, tags: Tags, rules: set[str], amount: int, tokens: int, seconds: int, alone: bool) -> Hold:
        one = hold(tags=tags, at_ns=self.now, seconds=seconds)
        one.limits = tuple(limit(rule, tags, self.now) for rule in sorted(rules))
        one.amount, one.tokens = amount, tokens
        self.take(one, alone=alone)
        return one

    @rule(target=leases, rule=st.sampled_from(RULES), amount=st.integers(0, 600), wide=st.booleans())
    def lend(self, rule: str, amount: int, wide: bool) -> object:
        one = limit(rule, TAGS[0], self.now)
        call = Call(LEASE[0], "lease", LEASE[1], tags=TAGS[0])
        call.started_ns = self.now
        call.id = new_call_id(self.now)
        taken = Lease(
            call, (one,), amount * 1_000_000 if one.unit == "usd" and wide else amount, self.now + 60 * SECOND
        )
        self.take(taken, alone=False)
        return taken if taken in self.taken else multiple()

    @rule(target=holds, from_leases=st.lists(leases, min_size=1, max_size=3), tokens=TOKENS)
    def draw(self, from_leases: list[Lease], tokens: int) -> Hold:
        each = {lease.limits[0].key: lease for lease in from_leases}
        one = hold(tags=TAGS[0], at_ns=self.now)
        one.limits = tuple(lease.limits[0] for lease in each.values())
        one.leases = tuple(lease.call.id for lease in each.values())
        one.amount, one.tokens = 300, tokens
        return one

    @rule(
        target=settled,
        held=consumes(holds),
        cost=st.one_of(AMOUNTS, st.none()),
        tokens=TOKENS,
        status=st.sampled_from(["ok", "ok", "error", "pending"]),
        known=st.booleans(),
    )
    def settle(self, held: Hold, cost: int | None, tokens: int, status: str, known: bool) -> tuple[Hold, Entry]:
        made = entry(held, nanos=cost, status=status, usage=Usage(input_tokens=tokens))
        given = held if known or held.leases else None
        assert told(self.model.settle(made, given)) == told(self.ledger.settle(made, given))
        return held, made

    @rule(line=settled, cost=AMOUNTS, status=st.sampled_from(["ok", "closed", "lost"]), known=st.booleans())
    def settle_again(self, line: tuple[Hold, Entry], cost: int, status: str, known: bool) -> None:
        made = entry(line[0], nanos=cost, status=status)
        given = line[0] if known or line[0].leases else None
        assert told(self.model.settle(made, given)) == told(self.ledger.settle(made, given))

    @rule(lines=st.lists(st.tuples(consumes(holds), AMOUNTS), max_size=4), twice=st.booleans())
    def settle_all(self, lines: list[tuple[Hold, int]], twice: bool) -> None:
        batch: list[tuple[Entry, Hold | None]] = [(entry(held, nanos=cost), held) for held, cost in lines]
        batch += batch[:1] if twice else []
        answers = [list(map(told, ledger.settle_all(batch))) for ledger in (self.model, self.ledger)]
        assert answers[0] == answers[1]

    @rule(held=st.one_of(holds, leases))
    def release(self, held: Hold) -> None:
        assert self.model.release(held) == self.ledger.release(held)

    @rule(held=st.one_of(holds, leases), seconds=st.integers(0, 100))
    def extend(self, held: Hold, seconds: int) -> None:
        given = [held.call.id], self.now + seconds * SECOND
        assert self.model.extend(*given) == self.ledger.extend(*given)

    @rule(lease=leases, by=st.integers(0, 400_000_000))
    def shrink(self, lease: Lease, by: int) -> None:
        assert self.model.shrink(lease, by) == self.ledger.shrink(lease, by)

    @rule()
    def expire(self) -> None:
        lost = [{one.call_id: facts(one) for one in ledger.expire(self.now)} for ledger in (self.model, self.ledger)]
        assert lost[0] == lost[1]

    @rule()
    def lose_everything(self) -> None:
        server().command("FLUSHALL")
        for one in self.taken:
            # What is held is nowhere else; what was charged stays charged.
            if self.model.extend([one.call.id], one.expires_ns):
                self.model.release(one)
        self.taken.clear()

    @rule()
    def have_all_read_anew(self) -> None:
        self.ledger.rebuild()

    @rule()
    def restart(self) -> None:
        self.ledger.close()

    @invariant()
    def balances_are_equal(self) -> None:
        limits = list(self.seen.values())
        assert self.model.balances(limits) == self.ledger.balances(limits)
        assert self.model.reached(limits) == self.ledger.reached(limits)
        assert self.model.undelivered() == self.ledger.undelivered()

    @rule()
    def compare_entries(self) -> None:
        found = [[facts(one) for one in ledger.entries({})] for ledger in (self.model, self.ledger)]
        assert found[0] == found[1]


ValkeyAndMemory.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestValkeyAndMemory = ValkeyAndMemory.TestCase
TestValkeyAndMemory.__name__ = "TestValkeyAndMemory"
