"""kill -9 at every step of a call and at random: the short form of `python -m tests.enforcement.proof_kills`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from costguard import Guard
from costguard.alerts.outbox import LEASE_NS, Outbox
from tests.enforcement.proof_kills import killed_at, killed_at_random, killed_while_away
from tests.enforcement.proof_stores import place
from tests.enforcement.proof_victims import STEPS

pytestmark = pytest.mark.long

KILLS = 10
SENT = STEPS.index("during the provider call")
SETTLED = STEPS.index("after settle")

stores = pytest.mark.parametrize("store", ["sqlite", "postgres"])


@stores
@pytest.mark.parametrize("step", STEPS)
def test_whatever_step_a_process_dies_at_the_books_are_right_and_no_money_stays_held(
    store: str, step: str, tmp_path: Path
) -> None:
    result, found = killed_at(step, place(store, tmp_path), tmp_path)
    assert result.kept, result
    number = STEPS.index(step)
    assert result.asked == result.sold == (number >= SENT)
    assert result.read == (step == "before alert delivery")
    # Nothing was held before the reserve; from then on it is charged, until the truth is written.
    if number == 0:
        assert found.rows == []
    elif number < SETTLED - 1:
        assert (result.exact, result.lost) == (0, 1)
    else:
        # A server may finish the transaction of a client that died while it waited for a lock.
        assert result.exact + result.lost == 1
        assert result.exact == 1 or step == "inside the settle transaction"


@stores
def test_an_alert_whose_teller_was_killed_is_told_by_the_next(store: str, tmp_path: Path) -> None:
    where = place(store, tmp_path)
    killed_at("before alert delivery", where, tmp_path)
    told: list[Any] = []
    ledger = where.ledger()
    assert ledger.undelivered() == 1
    outbox = Outbox(ledger, [told.append], now_ns=lambda: time.time_ns() + 2 * LEASE_NS)
    assert outbox.flush(20) == 0
    outbox.close()
    ledger.close()
    assert [(alert.payer, alert.fraction) for alert in told] == [({"worker": "w0"}, told[0].fraction)]


@stores
def test_the_lost_hold_of_the_dead_is_charged_by_whoever_looks_next(store: str, tmp_path: Path) -> None:
    where = place(store, tmp_path)
    killed_at("after reserve", where, tmp_path)
    with Guard(where.ledger(), budgets=["$1000/ever"]) as guard:
        (standing,) = guard.standings()
        (lost,) = guard.entries()
        assert lost.status == "lost"
        assert (standing.held, standing.spent) == (0, lost.cost)


@pytest.mark.parametrize("step", STEPS[1:])
def test_with_leases_a_process_is_charged_with_what_it_had_leased_and_no_answer_that_was_read_is_missing(
    step: str, tmp_path: Path
) -> None:
    result, found = killed_at(step, place("leases-sqlite", tmp_path), tmp_path)
    assert result.kept, result
    number = STEPS.index(step)
    assert result.asked == result.sold == (number >= SENT)
    # From the write to the journal on it is exact.
    assert (result.exact, result.covered) == (number >= SETTLED - 1, SENT <= number < SETTLED - 1)
    if result.covered:
        assert found.leased("worker=w0") >= result.sold * 100_000_000


@pytest.mark.parametrize("store", ["postgres", "leases"])
def test_what_was_read_while_the_store_was_away_outlives_its_process(store: str, tmp_path: Path) -> None:
    result = killed_while_away(place(store, tmp_path), tmp_path)
    assert result.kept, result
    assert result.read >= 50
    # What it had asked and not read is in the books too: the journal knew of it.
    assert result.unheld == 0


@pytest.mark.parametrize("store", ["sqlite", "postgres", "valkey", "leases"])
def test_workers_killed_at_random_under_load_lose_nothing_that_was_sold(store: str, tmp_path: Path) -> None:
    result = killed_at_random(place(store, tmp_path), tmp_path, KILLS)
    assert result.kept, result
    assert result.sold > 10 * KILLS
    assert result.exact >= result.read
