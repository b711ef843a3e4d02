"""What every store makes of leases and of the calls held out of them: for those who lease, see `LeaseLedger`."""

from __future__ import annotations

import pytest

from costguard.ledger.base import LEASE, Ledger
from costguard.pricing.usage import Usage
from tests.ledger.rows import drawing, lease
from tests.ledger.values import ALICE, CENT, NOW, SECOND, entry, limit


def test_what_a_call_costs_is_drawn_from_its_leases(ledger: Ledger) -> None:
    day, month = lease(limit(), 50 * CENT), lease(limit("$5/month"), 20 * CENT)
    assert ledger.reserve(day, NOW) is None
    assert ledger.reserve(month, NOW) is None
    one = drawing(day, month, cents=15)
    assert ledger.settle(entry(one, 12), one) == ()
    assert ledger.balances([*day.limits, *month.limits]) == [(12 * CENT, 38 * CENT), (12 * CENT, 8 * CENT)]
    assert ledger.settle(entry(one, 12), one) is None
    two = drawing(month, day)
    ledger.settle(entry(two, 10), two)
    assert ledger.balances([*day.limits, *month.limits]) == [(22 * CENT, 28 * CENT), (22 * CENT, 0)]
    assert ledger.release(day)
    assert ledger.release(month)
    assert not ledger.release(day)
    assert ledger.balances([*day.limits, *month.limits]) == [(22 * CENT, 0)] * 2
    assert [known.nanos for known in ledger.entries({})] == [10 * CENT, 12 * CENT]


def test_many_calls_draw_from_one_lease_at_once(ledger: Ledger) -> None:
    taken = lease(limit(), 50 * CENT)
    ledger.reserve(taken, NOW)
    calls = [drawing(taken, cents=12) for _ in range(5)]
    lot = [(entry(one, 12), one) for one in calls]
    answers = ledger.settle_all([*lot, lot[0]])
    assert [None if some is None else len(some) for some in answers] == [0, 0, 0, 0, 1, None]
    assert ledger.balances(taken.limits) == [(60 * CENT, 0)]
    assert ledger.settle_all(lot) == [None] * 5
    assert ledger.release(taken)
    assert ledger.balances(taken.limits) == [(60 * CENT, 0)]


def test_a_lease_that_expires_is_charged_with_what_was_not_drawn(ledger: Ledger) -> None:
    taken = lease(limit(), 50 * CENT)
    ledger.reserve(taken, NOW)
    one = drawing(taken)
    ledger.settle(entry(one, 10), one)
    (lost,) = ledger.expire(NOW + 61 * SECOND)
    assert (lost.call_id, lost.status, lost.nanos, lost.tags) == (taken.call.id, "lost", 40 * CENT, ALICE)
    assert (lost.provider, lost.operation) == LEASE
    assert ledger.balances(taken.limits) == [(50 * CENT, 0)]
    # The charge is on the budget: no call cost it, and a second budget would have one of its own.
    assert ledger.spent({}) == 10 * CENT
    assert [one.cost for one in ledger.sums(["user"], {})] == [10 * CENT]
    assert {one.group["operation"]: one.cost for one in ledger.sums(["operation"], {})} == {
        "chat": 10 * CENT, LEASE[1]: 40 * CENT,
    }  # fmt: skip


def test_a_call_of_a_lost_lease_is_paid_out_of_its_charge(ledger: Ledger) -> None:
    taken = lease(limit(), 50 * CENT, seconds=1)
    ledger.reserve(taken, NOW)
    ledger.expire(NOW + 5 * SECOND)
    calls = [drawing(taken) for _ in range(4)]
    ledger.settle(entry(calls[0], 20), calls[0])
    assert ledger.balances(taken.limits) == [(50 * CENT, 0)]
    assert {known.call_id: known.nanos for known in ledger.entries({})} == {
        taken.call.id: 30 * CENT, calls[0].call.id: 20 * CENT,
    }  # fmt: skip
    assert ledger.settle(entry(calls[0], 20), calls[0]) is None
    ledger.settle_all([(entry(one, 20), one) for one in calls[1:3]])
    assert ledger.balances(taken.limits) == [(60 * CENT, 0)]
    assert {known.call_id: known.nanos for known in ledger.entries({})} == {
        one.call.id: 20 * CENT for one in calls[:3]
    }  # fmt: skip
    ledger.settle(entry(calls[3], 5), calls[3])
    assert ledger.balances(taken.limits) == [(65 * CENT, 0)]
    assert not ledger.release(taken)


