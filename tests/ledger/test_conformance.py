"""Every sentence of the ledger's protocol, on every store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from costguard.budgets import Budget
from costguard.events import Crossing, Hold
from costguard.ledger.audit import audit
from costguard.ledger.base import Ledger, Refusal
from costguard.ledger.figures import Sum
from costguard.ledger.payload import crossing_payload
from costguard.notice import Notice
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger.values import ALICE, CENT, DAY, NOW, SECOND, entry, facts, hold, limit

BOB = Tags(user="bob")


# -- reserve


def test_a_hold_that_fits_is_taken(ledger: Ledger) -> None:
    first = hold(cents=100)
    assert ledger.reserve(first, NOW) is None
    assert ledger.balances(first.limits) == [(0, 100 * CENT)]


def test_a_hold_that_does_not_fit_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    first, second = hold(cents=60), hold(cents=41)
    assert ledger.reserve(first, NOW) is None
    refusal = ledger.reserve(second, NOW)
    assert refusal == Refusal(second.limits[0], 0, 60 * CENT)
    assert ledger.balances(first.limits) == [(0, 60 * CENT)]
    assert not ledger.release(second)


def test_a_first_hold_larger_than_the_limit_is_refused(ledger: Ledger) -> None:
    first = hold(cents=101)
    assert ledger.reserve(first, NOW) == Refusal(first.limits[0], 0, 0)


def test_what_is_spent_leaves_less_room(ledger: Ledger) -> None:
    first = hold(cents=60)
    ledger.reserve(first, NOW)
    ledger.settle(entry(first, 50), first)
    refusal = ledger.reserve(hold(cents=51), NOW)
    assert refusal is not None
    assert (refusal.spent, refusal.held) == (50 * CENT, 0)
    assert ledger.reserve(hold(cents=50), NOW) is None


def test_a_hold_is_taken_on_all_its_limits_or_on_none(ledger: Ledger) -> None:
    day, month = limit("$1/day per user"), limit("$0.50/month")
    both = hold(day, month, cents=60)
    refusal = ledger.reserve(both, NOW)
    assert refusal is not None
    assert refusal.limit is month
    assert ledger.balances([day, month]) == [(0, 0), (0, 0)]
    assert ledger.reserve(hold(day, month, cents=40), NOW) is None
    assert ledger.balances([day, month]) == [(0, 40 * CENT), (0, 40 * CENT)]


def test_the_first_limit_in_key_order_is_the_one_that_refuses(ledger: Ledger) -> None:
    limits = [limit("$0.10/month"), limit("$0.10/day per user"), limit("$0.10/day per feature")]
    refusal = ledger.reserve(hold(*limits, cents=20), NOW)
    assert refusal is not None
    assert refusal.limit is min(limits, key=lambda limit: limit.key)


def test_two_budgets_that_share_a_balance_hold_on_it_once_and_the_tighter_refuses(ledger: Ledger) -> None:
    loose, tight = limit("$5/day per user"), limit("$1/day per user")
    first = hold(loose, tight, cents=60)
    assert ledger.reserve(first, NOW) is None
    assert ledger.balances([loose, tight]) == [(0, 60 * CENT)] * 2
    refusal = ledger.reserve(hold(loose, tight, cents=60), NOW)
    assert refusal is not None
    assert refusal.limit is tight
    assert ledger.reserve(hold(loose, cents=60), NOW) is None
    ledger.settle(entry(first, 60), first)
    assert ledger.balances([loose]) == [(60 * CENT, 60 * CENT)]


def test_payers_do_not_share_a_balance(ledger: Ledger) -> None:
    alice, bob = hold(cents=100), hold(cents=100, tags=BOB)
    assert ledger.reserve(alice, NOW) is None
    assert ledger.reserve(bob, NOW) is None


def test_a_new_window_starts_with_nothing_spent(ledger: Ledger) -> None:
    today, tomorrow = hold(cents=100), hold(cents=100, at_ns=NOW + DAY)
    ledger.reserve(today, NOW)
    ledger.settle(entry(today, 100), today)
    assert ledger.reserve(tomorrow, NOW + DAY) is None
    assert ledger.balances([*today.limits, *tomorrow.limits]) == [(100 * CENT, 0), (0, 100 * CENT)]


def test_changing_a_limit_keeps_what_was_spent(ledger: Ledger) -> None:
    first = hold(limit("$1/day per user"), cents=100)
    ledger.reserve(first, NOW)
    ledger.settle(entry(first, 100), first)
    raised = limit("$2/day per user")
    assert ledger.balances([raised]) == [(100 * CENT, 0)]
    assert ledger.reserve(hold(raised, cents=100), NOW) is None
    assert ledger.reserve(hold(raised, cents=1), NOW) is not None


def test_reserving_a_call_twice_holds_once(ledger: Ledger) -> None:
    first = hold(cents=30)
    ledger.reserve(first, NOW)
    assert ledger.reserve(first, NOW) is None
    assert ledger.balances(first.limits) == [(0, 30 * CENT)]


def test_a_call_without_a_price_leaves_a_balance_as_it_may_get_one(ledger: Ledger) -> None:
    day, month = limit(), limit("$5/month")
    one, other, several = hold(day, cents=0), hold(month, cents=0), hold(limit("$2/day per feature"), cents=0)
    ledger.reserve(other, NOW)
    ledger.settle(entry(one, None), one)
    ledger.settle(entry(other, None), other)
    ledger.settle_all([(entry(several, None), several)])
    assert audit(ledger, now_ns=NOW).balances == 3


def test_a_hold_without_limits_is_a_hold(ledger: Ledger) -> None:
    free = hold(cents=5, seconds=1)
    free.limits = ()
    assert ledger.reserve(free, NOW) is None
    assert [lost.call_id for lost in ledger.expire(NOW + 2 * SECOND)] == [free.call.id]


def test_a_hold_alone_shrinks_to_what_is_left(ledger: Ledger) -> None:
    first = hold(cents=70)
    ledger.reserve(first, NOW)
    ledger.settle(entry(first, 70), first)
    large = hold(cents=500)
    assert ledger.reserve(large, NOW) is not None
    assert large.amount == 500 * CENT
    assert ledger.reserve(large, NOW, alone=True) is None
    assert large.amount == 30 * CENT
    assert ledger.balances(large.limits) == [(70 * CENT, 30 * CENT)]
    ledger.settle(entry(large, 25), large)
    assert ledger.balances(large.limits) == [(95 * CENT, 0)]


def test_a_hold_alone_takes_the_least_that_is_left_on_any_of_its_limits(ledger: Ledger) -> None:
    large = hold(limit("$1/day per user"), limit("$0.40/month"), cents=500)
    assert ledger.reserve(large, NOW, alone=True) is None
    assert large.amount == 40 * CENT
    assert ledger.balances(large.limits) == [(0, 40 * CENT)] * 2


def test_a_hold_does_not_shrink_beside_another(ledger: Ledger) -> None:
    ledger.reserve(hold(cents=1), NOW)
    large = hold(cents=100)
    refusal = ledger.reserve(large, NOW, alone=True)
    assert refusal is not None
    assert (refusal.spent, refusal.held) == (0, 1 * CENT)


def test_a_hold_alone_is_refused_where_nothing_is_left(ledger: Ledger) -> None:
    first = hold(cents=100)
    ledger.reserve(first, NOW)
    ledger.settle(entry(first, 100), first)
    assert ledger.reserve(hold(cents=1), NOW, alone=True) is not None


def test_a_refusal_charges_the_expired_holds_on_its_limits_first(ledger: Ledger) -> None:
    dead, other = hold(cents=100, seconds=1), hold(cents=100, seconds=1, tags=BOB)
    ledger.reserve(dead, NOW)
    ledger.reserve(other, NOW)
    later = NOW + 5 * SECOND
    refusal = ledger.reserve(hold(cents=1), later)
    assert refusal is not None
    assert (refusal.spent, refusal.held) == (100 * CENT, 0)
    assert [lost.call_id for lost in ledger.entries({})] == [dead.call.id]
    assert ledger.balances(other.limits) == [(0, 100 * CENT)]


def test_a_hold_alone_has_the_limit_to_itself_once_the_dead_are_charged(ledger: Ledger) -> None:
    dead = hold(cents=40, seconds=1)
    ledger.reserve(dead, NOW)
    large = hold(cents=100)
    assert ledger.reserve(large, NOW + 5 * SECOND, alone=True) is None
    assert large.amount == 60 * CENT


# -- settle


def test_settling_replaces_the_hold_by_the_cost(ledger: Ledger) -> None:
    first = hold(cents=30)
    ledger.reserve(first, NOW)
    assert ledger.settle(entry(first, 12), first) == ()
    assert ledger.balances(first.limits) == [(12 * CENT, 0)]
    assert not ledger.release(first)


def test_settling_twice_changes_nothing(ledger: Ledger) -> None:
    first = hold(cents=30)
    ledger.reserve(first, NOW)
    ledger.settle(entry(first, 12), first)
    assert ledger.settle(entry(first, 25), first) is None
    assert ledger.balances(first.limits) == [(12 * CENT, 0)]
    assert ledger.spent({}) == 12 * CENT


def test_a_cost_above_its_hold_is_counted_in_full(ledger: Ledger) -> None:
    first = hold(cents=90)
    ledger.reserve(first, NOW)
    ledger.settle(entry(first, 130), first)
    assert ledger.balances(first.limits) == [(130 * CENT, 0)]
    assert ledger.reserve(hold(cents=0), NOW) is not None


def test_an_entry_without_a_price_only_frees_the_hold(ledger: Ledger) -> None:
    first = hold(cents=30)
    ledger.reserve(first, NOW)
    assert ledger.settle(entry(first, None, reason="no price is known"), first) == ()
    assert ledger.balances(first.limits) == [(0, 0)]
    assert [(known.nanos, known.reason) for known in ledger.entries({})] == [(None, "no price is known")]


def test_an_entry_without_a_hold_is_recorded(ledger: Ledger) -> None:
    ledger.settle(entry(hold(), 7), None)
    assert ledger.spent({"user": "alice"}) == 7 * CENT


def test_an_entry_settled_by_one_who_does_not_know_its_hold_still_replaces_it(ledger: Ledger) -> None:
    first = hold(cents=60)
    ledger.reserve(first, NOW)
    crossings = ledger.settle(entry(first, 55), None)
    assert ledger.balances(first.limits) == [(55 * CENT, 0)]
    assert [crossing.fraction for crossing in crossings or ()] == [Decimal("0.5")]


def test_an_entry_whose_hold_the_store_never_had_is_counted(ledger: Ledger) -> None:
    first = hold(cents=60)
    ledger.settle(entry(first, 20), first)
    assert ledger.balances(first.limits) == [(20 * CENT, 0)]


def test_a_hold_of_yesterday_is_settled_yesterday(ledger: Ledger) -> None:
    old = hold(cents=30, at_ns=NOW - DAY)
    ledger.reserve(old, NOW - DAY)
    ledger.settle(entry(old, 20), old)
    assert ledger.balances([*old.limits, limit()]) == [(20 * CENT, 0), (0, 0)]


def test_the_truth_replaces_a_lost_entry_once(ledger: Ledger) -> None:
    slow = hold(cents=30, seconds=1)
    ledger.reserve(slow, NOW)
    assert len(ledger.expire(NOW + 5 * SECOND)) == 1
    assert ledger.balances(slow.limits) == [(30 * CENT, 0)]
    assert ledger.settle(entry(slow, 12), slow) == ()
    assert ledger.balances(slow.limits) == [(12 * CENT, 0)]
    assert ledger.settle(entry(slow, 12), slow) is None
    assert ledger.balances(slow.limits) == [(12 * CENT, 0)]
    assert [(known.status, known.nanos) for known in ledger.entries({})] == [("ok", 12 * CENT)]


def test_a_replaced_entry_says_all_that_the_truth_says(ledger: Ledger) -> None:
    slow = hold(cents=30, seconds=1)
    ledger.reserve(slow, NOW)
    ledger.expire(NOW + 5 * SECOND)
    truth = entry(slow, 12, response_id="resp_1", attempts=3, streamed=True, usage=Usage(input_tokens=7, seconds=2))
    ledger.settle(truth, slow)
    assert [facts(known) for known in ledger.entries({})] == [facts(truth)]


def test_the_truth_of_a_lost_call_may_cost_more_nothing_or_have_no_price(ledger: Ledger) -> None:
    for cents, spent in ((50, 50), (0, 50), (None, 50)):
        slow = hold(cents=30, seconds=1)
        ledger.reserve(slow, NOW)
        ledger.expire(NOW + 5 * SECOND)
        ledger.settle(entry(slow, cents), slow)
        assert ledger.balances(slow.limits) == [(spent * CENT, 0)]


def test_the_truth_finds_the_charged_balances_without_the_hold(ledger: Ledger) -> None:
    slow = hold(cents=30, seconds=1)
    ledger.reserve(slow, NOW)
    ledger.expire(NOW + 5 * SECOND)
    ledger.settle(entry(slow, 12), None)
    assert ledger.balances(slow.limits) == [(12 * CENT, 0)]


@pytest.mark.parametrize("known", [True, False], ids=["hold known", "hold not known"])
def test_a_pending_entry_is_replaced_by_a_final_one(ledger: Ledger, known: bool) -> None:
    first = hold(cents=30)
    ledger.reserve(first, NOW)
    assert ledger.settle(entry(first, 30, status="pending", estimated=True), first if known else None) == ()
    assert ledger.settle(entry(first, 9, status="pending", estimated=True), first) is None
    assert ledger.balances(first.limits) == [(30 * CENT, 0)]
    assert ledger.settle(entry(first, 5), None) == ()
    assert ledger.balances(first.limits) == [(5 * CENT, 0)]
    assert ledger.settle(entry(first, 5), first) is None


def test_a_final_entry_is_never_replaced_by_a_pending_one(ledger: Ledger) -> None:
    first = hold(cents=30)
    ledger.reserve(first, NOW)
    ledger.settle(entry(first, 5), first)
    assert ledger.settle(entry(first, 9, status="pending"), first) is None
    assert ledger.balances(first.limits) == [(5 * CENT, 0)]


# -- release and expire


def test_a_released_hold_is_gone(ledger: Ledger) -> None:
    first = hold(limit(), limit("$5/month"), cents=30)
    ledger.reserve(first, NOW)
    assert ledger.release(first)
    assert not ledger.release(first)
    assert ledger.balances(first.limits) == [(0, 0), (0, 0)]
    assert ledger.entries({}) == []


def test_a_call_released_and_settled_all_the_same_is_counted(ledger: Ledger) -> None:
    first = hold(cents=30)
    ledger.reserve(first, NOW)
    ledger.release(first)
    ledger.settle(entry(first, 30), first)
    assert ledger.balances(first.limits) == [(30 * CENT, 0)]


def test_an_expired_hold_is_charged_with_its_tags(ledger: Ledger) -> None:
    dead, alive = hold(cents=30, seconds=10), hold(cents=20, seconds=60)
    ledger.reserve(dead, NOW)
    ledger.reserve(alive, NOW)
    assert ledger.expire(NOW + 9 * SECOND) == []
    (lost,) = ledger.expire(NOW + 10 * SECOND)
    assert ledger.expire(NOW + 10 * SECOND) == []
    assert (lost.call_id, lost.status, lost.nanos, lost.estimated) == (dead.call.id, "lost", 30 * CENT, True)
    assert (lost.tags, lost.model, lost.held_nanos, lost.at_ns) == (ALICE, "gpt-4o", 30 * CENT, NOW)
    assert "never settled" in str(lost.reason)
    assert [facts(known) for known in ledger.entries({})] == [facts(lost)]
    assert ledger.balances(dead.limits) == [(30 * CENT, 20 * CENT)]


def test_an_expired_hold_of_nothing_leaves_the_cost_unknown(ledger: Ledger) -> None:
    ledger.reserve(hold(cents=0, seconds=1), NOW)
    assert [lost.nanos for lost in ledger.expire(NOW + 2 * SECOND)] == [None]


def test_an_expired_hold_that_passes_a_mark_is_told(ledger: Ledger) -> None:
    dead = hold(cents=60, seconds=1)
    ledger.reserve(dead, NOW)
    ledger.expire(NOW + 2 * SECOND)
    (parcel,) = ledger.claim(NOW + 3 * SECOND, lease_ns=SECOND)
    assert (parcel.payload["fraction"], parcel.payload["spent"]) == ("0.5", 60 * CENT)
    assert parcel.payload["payer"] == {"user": "alice"}


# -- many at once


def test_settling_many_answers_what_each_of_them_would_have_answered(ledger: Ledger) -> None:
    calls = [hold(limit(), limit("$5/month"), cents=20) for _ in range(6)]
    for one in calls:
        ledger.reserve(one, NOW, alone=True)
    answers = ledger.settle_all([(entry(one, 20), one) for one in calls])
    told = [None if some is None else [(one.fraction, one.spent) for one in some] for some in answers]
    assert told == [
        [], [], [(Decimal("0.5"), 60 * CENT)], [(Decimal("0.8"), 80 * CENT)], [(Decimal(1), 100 * CENT)], [],
    ]  # fmt: skip
    assert ledger.balances([limit(), limit("$5/month")]) == [(120 * CENT, 0)] * 2
    assert ledger.undelivered() == 3
    assert [known.call_id for known in ledger.entries({})] == [one.call.id for one in reversed(calls)]


def test_settling_many_twice_changes_nothing(ledger: Ledger) -> None:
    calls = [hold(cents=2) for _ in range(5)]
    both = [(entry(one, 2), one) for one in calls]
    assert ledger.settle_all(both[:3]) == [()] * 3
    assert ledger.settle_all(both) == [None] * 3 + [()] * 2
    assert ledger.settle_all(both) == [None] * 5
    assert ledger.settle_all([]) == []
    assert ledger.balances([limit()]) == [(10 * CENT, 0)]
    assert len(ledger.entries({})) == 5


def test_an_entry_that_comes_twice_in_one_lot_is_recorded_once(ledger: Ledger) -> None:
    one, other = hold(cents=30), hold(cents=5)
    ledger.reserve(one, NOW)
    lot = [(entry(one, 30), one), (entry(other, 5), None), (entry(one, 30), one), (entry(one, 40), None)]
    assert ledger.settle_all(lot) == [(), (), None, None]
    assert ledger.balances(one.limits) == [(30 * CENT, 0)]


def test_the_truth_may_come_in_the_same_lot_as_what_it_replaces(ledger: Ledger) -> None:
    one, other = hold(cents=60), hold(cents=10)
    lot = [(entry(one, 60, status="pending"), one), (entry(one, 20), one), (entry(other, 10), other)]
    first, second, third = ledger.settle_all(lot)
    assert [crossing.fraction for crossing in first or ()] == [Decimal("0.5")]
    assert (second, third) == ((), ())
    assert ledger.balances(one.limits) == [(30 * CENT, 0)]
    assert [(known.status, known.nanos) for known in ledger.entries({"user": "alice"})] == [
        ("ok", 10 * CENT), ("ok", 20 * CENT),
    ]  # fmt: skip


def test_a_lot_may_bring_the_truth_of_lost_calls_and_entries_without_holds(ledger: Ledger) -> None:
    lost, held, free = hold(cents=30, seconds=1), hold(cents=20), hold(cents=1)
    ledger.reserve(lost, NOW)
    ledger.reserve(held, NOW)
    ledger.expire(NOW + 5 * SECOND)
    free.limits = ()
    lot = [(entry(lost, 7), lost), (entry(held, None), None), (entry(free, 9), free), (entry(lost, 8), lost)]
    assert ledger.settle_all(lot) == [(), (), (), None]
    assert ledger.balances(lost.limits) == [(7 * CENT, 0)]
    assert ledger.spent({}) == 16 * CENT


def test_hundreds_of_payers_are_settled_in_one_lot(ledger: Ledger) -> None:
    calls = [hold(tags=Tags(user=f"user{number % 300}"), cents=1) for number in range(700)]
    answers = ledger.settle_all([(entry(one, 30), one) for one in calls])
    assert sum(len(some or ()) for some in answers) == 300 + 100
    assert ledger.balances([calls[0].limits[0], calls[299].limits[0]]) == [(90 * CENT, 0), (60 * CENT, 0)]
    assert ledger.spent({}) == 700 * 30 * CENT


# -- extend and look


def test_a_hold_that_is_extended_expires_later(ledger: Ledger) -> None:
    one, other = hold(cents=30, seconds=10), hold(cents=20, seconds=10)
    ledger.reserve(one, NOW)
    ledger.reserve(other, NOW)
    assert ledger.extend([one.call.id], NOW + 60 * SECOND) == {one.call.id}
    assert [lost.call_id for lost in ledger.expire(NOW + 20 * SECOND)] == [other.call.id]
    assert [lost.call_id for lost in ledger.expire(NOW + 60 * SECOND)] == [one.call.id]


def test_only_what_still_is_a_hold_is_extended(ledger: Ledger) -> None:
    held, settled, released, lost, never = (hold(cents=5, seconds=n) for n in (60, 60, 60, 1, 60))
    for one in (held, settled, released, lost):
        ledger.reserve(one, NOW)
    ledger.settle(entry(settled, 5), settled)
    ledger.release(released)
    ledger.expire(NOW + 5 * SECOND)
    ids = [one.call.id for one in (held, settled, released, lost, never)]
    assert ledger.extend(ids, NOW + 90 * SECOND) == {held.call.id}
    assert ledger.extend([], NOW) == set()


def test_the_first_limit_that_is_spent_is_reached(ledger: Ledger) -> None:
    day, month, week = limit("$1/day per user"), limit("$1/month"), limit("$2/week")
    assert ledger.reached([day, month, week]) is None
    one = hold(day, month, week, cents=99)
    ledger.settle(entry(one, 99), one)
    ledger.reserve(hold(day, cents=1), NOW)
    assert ledger.reached([day, month, week]) is None
    ledger.settle(entry(two := hold(day, month, week), 2), two)
    assert ledger.reached([week, month, day]) == Refusal(day, 101 * CENT, 1 * CENT)
    assert ledger.reached([week, month]) == Refusal(month, 101 * CENT, 0)
    assert ledger.reached([week]) is None
    assert ledger.reached([]) is None


# -- release of what was lost


def test_a_lost_call_that_is_released_was_never_made(ledger: Ledger) -> None:
    slow = hold(limit(), limit("$5/month"), cents=30, seconds=1)
    ledger.reserve(slow, NOW)
    ledger.expire(NOW + 5 * SECOND)
    assert ledger.release(slow)
    assert not ledger.release(slow)
    assert ledger.balances(slow.limits) == [(0, 0)] * 2
    assert ledger.entries({}) == []


def test_what_was_settled_or_waits_for_its_answer_cannot_be_released(ledger: Ledger) -> None:
    for status in ("ok", "pending"):
        one = hold(cents=30)
        ledger.settle(entry(one, 30, status=status), one)
        assert not ledger.release(one)
    assert ledger.balances([limit()]) == [(60 * CENT, 0)]


# -- units


def test_each_limit_counts_in_its_own_unit(ledger: Ledger) -> None:
    rules = ("$1/day per user", "1000 tokens/day per user", "2 calls/day per user")
    limits = [limit(rule) for rule in rules]

    def begin() -> Hold:
        one = hold(*limits, cents=20)
        one.tokens = 300
        return one

    first, second = begin(), begin()
    assert ledger.reserve(first, NOW) is None
    assert ledger.balances(limits) == [(0, 20 * CENT), (0, 300), (0, 1)]
    ledger.settle(entry(first, 5, usage=Usage(input_tokens=400, output_tokens=60)), first)
    assert ledger.balances(limits) == [(5 * CENT, 0), (460, 0), (1, 0)]
    assert ledger.reserve(second, NOW) is None
    refusal = ledger.reserve(begin(), NOW)
    assert refusal is not None
    # In the order of the keys, calls come before tokens.
    assert (refusal.limit.unit, refusal.spent, refusal.held) == ("calls", 1, 1)
    assert ledger.release(second)
    assert ledger.balances(limits) == [(5 * CENT, 0), (460, 0), (1, 0)]
    answers = ledger.settle_all([(entry(one, 0, status="error", usage=Usage()), one) for one in (begin(), begin())])
    assert answers == [(), ()]
    assert ledger.balances(limits) == [(5 * CENT, 0), (460, 0), (1, 0)]


def test_a_lost_call_is_charged_in_each_unit_and_replaced_in_each(ledger: Ledger) -> None:
    limits = [limit(rule) for rule in ("$1/day per user", "1000 tokens/day per user", "5 calls/day per user")]
    slow = hold(*limits, cents=20, seconds=1)
    slow.tokens = 600
    ledger.reserve(slow, NOW)
    (lost,) = ledger.expire(NOW + 5 * SECOND)
    assert lost.nanos == 20 * CENT
    assert ledger.balances(limits) == [(20 * CENT, 0), (600, 0), (1, 0)]
    assert {parcel.payload["spent"] for parcel in ledger.claim(NOW, lease_ns=1)} == {600}
    truth = entry(slow, 3, status="error", usage=Usage(input_tokens=50))
    assert ledger.settle(truth, None) == ()
    assert ledger.balances(limits) == [(3 * CENT, 0), (50, 0), (0, 0)]


def test_a_hold_alone_shrinks_in_its_units(ledger: Ledger) -> None:
    limits = [limit("$1/day per user"), limit("1000 tokens/day per user"), limit("5 calls/day per user")]
    large = hold(*limits, cents=500)
    large.tokens = 5000
    assert ledger.reserve(large, NOW, alone=True) is None
    assert (large.amount, large.tokens) == (100 * CENT, 1000)
    assert ledger.balances(limits) == [(0, 100 * CENT), (0, 1000), (0, 1)]


# -- crossings and the outbox


def test_a_mark_is_crossed_by_the_call_that_reaches_it(ledger: Ledger) -> None:
    def settle(cents: int) -> list[tuple[Decimal, int]]:
        first = hold(cents=cents)
        crossings = ledger.settle(entry(first, cents), first)
        assert crossings is not None
        return [(crossing.fraction, crossing.spent) for crossing in crossings]

    assert settle(49) == []
    assert settle(1) == [(Decimal("0.5"), 50 * CENT)]
    assert settle(1) == []
    assert settle(60) == [(Decimal("0.8"), 111 * CENT), (Decimal(1), 111 * CENT)]
    assert settle(60) == []
    assert ledger.undelivered() == 3


def test_a_crossing_is_made_once_even_if_the_spending_falls_and_rises_again(ledger: Ledger) -> None:
    slow = hold(cents=60, seconds=1)
    ledger.reserve(slow, NOW)
    ledger.expire(NOW + 2 * SECOND)
    assert ledger.settle(entry(slow, 10), slow) == ()
    first = hold(cents=45)
    assert ledger.settle(entry(first, 45), first) == ()
    assert ledger.undelivered() == 1


def test_each_payer_and_window_crosses_for_itself(ledger: Ledger) -> None:
    for one in (hold(cents=60), hold(cents=60, tags=BOB), hold(cents=60, at_ns=NOW + DAY)):
        assert len(ledger.settle(entry(one, 60), one) or ()) == 1
    assert ledger.undelivered() == 3


def test_a_crossing_can_be_told_before_the_spending_reaches_it_and_is_not_told_again(ledger: Ledger) -> None:
    crossing = Crossing(limit(), Decimal(1), 95 * CENT, NOW, refused=True)
    assert ledger.tell(crossing)
    assert not ledger.tell(crossing)
    first = hold(cents=100)
    assert [crossing.fraction for crossing in ledger.settle(entry(first, 100), first) or ()] == [
        Decimal("0.5"),
        Decimal("0.8"),
    ]
    assert ledger.undelivered() == 3


def test_a_parcel_carries_the_crossing(ledger: Ledger) -> None:
    crossing = Crossing(limit(name="chat", tz="Europe/Berlin"), Decimal("0.8"), 85 * CENT, NOW)
    ledger.tell(crossing)
    (parcel,) = ledger.claim(NOW + SECOND, lease_ns=SECOND)
    assert parcel.key == crossing.key
    assert parcel.payload == json.loads(json.dumps(crossing_payload(crossing)))
    assert (parcel.created_ns, parcel.tries, parcel.delivered) == (NOW, 1, [])


def test_a_claimed_parcel_is_nobody_elses_until_its_lease_ends(ledger: Ledger) -> None:
    ledger.tell(Crossing(limit(), Decimal(1), 1, NOW))
    assert len(ledger.claim(NOW, lease_ns=10 * SECOND)) == 1
    assert ledger.claim(NOW + 9 * SECOND, lease_ns=10 * SECOND) == []
    (again,) = ledger.claim(NOW + 10 * SECOND, lease_ns=10 * SECOND)
    assert again.tries == 2
    assert ledger.undelivered() == 1


def test_parcels_are_claimed_oldest_first_and_no_more_than_asked_for(ledger: Ledger) -> None:
    users = [f"user{number}" for number in range(5)]
    for user in users:
        ledger.tell(Crossing(limit(tags=Tags(user=user)), Decimal(1), 1, NOW))
    first = ledger.claim(NOW, lease_ns=SECOND, most=2)
    rest = ledger.claim(NOW, lease_ns=SECOND)
    payers = [parcel.payload["payer"] for parcel in first + rest]
    assert len(first) == 2
    assert payers == [{"user": user} for user in users]


def test_a_delivered_parcel_is_never_claimed_or_made_again(ledger: Ledger) -> None:
    crossing = Crossing(limit(), Decimal(1), 1, NOW)
    ledger.tell(crossing)
    (parcel,) = ledger.claim(NOW, lease_ns=SECOND)
    ledger.delivered(parcel, NOW)
    assert ledger.undelivered() == 0
    assert ledger.claim(NOW + DAY, lease_ns=SECOND) == []
    assert not ledger.tell(crossing)
    ledger.postpone(parcel, NOW, "too late to say")
    assert ledger.undelivered() == 0


def test_a_postponed_parcel_comes_again_with_what_was_delivered(ledger: Ledger) -> None:
    ledger.tell(Crossing(limit(), Decimal(1), 1, NOW))
    (parcel,) = ledger.claim(NOW, lease_ns=SECOND)
    parcel.delivered.append("slack")
    ledger.postpone(parcel, NOW + 60 * SECOND, "pager: HTTP 500")
    assert ledger.claim(NOW + 59 * SECOND, lease_ns=SECOND) == []
    (again,) = ledger.claim(NOW + 60 * SECOND, lease_ns=SECOND)
    assert (again.delivered, again.tries) == (["slack"], 2)


def test_a_worker_whose_lease_has_ended_cannot_postpone_anothers_parcel(ledger: Ledger) -> None:
    ledger.tell(Crossing(limit(), Decimal(1), 1, NOW))
    (stale,) = ledger.claim(NOW, lease_ns=SECOND)
    (fresh,) = ledger.claim(NOW + 2 * SECOND, lease_ns=10 * SECOND)
    ledger.postpone(stale, NOW, "late")
    assert ledger.claim(NOW + 3 * SECOND, lease_ns=SECOND) == []
    ledger.delivered(fresh, NOW)


def test_a_parcel_given_up_is_never_claimed_again(ledger: Ledger) -> None:
    ledger.tell(Crossing(limit(), Decimal(1), 1, NOW))
    (parcel,) = ledger.claim(NOW, lease_ns=SECOND)
    ledger.give_up(parcel, NOW, "no such channel")
    assert ledger.undelivered() == 0
    assert ledger.claim(NOW + DAY, lease_ns=SECOND) == []


# -- reads


def record(ledger: Ledger, cents: float | None = 10, *, at_ns: int = NOW, tags: Tags = ALICE, **more: object) -> str:
    one = hold(tags=tags, at_ns=at_ns, model=str(more.pop("model", "gpt-4o")))
    one.call.provider = str(more.pop("provider", "openai"))
    ledger.settle(entry(one, cents, **more), None)
    return one.call.id


RATES = Rates("openai", "gpt-4o", "test", {"input": 2500, "output": 10_000}, scale=9)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(input_tokens=12_000, cache_read_tokens=9_000, output_tokens=2_500, reasoning_tokens=2_100),
        Usage(input_tokens=100, cache_write_tokens=60, cache_write_1h_tokens=20, cache_read_tokens=10),
        Usage(input_tokens=50, audio_input_tokens=30, output_tokens=20, audio_output_tokens=15),
        Usage.of({"cache_read": 5, "cache_read_audio": 7, "input_image": 3, "output_video": 2, "web_searches": 1}),
        Usage(seconds=90),
    ],
    ids=repr,
)
def test_an_entry_is_read_as_it_was_written(ledger: Ledger, usage: Usage) -> None:
    one = hold(tags=Tags(user="Zoë 🦊", team='a"b\\c%_', session="x" * 200))
    written = entry(
        one, 12.3456789, usage=usage, rates=RATES, status="closed", estimated=True, streamed=True, attempts=3,
        response_id="chatcmpl-9", duration_ns=1_234_567_000, reason="because",
    )  # fmt: skip
    ledger.settle(written, None)
    (read,) = ledger.entries({})
    assert facts(read) == facts(written)
    assert read.receipt is not None
    assert written.receipt is not None
    assert set(read.receipt.lines) == set(written.receipt.lines)
    assert (read.cost, read.at) == (written.cost, written.at)


def test_text_that_no_database_takes_is_recorded_without_it(ledger: Ledger) -> None:
    record(ledger, model="gpt\ud800-4", response_id="a\x00b", reason="\udfff")
    (read,) = ledger.entries({})
    assert read.model.startswith("gpt")


def test_entries_come_newest_first(ledger: Ledger) -> None:
    ids = [record(ledger, at_ns=NOW + place * SECOND) for place in (2, 0, 3, 1)]
    assert [known.call_id for known in ledger.entries({})] == [ids[2], ids[0], ids[3], ids[1]]
    assert [known.call_id for known in ledger.entries({}, limit=2)] == [ids[2], ids[0]]


def test_entries_of_one_moment_come_last_recorded_first(ledger: Ledger) -> None:
    ids = [record(ledger) for _ in range(4)]
    assert [known.call_id for known in ledger.entries({})] == ids[::-1]


def test_entries_are_found_by_tags_model_provider_and_time(ledger: Ledger) -> None:
    a = record(ledger, at_ns=NOW)
    b = record(ledger, at_ns=NOW + SECOND, tags=BOB)
    c = record(ledger, at_ns=NOW + 2 * SECOND, model="claude", provider="anthropic")

    def found(tags: dict[str, str], **more: object) -> list[str]:
        return [known.call_id for known in ledger.entries(tags, **more)]  # type: ignore[arg-type]

    assert found({"user": "alice"}) == [c, a]
    assert found({"user": "ALICE"}) == []
    assert found({"user": "alice", "feature": "chat"}) == [c, a]
    assert found({"user": "bob", "feature": "chat"}) == []
    assert found({"feature": "unattributed"}) == [b]
    assert found({"team": "unattributed"}) == [c, b, a]
    assert found({}, model="claude") == [c]
    assert found({}, provider="openai") == [b, a]
    assert found({}, since_ns=NOW + SECOND) == [c, b]
    assert found({}, until_ns=NOW + SECOND) == [a]
    assert found({}, since_ns=NOW + SECOND, until_ns=NOW + 2 * SECOND) == [b]


@pytest.mark.parametrize("value", ['a"b', "a%", "a_b", "a\\", "Ünï", "a,b", '","user":"bob'])
def test_any_value_of_a_tag_is_found_and_only_that(ledger: Ledger, value: str) -> None:
    one = record(ledger, 1, tags=Tags(user=value))
    record(ledger, 2, tags=Tags(user="axb"))
    record(ledger, 2, tags=BOB)
    assert [known.call_id for known in ledger.entries({"user": value})] == [one]
    assert ledger.spent({"user": value}) == CENT


def test_spent_is_the_sum_of_the_priced_entries(ledger: Ledger) -> None:
    assert ledger.spent({}) == 0
    record(ledger, 10)
    record(ledger, None)
    record(ledger, 5, at_ns=NOW + SECOND, tags=BOB)
    assert ledger.spent({}) == 15 * CENT
    assert ledger.spent({"user": "alice"}) == 10 * CENT
    assert ledger.spent({}, since_ns=NOW + SECOND) == 5 * CENT
    assert ledger.spent({}, until_ns=NOW + SECOND) == 10 * CENT


def test_sums_show_everything_beside_the_cost(ledger: Ledger) -> None:
    record(ledger, 10, usage=Usage(input_tokens=100, cache_read_tokens=40, output_tokens=10, audio_output_tokens=4))
    record(ledger, 4, estimated=True)
    record(ledger, None)
    record(ledger, 0, status="error", usage=Usage())
    assert ledger.sums(["user"], {}) == [
        Sum(
            {"user": "alice"}, calls=4, cost=14 * CENT, input_tokens=300, output_tokens=30, cache_read_tokens=40,
            unpriced_calls=1, unpriced_tokens=110, estimated_calls=1, estimated_cost=4 * CENT, errors=1,
            duration_ns=8 * SECOND, attempts=4,
        )
    ]  # fmt: skip


def test_sums_are_grouped_by_tags_and_facts_dearest_first(ledger: Ledger) -> None:
    midnight = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * SECOND
    record(ledger, 1, at_ns=midnight - SECOND)
    record(ledger, 5, at_ns=midnight, tags=BOB, model="gpt-5")
    record(ledger, 2, at_ns=midnight, provider="azure", status="closed")

    def groups(*by: str) -> list[tuple[tuple[str, ...], int]]:
        return [(tuple(line.group[name] for name in by), line.cost // CENT) for line in ledger.sums(by, {})]

    assert groups("user") == [(("bob",), 5), (("alice",), 3)]
    assert groups("user", "feature") == [(("bob", "unattributed"), 5), (("alice", "chat"), 3)]
    assert groups("day") == [(("2026-11-20",), 7), (("2026-11-19",), 1)]
    assert groups("provider") == [(("openai",), 6), (("azure",), 2)]
    assert groups("model", "status") == [(("gpt-5", "ok"), 5), (("gpt-4o", "closed"), 2), (("gpt-4o", "ok"), 1)]
    assert groups("operation", "user") == [(("chat", "bob"), 5), (("chat", "alice"), 3)]
    assert groups("team") == [(("unattributed",), 8)]
    assert groups() == [((), 8)]


def test_sums_are_of_the_chosen_entries_only(ledger: Ledger) -> None:
    record(ledger, 1)
    record(ledger, 5, at_ns=NOW + SECOND, tags=BOB)
    assert [line.cost for line in ledger.sums(["user"], {"user": "bob"})] == [5 * CENT]
    assert [line.cost for line in ledger.sums([], {}, until_ns=NOW + SECOND)] == [1 * CENT]
    assert ledger.sums(["user"], {"user": "carol"}) == []
    assert ledger.sums([], {"user": "carol"}) == []


def test_entries_before_a_time_are_forgotten_and_their_spending_stays_in_the_balances(ledger: Ledger) -> None:
    before, after = NOW - 100 * DAY, NOW + 100 * DAY
    forever = limit("$9/ever")
    for at in (before, before, after):
        one = hold(forever, cents=10, at_ns=at)
        assert ledger.reserve(one, at) is None
        assert ledger.settle(entry(one, 10), one) == ()
    assert ledger.retain(NOW) == 2
    assert [one.at_ns for one in ledger.entries({})] == [after]
    assert ledger.spent({}) == 10 * CENT
    assert ledger.balances([forever]) == [(30 * CENT, 0)]
    assert ledger.retain(NOW) == 0


def test_alerts_of_windows_that_ended_are_forgotten_with_the_entries_of_their_month(ledger: Ledger) -> None:
    old, this_month = NOW - 100 * DAY, NOW - 2 * DAY
    gone = Crossing(limit("$1/day", at_ns=old), Decimal(1), 100 * CENT, old)
    kept = [
        Crossing(limit("$1/ever", at_ns=old), Decimal(1), 100 * CENT, old),
        Crossing(limit("$2/day", at_ns=old), Decimal(1), 200 * CENT, old),
        Crossing(limit("$1/day", at_ns=this_month), Decimal(1), 100 * CENT, this_month),
        Notice("new model", "openai/gpt-5", old),
        # Its bucket is over, the year in which people are not told anew is not.
        Crossing(limit("$4/365d", at_ns=old), Decimal(1), 400 * CENT, old),
        Crossing(limit("$3/day", at_ns=old), Decimal(1), 300 * CENT, old),
    ]
    for news in (gone, *kept):
        assert ledger.tell(news)
    *told, waiting = ledger.claim(NOW, lease_ns=SECOND)
    for parcel in told:
        # The third was told late, in this month.
        ledger.delivered(parcel, this_month if parcel.key == kept[1].key else old + SECOND)
    ledger.retain(NOW)
    assert [ledger.tell(news) for news in kept] == [False] * 6
    assert ledger.tell(gone)
    assert {one.key for one in ledger.claim(NOW + 2 * SECOND, lease_ns=SECOND)} == {gone.key, waiting.key}


def test_balances_of_limits_never_seen_are_zero(ledger: Ledger) -> None:
    assert ledger.balances([]) == []
    assert ledger.balances([limit(), limit("$9/month")]) == [(0, 0), (0, 0)]


def test_a_budget_with_any_text_survives_in_the_store(ledger: Ledger) -> None:
    odd = Budget(Decimal("0.000000001"), "month", ("user",), (("route", "/a b/{x}, c=1"),), tz="Asia/Tokyo", name="é")
    one = hold(odd.limit_for(ALICE, NOW), cents=0, seconds=1)
    one.amount = 1
    assert ledger.reserve(one, NOW) is None
    assert len(ledger.expire(NOW + 2 * SECOND)) == 1
    parcels = ledger.claim(NOW, lease_ns=1)
    # Half a nano-dollar is rounded up to one, as is 0.8 of it: all three marks are the limit itself.
    assert [parcel.key for parcel in parcels] == [f"{one.limits[0].key}@{part}*1" for part in ("0.5", "0.8", "1")]
    assert {parcel.payload["name"] for parcel in parcels} == {"é"}


def test_closing_twice_is_harmless_and_a_later_verb_opens_again(ledger: Ledger) -> None:
    record(ledger, 3)
    ledger.close()
    ledger.close()
    ledger.open()
    assert ledger.spent({}) == 3 * CENT
    record(ledger, 4)
    assert ledger.spent({}) == 7 * CENT
