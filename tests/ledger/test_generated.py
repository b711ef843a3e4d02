"""Ledgers that are made up for demos, screenshots and measurements are as those that calls have filled."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from benchmarks.enlarging import enlarge
from benchmarks.ledgers import make
from examples.realistic import realistic

from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.rollups_upkeep import audit_rollups
from costguard.tags import UNATTRIBUTED
from tests.ledger.stores import new_url
from tests.ledger.values import facts

UNTIL = datetime(2026, 11, 22, 13, 37, tzinfo=UTC)
LAST = int(UNTIL.timestamp()) * 10**9


@pytest.fixture(scope="module")
def month() -> MemoryLedger:
    """Three thousand calls."""
    ledger = MemoryLedger()
    realistic(ledger, calls=3_000, until=UNTIL)
    return ledger


def test_the_same_arguments_make_the_same_calls(month: MemoryLedger) -> None:
    again = MemoryLedger()
    realistic(again, calls=3_000, until=UNTIL)
    of_one = [facts(entry) for entry in month.entries({}, limit=5_000)]
    assert of_one == [facts(entry) for entry in again.entries({}, limit=5_000)]


def test_it_makes_as_many_calls_as_it_says_none_of_them_ending_later(month: MemoryLedger) -> None:
    entries = month.entries({}, limit=5_000)
    assert len(entries) == 3_000
    assert max(entry.at_ns + entry.duration_ns for entry in entries) <= LAST
    assert len({entry.at.date() for entry in entries}) == 30


def test_it_has_what_reports_have_to_cope_with(month: MemoryLedger) -> None:
    entries = month.entries({}, limit=5_000)
    assert {"ok", "error", "cancelled", "closed"} == {entry.status for entry in entries}
    assert any(entry.nanos is None and entry.reason for entry in entries)
    assert any(entry.estimated for entry in entries)
    assert any(entry.streamed for entry in entries)
    assert any(entry.usage.cache_read_tokens for entry in entries)
    assert any(entry.usage.reasoning_tokens for entry in entries)
    assert any(entry.tags.user == UNATTRIBUTED for entry in entries)


def test_a_few_users_make_half_of_the_calls_and_weekends_are_quiet(month: MemoryLedger) -> None:
    by_user = sorted(
        (one.calls for one in month.sums(("user",), {}) if one.group["user"] != UNATTRIBUTED), reverse=True
    )
    assert sum(by_user[: len(by_user) // 5]) > sum(by_user) / 2
    by_day = {one.group["day"]: one.calls for one in month.sums(("day",), {})}
    assert by_day["2026-11-08"] < by_day["2026-11-05"] / 2


def test_one_afternoon_costs_more_than_twice_any_other_day(month: MemoryLedger) -> None:
    costs = sorted(one.cost for one in month.sums(("day",), {}))
    assert costs[-1] > 2 * costs[-2]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_rows_written_in_bulk_are_a_ledger_with_which_nothing_is_wrong(store: str, tmp_path: Path) -> None:
    url = new_url(store, tmp_path)
    made = make(url, 2_000, until=UNTIL)
    ledger: Any = open_ledger(url)
    try:
        assert made.calls == sum(one.calls for one in ledger.sums((), {}))
        audit = ledger.audit(time.time_ns(), repair=False)
        assert not audit.differences
        entries = ledger.entries({}, limit=2_000)
        assert len(entries) == 2_000
        assert sum(entry.nanos or 0 for entry in entries) == ledger.spent({})
        for entry in entries:
            if entry.nanos and entry.rates is not None:
                assert entry.rates.nanos(entry.usage) == entry.nanos
    finally:
        ledger.close()


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_ledger_with_each_call_three_times_over_has_three_times_the_cost_and_nothing_wrong(
    store: str, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("small", "large")]
    for folder in folders:
        folder.mkdir()
    small, large = [new_url(store, folder) for folder in folders]
    make(small, 500, until=UNTIL)
    enlarge(small, large, 3)
    one, three = open_ledger(small), open_ledger(large)
    try:
        assert three.spent({}) == 3 * one.spent({}) > 0
        by_user = {line.group["user"]: line.calls for line in one.sums(("user",), {})}
        assert {line.group["user"]: line.calls / 3 for line in three.sums(("user",), {})} == by_user
        assert not three.audit(time.time_ns(), repair=False).differences  # type: ignore[attr-defined]
        assert not audit_rollups(three).differences
        assert len({entry.call_id for entry in three.entries({}, limit=2_000)}) == 1_500
    finally:
        one.close()
        three.close()