def test_the_owner_of_a_lost_lease_gets_back_what_is_left_of_the_charge_once(ledger: Ledger) -> None:
    taken = lease(limit(), 50 * CENT, seconds=1)
    ledger.reserve(taken, NOW)
    ledger.expire(NOW + 5 * SECOND)
    one = drawing(taken)
    ledger.settle(entry(one, 20), one)
    assert ledger.release(taken)
    assert ledger.balances(taken.limits) == [(20 * CENT, 0)]
    assert not ledger.release(taken)
    assert [known.call_id for known in ledger.entries({})] == [one.call.id]


def test_a_lease_of_which_nothing_is_left_goes_without_an_entry(ledger: Ledger) -> None:
    taken = lease(limit(), 50 * CENT, seconds=1)
    ledger.reserve(taken, NOW)
    one = drawing(taken)
    ledger.settle(entry(one, 50), one)
    assert ledger.expire(NOW + 5 * SECOND) == []
    assert not ledger.release(taken)
    assert ledger.balances(taken.limits) == [(50 * CENT, 0)]
    assert [known.call_id for known in ledger.entries({})] == [one.call.id]


def test_a_part_of_a_lease_goes_back(ledger: Ledger) -> None:
    taken = lease(limit(), 50 * CENT)
    ledger.reserve(taken, NOW)
    assert ledger.shrink(taken, 20 * CENT) == 20 * CENT
    assert ledger.balances(taken.limits) == [(0, 30 * CENT)]
    assert ledger.shrink(taken, 40 * CENT) == 30 * CENT
    assert ledger.shrink(taken, 40 * CENT) == 0
    assert ledger.balances(taken.limits) == [(0, 0)]
    assert ledger.release(taken)
    assert ledger.shrink(taken, 1) == 0


def test_a_call_held_out_of_a_lease_that_nobody_knows_counts_in_full(ledger: Ledger) -> None:
    one = drawing(lease(limit(), 50 * CENT))
    ledger.settle(entry(one, 12), one)
    assert ledger.balances(one.limits) == [(12 * CENT, 0)]


def test_a_pending_call_of_a_lease_is_replaced_without_drawing_again(ledger: Ledger) -> None:
    taken = lease(limit(), 50 * CENT)
    ledger.reserve(taken, NOW)
    one = drawing(taken)
    ledger.settle(entry(one, 20, status="pending"), one)
    assert ledger.balances(taken.limits) == [(20 * CENT, 30 * CENT)]
    ledger.settle(entry(one, 12), one)
    assert ledger.balances(taken.limits) == [(12 * CENT, 30 * CENT)]


@pytest.mark.parametrize("rule", ["1000 tokens/day per user", "1000 calls/day per user"])
def test_leases_are_in_the_unit_of_their_limit(ledger: Ledger, rule: str) -> None:
    counted = limit(rule)
    taken = lease(counted, 400, seconds=10)
    assert ledger.reserve(taken, NOW) is None
    assert ledger.balances([counted]) == [(0, 400)]
    one, two, three = (drawing(taken) for _ in range(3))
    ledger.settle(entry(one, 5, usage=Usage(input_tokens=1)), one)
    assert ledger.balances([counted]) == [(1, 399)]
    assert ledger.shrink(taken, 99) == 99
    (lost,) = ledger.expire(NOW + 11 * SECOND)
    assert (lost.nanos, lost.status) == (None, "lost")
    assert ledger.balances([counted]) == [(301, 0)]
    ledger.settle_all([(entry(two, 5, usage=Usage(input_tokens=1)), two)])
    assert ledger.balances([counted]) == [(301, 0)]
    assert ledger.release(taken)
    assert ledger.balances([counted]) == [(2, 0)]
    ledger.settle(entry(three, 5, usage=Usage(input_tokens=1)), three)
    assert ledger.balances([counted]) == [(3, 0)]
