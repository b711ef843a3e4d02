"""A journal over SQLite keeps the protocol: the conformance suite over it, but for what `settle` answers at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.ledger.base import Ledger
from costguard.ledger.journal import JournalLedger
from costguard.ledger.opening import open_ledger
from tests.ledger import test_conformance, test_conformance_leased
from tests.ledger.stores import new_url

pytestmark = pytest.mark.long

ANSWERED_LATER = {
    # Crossings come with the batch, and go to the outbox; see `told`.
    "test_a_mark_is_crossed_by_the_call_that_reaches_it",
    "test_each_payer_and_window_crosses_for_itself",
    "test_a_crossing_can_be_told_before_the_spending_reaches_it_and_is_not_told_again",
    "test_an_entry_settled_by_one_who_does_not_know_its_hold_still_replaces_it",
    "test_settling_many_answers_what_each_of_them_would_have_answered",
    "test_the_truth_may_come_in_the_same_lot_as_what_it_replaces",
    "test_hundreds_of_payers_are_settled_in_one_lot",
    "test_many_calls_draw_from_one_lease_at_once",
    # Whether a pending entry is there already is for the store to say.
    "test_a_pending_entry_is_replaced_by_a_final_one",
}

EVERYTHING = vars(test_conformance) | vars(test_conformance_leased)
SUITE = {name: test for name, test in EVERYTHING.items() if name.startswith("test_")}
globals().update({name: test for name, test in SUITE.items() if name not in ANSWERED_LATER})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = JournalLedger(open_ledger(new_url("sqlite", tmp_path)), tmp_path / "journal")
    ledger.open()
    yield ledger
    ledger.close()


def test_what_is_left_out_is_still_in_the_suite() -> None:
    assert set(SUITE) >= ANSWERED_LATER
