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

from costguard.adjustment import Adjustment
from costguard.budgets import Limit
from costguard.events import Entry, Hold
from costguard.ledger.audit import audit
from costguard.ledger.base import Lease, Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger.postgres import server
from tests.ledger.rows import lease
from tests.ledger.values import CENT, DAY, NOW, SECOND, entry, facts, hold, limit

RULES = (
    "$1/day per user",
    "$0.60/week per user",
    "$2/month",
    "$0.80/day per feature where environment=production",
    "900 tokens/day per user",
    "12 calls/month per feature",
)
RAISED = {
    "$1/day per user": "$1.50/day per user",
    "$2/month": "$1.20/month",
    "900 tokens/day per user": "400 tokens/day per user",
}
TAGS = [
    Tags(user="alice", feature="chat", environment="production"),
    Tags(user="bob", feature="chat", environment="production"),
    Tags(user="alice"),
]


RATES = Rates("openai", "gpt-4o", "override", {"input": 2500})
USAGES = [Usage(input_tokens=100, output_tokens=10), Usage(input_tokens=20), Usage()]


def assert_same(answers: Sequence[object]) -> None:
    """The first is the memory store's, which is the model of the others."""
    assert all(answer == answers[0] for answer in answers), answers


class Stores(RuleBasedStateMachine):
    holds: Bundle[Hold] = Bundle("holds")
    leases: Bundle[Lease] = Bundle("leases")
    settled: Bundle[tuple[Hold, Entry]] = Bundle("settled")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryLedger()
        self.sqlite = open_ledger(f"sqlite:///{Path(self.folder.name)}/costs.db")
        self.postgres = open_ledger(server().database())
        self.now = NOW
        self.seen: dict[str, Limit] = {}
        self.changed: set[str] = set()
        self.blind = False

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

    @rule(text=st.sampled_from(sorted(RAISED)))
    def change_a_limit(self, text: str) -> None:
        self.changed ^= {text}

    def limit(self, text: str, tags: Tags) -> Limit:
        one = limit(RAISED[text] if text in self.changed else text, tags, self.now)
        self.seen[one.key] = one
        return one

    def limits(self, tags: Tags) -> list[Limit]:
        """All that a call counts on: what a guard with these budgets would settle on."""
        return [one for text in RULES if (one := self.limit(text, tags)).budget.counts(tags)]

    @rule(
        target=holds,
        tags=st.sampled_from(TAGS),
        cents=st.integers(0, 70),
        tokens=st.integers(0, 500),
        seconds=st.sampled_from([10, 600]),
        alone=st.booleans(),
    )
    def reserve(self, tags: Tags, cents: int, tokens: int, seconds: int, alone: bool) -> Hold:
        first = hold(*self.limits(tags), cents=cents, tags=tags, at_ns=self.now, seconds=seconds)
        first.tokens = tokens
        self.take(first, alone)
        return first

    @rule(
        target=leases,
        tags=st.sampled_from(TAGS[:2]),
        text=st.sampled_from(RULES),
        share=st.sampled_from([0.01, 0.1, 0.3]),
        seconds=st.sampled_from([10, 600]),
    )
    def lease(self, tags: Tags, text: str, share: float, seconds: int) -> Lease:
        one = self.limit(text, tags)
        first = lease(one, max(1, int(one.most * share)), seconds, self.now)
        first.call.tags = tags
        self.take(first, alone=False)
        return first

    def take(self, first: Hold, alone: bool) -> None:
        each = [first, *(copy(first) for _ in self.stores[1:])]
        refusals = [ledger.reserve(one, self.now, alone=alone) for ledger, one in zip(self.stores, each, strict=True)]
        assert_same(refusals)
        assert_same([(one.amount, one.tokens) for one in each])
        first.amount, first.tokens = each[0].amount, each[0].tokens
        if refusals[0] is None:
            for one, (spent, held) in zip(first.limits, self.memory.balances(first.limits), strict=True):
                assert spent + held <= one.most
        else:
            fits = all(
                spent + held + first.on(one) <= one.most
                for one, (spent, held) in zip(first.limits, self.memory.balances(first.limits), strict=True)
            )
            assert not fits

    @rule(
        target=settled,
        held=consumes(holds),
        share=st.sampled_from([0, 0.5, 1, 1.7, None]),
        usage=st.sampled_from(USAGES),
        status=st.sampled_from(["ok", "ok", "error", "pending"]),
        known=st.booleans(),
    )
    def settle(self, held: Hold, share: float | None, usage: Usage, status: str, known: bool) -> tuple[Hold, Entry]:
        nanos = None if share is None else int(held.amount * share)
        made = entry(held, nanos=nanos, status=status, usage=usage)
        self.compare_settle([(made, held if known else None)])
        return held, made

    @rule(
        target=settled,
        taken=st.lists(leases, min_size=1, max_size=6),
        cents=st.integers(0, 30),
        usage=st.sampled_from(USAGES),
        status=st.sampled_from(["ok", "ok", "ok", "error", "pending"]),
    )
    def draw(self, taken: list[Lease], cents: int, usage: Usage, status: str) -> tuple[Hold, Entry]:
        """A call counts on all its limits; on those that nobody leased it draws from a lease that nobody has."""
        tags = taken[0].call.tags
        limits = self.limits(tags)
        by_key = {one.limits[0].key: one.call.id for one in taken}
        held = hold(*limits, cents=cents, tags=tags, at_ns=self.now)
        held.leases = tuple(by_key.get(one.key, held.call.id) for one in limits)
        made = entry(held, cents, status=status, usage=usage)
        self.compare_settle([(made, held)])
        return held, made

    @rule(line=settled, cents=st.integers(0, 50), status=st.sampled_from(["ok", "closed", "lost"]), known=st.booleans())
    def settle_again(self, line: tuple[Hold, Entry], cents: int, status: str, known: bool) -> None:
        self.compare_settle([(entry(line[0], cents, status=status), line[0] if known else None)])

    @rule(
        lines=st.lists(settled, max_size=3),
        held=st.lists(holds, max_size=4),
        taken=st.lists(leases, max_size=4),
        cents=st.integers(0, 40),
        status=st.sampled_from(["ok", "ok", "error", "pending"]),
        data=st.data(),
    )
    def settle_many(
        self,
        lines: list[tuple[Hold, Entry]],
        held: list[Hold],
        taken: list[Lease],
        cents: int,
        status: str,
        data: st.DataObject,
    ) -> None:
        lot: list[tuple[Entry, Hold | None]] = [(made, one) for one, made in lines]
        lot += [(entry(one, cents, status=status, usage=USAGES[cents % 2]), one) for one in held]
        for one in taken:
            drawn = hold(*self.limits(one.call.tags), cents=cents, tags=one.call.tags, at_ns=self.now)
            own = one.limits[0].key
            drawn.leases = tuple(one.call.id if other.key == own else drawn.call.id for other in drawn.limits)
            lot.append((entry(drawn, cents), drawn))
        if lot:
            lot.append((entry(data.draw(st.sampled_from(lot))[1] or hold(), 9), None))
        self.compare_settle(data.draw(st.permutations(lot)), at_once=True)

    def compare_settle(self, lot: list[tuple[Entry, Hold | None]], *, at_once: bool = False) -> None:
        self.blind |= any(held is None for _, held in lot)
        told = []
        for ledger in self.stores:
            crossings = ledger.settle_all(lot) if at_once else [ledger.settle(made, held) for made, held in lot]
            told.append(
                [None if some is None else [(one.key, one.spent, one.at_ns) for one in some] for some in crossings]
            )
        assert_same(told)

    @rule(line=settled, cents=st.integers(0, 40), again=st.booleans())
    def adjust(self, line: tuple[Hold, Entry], cents: int, again: bool) -> None:
        """What a reprice does: the difference between what is recorded and what it costs now."""
        there = [one for one in self.memory.entries({}) if one.call_id == line[1].call_id]
        if not there or there[0].status in ("lost", "pending"):
            return
        so_far = [one.nanos or 0 for one in self.memory.entries({}) if one.adjusts == there[0].call_id]
        difference = cents * CENT - sum(so_far, there[0].nanos or 0)
        unpriced = there[0].nanos is None and not so_far
        made = Adjustment.of(there[0], len(so_far), difference, RATES, first_price=unpriced, reason="anew")
        deed = Deed("machine", self.now, "ann", "reprice")
        budgets = [one.budget for one in self.limits(there[0].tags)]
        for lot in [[made], [made]] if again else [[made]]:
            found = [ledger.adjust(lot, deed, budgets) for ledger in self.stores]
            assert_same([one.new for one in found])
            assert_same([[(each.key, each.spent) for each in one.crossings] for one in found])

    @rule(held=st.one_of(holds, leases))
    def release(self, held: Hold) -> None:
        assert_same([ledger.release(held) for ledger in self.stores])

    @rule(held=st.lists(st.one_of(holds, leases), max_size=4), seconds=st.sampled_from([5, 600]))
    def extend(self, held: list[Hold], seconds: int) -> None:
        ids = [one.call.id for one in held]
        assert_same([ledger.extend(ids, self.now + seconds * SECOND) for ledger in self.stores])

    @rule(taken=leases, part=st.sampled_from([0.2, 1, 3]))
    def shrink(self, taken: Lease, part: float) -> None:
        assert_same([ledger.shrink(taken, int(taken.amount * part)) for ledger in self.stores])

    @rule(tags=st.sampled_from(TAGS))
    def look(self, tags: Tags) -> None:
        limits = self.limits(tags)
        assert_same([ledger.reached(limits) for ledger in self.stores])

    @rule()
    def expire(self) -> None:
        lost = [{one.call_id: facts(one) for one in ledger.expire(self.now)} for ledger in self.stores]
        assert_same(lost)

    @rule()
    def check(self) -> None:
        """Where everybody knew the holds the books are exact. Else the rows may know of more than the balances."""
        for ledger in self.stores:
            found = audit(ledger, repair=not self.blind, now_ns=self.now)
            assert self.blind or found.differences == []
            assert all(
                one.held_recorded == one.held_rows and one.spent_recorded < one.spent_entries
                for one in found.differences
            )

    @rule()
    def restart(self) -> None:
        self.sqlite.close()
        self.postgres.close()

    @invariant()
    def balances_are_equal(self) -> None:
        limits = list(self.seen.values())
        assert_same([ledger.balances(limits) for ledger in self.stores])
        # Who does not know the hold leaves a call uncounted that is corrected all the same.
        assert self.blind or all(spent >= 0 and held >= 0 for spent, held in self.memory.balances(limits))
        assert_same([ledger.undelivered() for ledger in self.stores])

    @rule()
    def compare_reads(self) -> None:
        found = [[facts(one) for one in ledger.entries({})] for ledger in self.stores]
        assert_same(found)
        assert max(Counter(line["call_id"] for line in found[0]).values(), default=1) == 1
        assert_same([ledger.deeds() for ledger in self.stores])
        by = ["user", "status", "day"]
        assert_same([ledger.sums(by, {"user": "alice"}) for ledger in self.stores])
        parcels = [[(one.key, one.payload) for one in ledger.claim(0, lease_ns=0, most=999)] for ledger in self.stores]
        assert_same([sorted(some, key=str) for some in parcels])


Stores.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStores = Stores.TestCase
TestStores.__name__ = "TestStores"
