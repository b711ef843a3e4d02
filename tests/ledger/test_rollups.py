"""Rollups say what the rows say, to the last nano-dollar, whatever becomes of the rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costguard.adjustment import Adjustment
from costguard.call import Call, new_call_id
from costguard.events import Entry, Hold, Status
from costguard.ledger.base import LEASE, Lease, Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.figures import MOMENTS
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.price_sums import price_sums
from costguard.ledger.rollups_upkeep import audit_rollups
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger.stores import new_url
from tests.ledger.values import NOW, SECOND, limit

HOUR = 3600 * SECOND
RATES = Rates("openai", "gpt-4o", "override", {"input": 2500, "output": 10_000})
CHEAPER = Rates("openai", "gpt-4o", "override", {"input": 1000, "output": 4000})
RULES = ("$1000/month", "$100/day per user", "90000 tokens/day per user")
TAGS = (
    Tags(user="alice", feature="chat", environment="production"),
    Tags(user="bob", feature="chat", environment="production"),
    Tags(user="bob", feature="search", team="red"),
    Tags(feature="search", session="s1"),
    Tags(),
)
MONTH = int(datetime.fromtimestamp(NOW // SECOND, UTC).replace(day=1, hour=0, minute=0, second=0).timestamp()) * SECOND


class Twins:
    """One history, told to a store and to the readable specification of all stores."""

    def __init__(self, store: Ledger) -> None:
        self.store = store
        self.memory = MemoryLedger()
        self.entries: list[Entry] = []
        self.open: list[tuple[Entry, Hold]] = []
        self.lost: list[Hold] = []
        self.deeds = 0

    def both(self, told: Callable[[Ledger], Any]) -> None:
        first, second = told(self.store), told(self.memory)
        assert first == second or not isinstance(first, (bool, int))

    def hold(self, at_ns: int, tags: Tags, model: str, amount: int, *, lease: bool = False) -> Hold:
        call = Call(LEASE[0], "lease", operation=LEASE[1]) if lease else Call("openai", model, tags=tags)
        call.started_ns = at_ns
        call.id = new_call_id(at_ns)
        rules = RULES[:1] if lease else RULES
        limits = tuple([limit(rule, tags, at_ns) for rule in rules])
        return (Lease if lease else Hold)(call, limits, amount, at_ns + 60 * SECOND, 0 if lease else 10)

    def entry(self, held: Hold, facts: dict[str, Any]) -> Entry:
        call = held.call
        return Entry(
            call.id, call.started_ns, call.provider, call.model, call.operation, tags=call.tags,
            held_nanos=held.amount, **facts,
        )  # fmt: skip

    def agrees(self, by: Sequence[str], where: dict[str, Any], since_ns: int | None, until_ns: int | None) -> None:
        bounds = {"since_ns": since_ns, "until_ns": until_ns}
        assert self.store.sums(by, where, **bounds) == self.memory.sums(by, where, **bounds)
        assert self.store.percentiles(by, where, **bounds) == self.memory.percentiles(by, where, **bounds)
        assert self.store.spent(where, **bounds) == self.memory.spent(where, **bounds)
        prices = [name for name in by if name not in MOMENTS]
        assert at_prices(self.store, prices, where, bounds) == at_prices(self.memory, prices, where, bounds)


def at_prices(ledger: Ledger, by: Sequence[str], where: dict[str, Any], bounds: dict[str, Any]) -> list[Any]:
    found = price_sums(ledger, by, where, **bounds)
    return sorted([(tuple(one.group.items()), repr(one.rates), repr(one)) for one in found])


moments = st.integers(0, 60).map(lambda day: NOW - day * 12 * HOUR) | st.integers(NOW - 72 * HOUR, NOW)
statuses: st.SearchStrategy[Status] = st.sampled_from(["ok", "ok", "ok", "error", "cancelled", "closed"])
numbers = st.integers(0, 30) | st.integers(0, 10**9)
usages = st.builds(
    lambda tokens, out, read, write, thought: Usage(
        input_tokens=tokens, output_tokens=out + thought, cache_read_tokens=min(read, tokens // 2),
        cache_write_tokens=min(write, tokens // 4), reasoning_tokens=thought,
    ),
    *[st.integers(0, 500)] * 5,
)  # fmt: skip
facts = st.fixed_dictionaries(
    {
        "nanos": st.none() | numbers, "usage": usages, "status": statuses, "estimated": st.booleans(),
        "rates": st.sampled_from([RATES, CHEAPER, None]),
        "attempts": st.sampled_from([1, 1, 1, 0, 3]), "duration_ns": numbers.map(lambda number: number * 1000),
    }
)  # fmt: skip
calls = st.tuples(moments, st.sampled_from(TAGS), st.sampled_from(["gpt-4o", "o3"]), facts)
places = st.integers(0, 10**6)
steps = st.one_of(
    st.tuples(st.just("batch"), st.lists(calls, min_size=1, max_size=8)),
    st.tuples(st.just("call"), calls),
    st.tuples(st.just("pending"), calls),
    st.tuples(st.just("lost"), calls),
    st.tuples(st.just("truth"), places, facts),
    st.tuples(st.just("released"), places),
    st.tuples(st.just("leased"), calls, st.booleans(), st.integers(0, 200)),
    st.tuples(st.just("adjusted"), places, st.integers(-(10**6), 10**6)),
    st.tuples(st.just("again"), places),
    st.tuples(st.just("retained"), st.just(None)),
)
names = st.sampled_from(
    ["user", "feature", "team", "session", "provider", "model", "operation", "status", "day", "hour"]
)
filters = st.dictionaries(
    st.sampled_from(["user", "feature", "session", "environment", "model", "status", "operation"]),
    st.sampled_from(
        ["alice", "bob", "chat", "unattributed", "s1", "gpt-4o", "ok", "lost", "lease", ("chat", "bob", "ok")]
    ),
    max_size=2,
)
bounds = st.none() | st.integers(NOW - 90 * HOUR, NOW + 30 * HOUR) | st.just(NOW // (24 * HOUR) * 24 * HOUR)
questions = st.tuples(st.lists(names, max_size=3, unique=True), filters, bounds, bounds)


def take(twins: Twins, step: tuple[Any, ...]) -> None:
    kind, what, *more = step
    if kind == "batch":
        lot = [(twins.entry(twins.hold(at, tags, model, 50), told), None) for at, tags, model, told in what]
        twins.both(lambda ledger: ledger.settle_all(lot))
        twins.entries += [one for one, _ in lot]
    elif kind in ("call", "pending"):
        at, tags, model, told = what
        held = twins.hold(at, tags, model, 50)
        twins.both(lambda ledger: ledger.reserve(held, at))
        made = twins.entry(held, told if kind == "call" else {**told, "status": "pending"})
        twins.both(lambda ledger: ledger.settle(made, held))
        if kind == "call":
            twins.entries.append(made)
        else:
            twins.open.append((made, held))
    elif kind == "lost":
        at, tags, model, _ = what
        held = twins.hold(at, tags, model, 70)
        twins.both(lambda ledger: ledger.reserve(held, at))
        twins.both(lambda ledger: ledger.expire(at + HOUR))
        twins.lost.append(held)
        twins.open.append((twins.entry(held, {"nanos": 70}), held))
    elif kind == "truth" and twins.open:
        _, held = twins.open[what % len(twins.open)]
        made = twins.entry(held, more[0])
        twins.both(lambda ledger: ledger.settle_all([(made, held)]))
    elif kind == "released" and twins.lost:
        held = twins.lost[what % len(twins.lost)]
        twins.both(lambda ledger: ledger.release(held))
    elif kind == "leased":
        at, tags, model, told = what
        dead, cost = more
        lease = twins.hold(at, tags, model, 100, lease=True)
        twins.both(lambda ledger: ledger.reserve(lease, at))
        if dead:
            twins.both(lambda ledger: ledger.expire(at + HOUR))
        held = twins.hold(at, tags, model, 50)
        held.limits, held.leases = lease.limits, (lease.call.id,)
        made = twins.entry(held, {**told, "nanos": cost})
        twins.both(lambda ledger: ledger.settle_all([(made, held)]))
        twins.both(lambda ledger: ledger.release(lease))
    elif kind == "adjusted" and twins.entries:
        of = twins.entries[what % len(twins.entries)]
        twins.deeds += 1
        one = Adjustment.of(of, twins.deeds, more[0], RATES, first_price=of.nanos is None, reason="")
        deed = Deed(str(twins.deeds), NOW, "ann", "reprice")
        twins.both(lambda ledger: ledger.adjust([one], deed).new)
    elif kind == "again" and twins.entries:
        same = twins.entries[what % len(twins.entries)]
        if same.at_ns >= MONTH:  # what was forgotten counts anew, and not as before
            twins.both(lambda ledger: ledger.settle(same, None))
    elif kind == "retained":
        twins.both(lambda ledger: ledger.retain(MONTH))


def check(store: str, history: list[tuple[Any, ...]], asked: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(new_url(store, Path(folder)))
        try:
            twins = Twins(ledger)
            for step in history:
                take(twins, step)
            found = audit_rollups(ledger)
            assert (found.differences, found.ok) == (0, True)
            for by, where, since, until in asked:
                twins.agrees(by, where, since, until)
        finally:
            ledger.close()


QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=12)
histories = st.lists(steps, min_size=1, max_size=12)
asked = st.lists(questions, min_size=1, max_size=6)


@QUICK
@given(histories, asked)
def test_any_history_leaves_rollups_equal_to_the_rows_in_sqlite(history: Any, asked: Any) -> None:
    check("sqlite", history, asked)


@QUICK
@given(histories, asked)
def test_any_history_leaves_rollups_equal_to_the_rows_in_postgresql(history: Any, asked: Any) -> None:
    check("postgres", history, asked)


@pytest.mark.long
@settings(QUICK, max_examples=60)
@given(st.lists(steps, min_size=5, max_size=60), asked)
def test_long_histories_leave_rollups_equal_to_the_rows_in_sqlite(history: Any, asked: Any) -> None:
    check("sqlite", history, asked)


@pytest.mark.long
@settings(QUICK, max_examples=20)
@given(st.lists(steps, min_size=5, max_size=60), asked)
def test_long_histories_leave_rollups_equal_to_the_rows_in_postgresql(history: Any, asked: Any) -> None:
    check("postgres", history, asked)
