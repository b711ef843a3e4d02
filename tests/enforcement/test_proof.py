"""The short form of the proof (`python -m tests.enforcement.proof` is the whole), and whether it would notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from costguard import Guard
from costguard.ledger.memory import MemoryLedger
from tests.enforcement import proof
from tests.enforcement.proof_runs import DOLLAR, Given, fixed, run
from tests.enforcement.proof_stores import ALL, Place, place
from tests.enforcement.proof_witness import judge

pytestmark = pytest.mark.long

FEWER = {
    "postgres": ("1,000 coroutines", "8 processes x 50", "2 hosts, clocks 30 s apart"),
    "valkey": ("200 threads", "8 processes x 50"),
    "leases": ("200 threads", "8 processes x 50", "100-fold costs, 8 processes x 50"),
}
"""What the short form does of these stores: a server makes each run a second or two longer."""

FORTY_THREADS = Given("", "strict", fixed(40), "threads", 40)


@pytest.mark.parametrize(
    ("store", "scenario"),
    [
        pytest.param(store, one, id=f"{store}, {one.name}")
        for store in ALL
        for one in proof.scenarios(store)
        if one.name in FEWER.get(store, (one.name,))
    ],
)
def test_a_dollar_is_spent_by_everybody_at_once_and_nothing_is_refused_wrongly_or_lost(
    store: str, scenario: proof.Scenario, tmp_path: Path
) -> None:
    for given in scenario.runs(quick=True):
        folder = tmp_path / given.holds
        folder.mkdir()
        row = run(place(store, folder), given)
        assert row.kept, row
        assert row.answered + row.refused == row.calls
        assert row.spent >= 0.9 * DOLLAR
        assert row.peak <= DOLLAR + row.reported


class Blind(MemoryLedger):
    """Lets everything through, as one that looks first and writes later does at its worst."""

    def reserve(self, *_: Any, **__: Any) -> None:
        return None


class Broken(Place):
    """A place with this ledger."""

    broken: type[MemoryLedger]

    def guard(self, ledger: Any = None, **options: Any) -> Guard:
        if ledger is not None:
            ledger._inner = self.broken()
        return super().guard(ledger, **options)


class BlindPlace(Broken):
    broken = Blind


def test_the_proof_notices_a_ledger_that_overshoots() -> None:
    row = run(BlindPlace("blind", "memory://"), FORTY_THREADS)
    assert row.overshoot == 3 * DOLLAR
    assert not row.kept


class Stingy(MemoryLedger):
    """Refuses when half is spent."""

    def reserve(self, hold: Any, now_ns: int, *, alone: bool = False) -> Any:
        for limit in hold.limits:
            limit.most = DOLLAR // 2
        return super().reserve(hold, now_ns, alone=alone)


class StingyPlace(Broken):
    broken = Stingy


def test_the_proof_notices_a_ledger_that_refuses_wrongly() -> None:
    row = run(StingyPlace("stingy", "memory://"), FORTY_THREADS)
    assert row.overshoot == 0
    assert row.wrongly_refused > 0


class Forgetful(MemoryLedger):
    """Loses every other entry, and says that all is well."""

    def __init__(self) -> None:
        super().__init__()
        self.settled = 0

    def settle(self, entry: Any, hold: Any) -> Any:
        self.settled += 1
        if self.settled % 2:
            return super().settle(entry, hold)
        self.release(hold)
        return ()


class ForgetfulPlace(Broken):
    broken = Forgetful


def test_the_proof_notices_a_ledger_that_loses_entries() -> None:
    row = run(ForgetfulPlace("forgetful", "memory://"), FORTY_THREADS)
    assert row.not_recorded > 0
    assert not row.kept


@pytest.mark.parametrize(
    ("notes", "wrongly", "peak"),
    [
        ([("held", "a", 0, 1, 90), ("refused", "b", 2, 3, 20)], 0, 90),
        ([("held", "a", 0, 1, 90), ("refused", "b", 2, 3, 10)], 1, 90),
        ([("held", "a", 0, 1, 90), ("settled", "a", 2, 5, 50), ("refused", "b", 4, 6, 20)], 0, 90),
        ([("held", "a", 0, 1, 90), ("settled", "a", 2, 3, 50), ("refused", "b", 4, 6, 20)], 1, 90),
        ([("held", "a", 3, 6, 90), ("refused", "b", 4, 5, 20)], 0, 90),
        ([("refused", "b", 1, 2, 20), ("held", "b", 3, 4, 20)], 0, 20),
        ([("refused", "b", 1, 2, 20)], 1, 0),
        ([("held", "a", 0, 1, 60), ("held", "b", 0, 1, 60)], 0, 120),
        ([("held", "a", 0, 1, 60), ("settled", "a", 2, 3, 10), ("held", "b", 2, 3, 60)], 0, 70),
    ],
)
def test_the_judge_gives_the_accused_every_benefit_of_the_clock(notes: Any, wrongly: int, peak: int) -> None:
    verdict = judge(notes, 100)
    assert (verdict.wrongly, verdict.peak) == (wrongly, peak)
