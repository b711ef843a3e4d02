"""Any interleaving of the verbs, on every store at once: the same answers, and the books are right."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from costguard.budgets import Limit
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.tags import Tags
from tests.ledger.postgres import server
from tests.ledger.values import DAY, NOW, SECOND, entry, facts, hold, limit

RULES = ("$1/day per user", "$0.60/week per user", "$2/month", "$0.80/day per feature where environment=production")
TAGS = [
    Tags(user="alice", feature="chat", environment="production"),
    Tags(user="bob", feature="chat", environment="production"),
    Tags(user="alice"),
]


def assert_same(answers: Sequence[object]) -> None:
    """The first is the memory store's, which is the model of the others."""
    assert all(answer == answers[0] for answer in answers), answers


class Stores(RuleBasedStateMachine):
    holds: Bundle[Hold] = Bundle("holds")
    settled: Bundle[tuple[Hold, Entry]] = Bundle("settled")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryLedger()
        self.sqlite = open_ledger(f"sqlite:///{Path(self.folder.name)}/costs.db")
        self.postgres = open_ledger(server().database())
        self.now = NOW
        self.seen: dict[str, Limit] = {}

    def teardown(self) -> None:
        self.sqlite.close()
        self.postgres.close()
        self.folder.cleanup()

    @property
    def stores(self) -> tuple[Ledger, ...]:
        return self.memory, self.sqlite, self.postgres

    @rule(seconds=st.sampled_from([0, 1, 30, 60, DAY // SECOND]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(
        target=holds,
        tags=st.sampled_from(TAGS),
        rules=st.sets(st.sampled_from(RULES), max_size=4),
        cents=st.integers(0, 70),
        seconds=st.sampled_from([10, 600]),
        alone=st.booleans(),
    )
    def reserve(self, tags: Tags, rules: set[str], cents: int, seconds: int, alone: bool) -> Hold:
        limits = [limit(rule, tags, self.now) for rule in sorted(rules)]
        first = hold(cents=cents, tags=tags, at_ns=self.now, seconds=seconds)
        first.limits = tuple(one for one in limits if one.budget.counts(tags))
        self.seen.update({one.key: one for one in first.limits})
        each = [first, *(copy(first) for _ in self.stores[1:])]
        refusals = [ledger.reserve(one, self.now, alone=alone) for ledger, one in zip(self.stores, each, strict=True)]
        assert_same(refusals)
        assert_same([one.amount for one in each])
        if refusals[0] is None:
            for one, (spent, held) in zip(first.limits, self.memory.balances(first.limits), strict=True):
                assert spent + held <= one.most
        else:
            fits = all(
                spent + held + first.amount <= one.most
                for one, (spent, held) in zip(first.limits, self.memory.balances(first.limits), strict=True)
            )
            assert not fits
        return first

    @rule(
        target=settled,
        held=consumes(holds),
        share=st.sampled_from([0, 0.5, 1, 1.7, None]),
        status=st.sampled_from(["ok", "ok", "error", "pending"]),
        known=st.booleans(),
    )
    def settle(self, held: Hold, share: float | None, status: str, known: bool) -> tuple[Hold, Entry]:
        nanos = None if share is None else int(held.amount * share)
        made = entry(held, nanos=nanos, status=status)
        self.compare_settle(made, held if known else None)
        return held, made

    @rule(line=settled, cents=st.integers(0, 50), status=st.sampled_from(["ok", "closed", "lost"]), known=st.booleans())
    def settle_again(self, line: tuple[Hold, Entry], cents: int, status: str, known: bool) -> None:
        self.compare_settle(entry(line[0], cents, status=status), line[0] if known else None)

    def compare_settle(self, made: Entry, held: Hold | None) -> None:
        crossings = [ledger.settle(made, held) for ledger in self.stores]
        told = [None if some is None else [(one.key, one.spent, one.at_ns) for one in some] for some in crossings]
        assert_same(told)

    @rule(held=holds)
    def release(self, held: Hold) -> None:
        assert_same([ledger.release(held) for ledger in self.stores])

    @rule()
    def expire(self) -> None:
        lost = [{one.call_id: facts(one) for one in ledger.expire(self.now)} for ledger in self.stores]
        assert_same(lost)

    @rule()
    def restart(self) -> None:
        self.sqlite.close()
        self.postgres.close()

    @invariant()
    def balances_are_equal(self) -> None:
        limits = list(self.seen.values())
        assert_same([ledger.balances(limits) for ledger in self.stores])
        assert all(spent >= 0 and held >= 0 for spent, held in self.memory.balances(limits))
        assert_same([ledger.undelivered() for ledger in self.stores])

    @rule()
    def compare_reads(self) -> None:
        found = [[facts(one) for one in ledger.entries({})] for ledger in self.stores]
        assert_same(found)
        assert max(Counter(line["call_id"] for line in found[0]).values(), default=1) == 1
        by = ["user", "status", "day"]
        assert_same([ledger.sums(by, {"user": "alice"}) for ledger in self.stores])
        parcels = [[(one.key, one.payload) for one in ledger.claim(0, lease_ns=0, most=999)] for ledger in self.stores]
        assert_same([sorted(some, key=str) for some in parcels])


Stores.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStores = Stores.TestCase
TestStores.__name__ = "TestStores"
