"""`audit`: balances against the rows they are made of, under traffic, and repaired from them."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import pytest

from costguard.budgets import Limit
from costguard.errors import ConfigError
from costguard.events import Hold
from costguard.ledger.audit import audit
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.ledger.wrapper import Wrapper
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger.rows import drawing, lease
from tests.ledger.values import ALICE, CENT, DAY, NOW, SECOND, entry, hold, limit

BOB = Tags(user="bob", feature="chat", environment="production")
RULES = (
    "$1/day per user",
    "$5/month",
    "$2/day per feature where environment=production",
    "1000 tokens/day per user",
    "9 calls/ever",
)


def limits_for(tags: Tags, at_ns: int = NOW) -> list[Limit]:
    limits = [limit(rule, tags, at_ns) for rule in RULES]
    return [one for one in limits if one.budget.counts(tags)]


def call(tags: Tags = ALICE, cents: float = 10, **more: Any) -> Hold:
    one = hold(*limits_for(tags), cents=cents, tags=tags, **more)
    one.tokens = 100
    return one


@pytest.mark.parametrize("step", ["running", "ended"])
def test_books_that_only_the_verbs_have_written_are_exact(ledger: Ledger, step: str) -> None:
    kept = []
    for one in (call(seconds=1), call(), call(BOB, cents=30), call(BOB), call()):
        assert ledger.reserve(one, NOW) is None
        kept.append(one)
    taken = [lease(one, 100 if one.unit != "usd" else 20 * CENT) for one in limits_for(ALICE)[:3]]
    gone = [lease(one, 2 if one.unit == "calls" else 50, seconds=1) for one in limits_for(ALICE)[3:]]
    taken += gone
    for row in taken:
        row.amount = min(row.amount, 2) if row.limits[0].unit == "calls" else row.amount
        assert ledger.reserve(row, NOW) is None
    ledger.expire(NOW + 2 * SECOND)
    ledger.settle(entry(kept[1], 10, status="pending"), kept[1])
    ledger.settle_all([(entry(kept[2], 40), kept[2]), (entry(kept[3], 0, status="error", usage=Usage()), kept[3])])
    one = drawing(*taken)
    ledger.settle(entry(one, 12), one)
    if step == "ended":
        ledger.settle_all([(entry(one, 3), one) for one in kept])
        for row in taken:
            ledger.release(row)
    found = audit(ledger, now_ns=NOW + 3 * SECOND)
    assert found.differences == []
    assert found.ok
    assert found.balances == 7
    assert found.holds == (0 if step == "ended" else 1 + 3)


def test_a_balance_that_is_not_what_its_rows_say_is_told_and_repaired(ledger: Ledger) -> None:
    day, month = limit(), limit("$5/month")
    one, running = hold(day, month, cents=10), hold(day, month, cents=5)
    ledger.reserve(one, NOW)
    ledger.reserve(running, NOW)
    ledger.settle(entry(one, 12), one)
    # The month was not counted: recorded by one who did not know of that budget.
    ledger.settle(entry(blind := hold(day), 7), blind)
    (found,) = audit(ledger, now_ns=NOW).differences
    assert (found.key, found.payer, found.budget, found.unit) == (month.key, "everyone", str(month.budget), "usd")
    assert (found.spent_recorded, found.spent_entries) == (12 * CENT, 19 * CENT)
    assert (found.held_recorded, found.held_rows) == (5 * CENT, 5 * CENT)
    assert ledger.balances([month]) == [(12 * CENT, 5 * CENT)]
    repaired = audit(ledger, repair=True, now_ns=NOW)
    assert (repaired.repaired, repaired.ok, repaired.differences) == (True, True, [found])
    assert ledger.balances([day, month]) == [(19 * CENT, 5 * CENT)] * 2
    assert audit(ledger, now_ns=NOW).differences == []


def test_holds_past_their_expiry_are_listed_and_are_no_error(ledger: Ledger) -> None:
    dead, alive, orphan = hold(cents=5, seconds=10), hold(cents=5, seconds=60), lease(limit(), 30 * CENT, seconds=20)
    for one in (dead, alive, orphan):
        ledger.reserve(one, NOW)
    found = audit(ledger, now_ns=NOW + 30 * SECOND)
    assert found.ok
    assert sorted((one.call_id, one.lease, one.amount, one.expires_ns) for one in found.expired) == sorted(
        [(dead.call.id, False, 5 * CENT, dead.expires_ns), (orphan.call.id, True, 30 * CENT, orphan.expires_ns)]
    )
    assert {dict(one.tags)["user"] for one in found.expired} == {"alice"}
    assert {one.keys for one in found.expired} == {(limit().key,)}


def test_what_was_forgotten_is_not_taken_for_missing(ledger: Ledger) -> None:
    before, after = NOW - 100 * DAY, NOW + 100 * DAY
    forever = "$9/ever"
    for at in (before, before, after):
        one = hold(limit(forever, at_ns=at), limit(at_ns=at), cents=10, at_ns=at)
        ledger.reserve(one, at)
        ledger.settle(entry(one, 10), one)
    assert audit(ledger, now_ns=after).kept_from_ns is None
    assert ledger.retain(NOW) == 2
    found = audit(ledger, now_ns=after)
    assert found.differences == []
    assert found.kept_from_ns is not None
    # Of a window that began after it the rows still decide, and of an older one they are the least.
    ledger.settle(entry(blind := hold(limit(forever), at_ns=after), 25), None)
    assert blind.limits
    found = audit(ledger, repair=True, now_ns=after)
    assert sorted((one.spent_recorded, one.spent_entries) for one in found.differences) == [
        (10 * CENT, 35 * CENT), (30 * CENT, 35 * CENT),
    ]  # fmt: skip
    assert ledger.balances([limit(at_ns=after), limit(forever)]) == [(35 * CENT, 0), (35 * CENT, 0)]


def test_an_audit_under_traffic_finds_nothing_and_disturbs_nothing(ledger: Ledger) -> None:
    day, month = limit("$1000/day per user"), limit("$5000/month")
    stop = Event()
    done = [0, 0]

    def work(place: int) -> None:
        while not stop.is_set():
            one = hold(day, month, cents=3)
            assert ledger.reserve(one, NOW) is None
            assert ledger.settle_all([(entry(one, 2), one)]) != [None]
            done[place] += 1

    workers = [Thread(target=work, args=(place,)) for place in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(8):
            assert audit(ledger, repair=True, now_ns=NOW).differences == []
    finally:
        stop.set()
        for worker in workers:
            worker.join(timeout=30)
    assert ledger.balances([day, month]) == [(sum(done) * 2 * CENT, 0)] * 2


def test_a_repair_under_traffic_is_exact(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    day, month = limit("$1000/day per user"), limit("$5000/month")
    stop = Event()
    done = [0, 0]

    def work(place: int) -> None:
        while not stop.is_set():
            one = hold(day, month, cents=3)
            assert ledger.reserve(one, NOW) is None
            ledger.settle(entry(one, 2), one)
            done[place] += 1

    for _ in range(5):
        ledger.settle(entry(blind := hold(day), 100), blind)
    workers = [Thread(target=work, args=(place,)) for place in range(2)]
    for worker in workers:
        worker.start()
    try:
        # The other budget joins in the middle, and does not know of what was before.
        deadline = Event()
        while not all(done) and not deadline.wait(0.001):
            pass
        assert [one.key for one in audit(ledger, repair=True, now_ns=NOW).differences] == [month.key]
    finally:
        stop.set()
        for worker in workers:
            worker.join(timeout=30)
    assert ledger.balances([day, month]) == [(500 * CENT + sum(done) * 2 * CENT, 0)] * 2
    assert audit(ledger, now_ns=NOW).differences == []
    ledger.close()


def test_the_store_inside_a_wrapper_is_checked_and_one_without_rows_is_named() -> None:
    ledger = open_ledger("memory://")
    ledger.settle(entry(one := hold(), 5), one)
    assert audit(Wrapper(ledger), now_ns=NOW).balances == 1

    class Other:
        url = "other://"

    with pytest.raises(ConfigError, match="other:// cannot be checked: a Other has no rows"):
        audit(Other())  # type: ignore[arg-type]
