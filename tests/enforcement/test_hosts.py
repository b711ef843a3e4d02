"""Hosts that share a store and disagree about the time, and clocks that are stepped while calls run."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest

from costguard import Budget
from tests.enforcement.proof_hosts import Host
from tests.enforcement.proof_stores import books, place

pytestmark = pytest.mark.long

HOUR = 3600
TEN_CENTS, FIVE_CENTS = Decimal("0.1"), Decimal("0.05")

stores = pytest.mark.parametrize("store", ["sqlite", "postgres"])


@stores
def test_a_host_whose_clock_is_ahead_lets_the_holds_of_another_be(store: str, tmp_path: Path) -> None:
    where = place(store, tmp_path)
    with (
        Host(where, budgets=["$0.15/ever"], wait=0) as behind,
        Host(where, budgets=["$0.15/ever"], wait=0) as ahead,
    ):
        ahead.set_clock(30)
        assert behind.reserve("a") == "held"
        assert ahead.reserve("b") == "busy"
        behind.settle("a", 5_000)
        assert ahead.entries() == {"a": ("ok", FIVE_CENTS)}
        assert ahead.reserve("c") == "held"
        assert behind.reserve("d") == "busy"
        ahead.settle("c")
        assert behind.standing() == ahead.standing() == [(FIVE_CENTS + TEN_CENTS, 0)]
        assert behind.reserve("e") == "exceeded"


@stores
def test_a_hold_that_another_clock_takes_for_dead_is_charged_and_then_put_right_once(
    store: str, tmp_path: Path
) -> None:
    where = place(store, tmp_path)
    with (
        Host(where, budgets=["$0.15/ever"], wait=0, hold_lifetime=10) as behind,
        Host(where, budgets=["$0.15/ever"], wait=0, hold_lifetime=10) as ahead,
    ):
        ahead.set_clock(30)
        assert behind.reserve("a") == "held"
        # To the host ahead it expired twenty seconds ago: its money is spent, not free, so nothing is overshot.
        assert ahead.reserve("b") == "exceeded"
        assert ahead.entries()["a"][0] == "lost"
        assert ahead.standing()[0] == (ahead.entries()["a"][1], 0)
        behind.settle("a", 5_000)
        behind.settle("a", 5_000)
        assert ahead.entries() == {"a": ("ok", FIVE_CENTS)}
        assert ahead.standing() == behind.standing() == [(FIVE_CENTS, 0)]
        assert ahead.reserve("c") == "held"
    assert books(where).differences() == []


@stores
def test_a_clock_stepped_back_or_forth_under_a_running_call_moves_no_money_twice(store: str, tmp_path: Path) -> None:
    where = place(store, tmp_path)
    budgets = ["$10/ever", "$5/day"]
    with Host(where, budgets=budgets, wait=0) as host:
        names = []
        for before, after in ((0, -HOUR), (-HOUR, 0), (0, 2 * HOUR), (2 * HOUR, 0), (-90 * 24 * HOUR, 0)):
            name = f"{before}{after:+}"
            names.append(name)
            host.set_clock(before)
            assert host.reserve(name) == "held"
            host.set_clock(after)
            # Somebody looks, whatever the clock says.
            assert host.reserve(f"beside {name}") == "held"
            host.settle(f"beside {name}", 5_000)
            host.settle(name)
        entries = host.entries()
        assert {name: entries[name] for name in names} == dict.fromkeys(names, ("ok", TEN_CENTS))
        assert len(entries) == 2 * len(names)
        spent, held = host.standing()[-1]
        assert (spent, held) == (len(names) * (TEN_CENTS + FIVE_CENTS), 0)
    found = books(where)
    # The day's budget has one account for each day that a call was made on by its clock; together they are everything.
    assert sum(found.spent.values()) == 2 * found.cost
    assert sum(found.held.values()) == sum(found.on_hold.values()) == 0


@stores
def test_money_held_by_a_host_that_died_ahead_is_not_stuck_longer_than_its_clock_was_ahead(
    store: str, tmp_path: Path
) -> None:
    where = place(store, tmp_path)
    with Host(where, budgets=["$0.15/ever"], hold_lifetime=60) as ahead:
        ahead.set_clock(30)
        assert ahead.reserve("a") == "held"
        ahead.kill()
    ledger = where.ledger()
    now = time.time_ns()
    assert ledger.expire(now) == []
    (lost,) = ledger.expire(now + 90 * 10**9)
    limit = Budget.parse("$0.15/ever").limit_for(lost.tags, now)
    assert ledger.balances([limit]) == [(lost.nanos, 0)]
    ledger.close()
