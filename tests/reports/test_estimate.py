from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.reports.estimate import estimate, middle, tried

CENT = 10_000_000
WORKING = [10, 11, 9, 10, 10, 2, 1]
"""Cents of Monday to Sunday."""


def weeks(count: int, *, each: list[int] | None = None) -> list[int]:
    return [cents * CENT for _ in range(count) for cents in each or WORKING]


@pytest.mark.parametrize(("values", "half"), [([], 0), ([5], 5), ([1, 9], 5), ([9, 1, 2], 2), ([1, 2, 3, 100], 2)])
def test_the_middle_of_values(values: list[int], half: int) -> None:
    assert middle(values) == half


def test_weekdays_come_again_as_they_were() -> None:
    found = estimate(weeks(8), 0)
    assert found.method == "weekdays"
    assert [round(value / CENT) for value in found.days(0, 9)] == [*WORKING, 10, 11]
    assert [round(value / CENT) for value in found.days(5, 2)] == [2, 1]


def test_with_two_weeks_only_the_weekends_are_told_apart() -> None:
    found = estimate(weeks(2, each=[10] * 5 + [2] * 2), 0)
    assert found.method == "weekends"
    assert [round(value / CENT) for value in found.days(3, 4)] == [10, 10, 2, 2]


def test_with_a_few_days_all_are_alike() -> None:
    found = estimate([10 * CENT, 20 * CENT, 12 * CENT], 3)
    assert found.method == "level"
    assert found.days(3, 2) == [12 * CENT, 12 * CENT]


def test_a_spike_of_yesterday_does_not_change_what_is_expected() -> None:
    usual = weeks(8)
    spiked = [*usual[:-1], 1000 * CENT]
    as_usual, after = (sum(estimate(days, 0).days(0, 14)) for days in (usual, spiked))
    assert after < as_usual * 11 // 10
    # Nor does an outage.
    assert sum(estimate([*usual[:-1], 0], 0).days(0, 14)) > as_usual * 9 // 10


def test_another_level_is_believed_after_some_days() -> None:
    grown = [*weeks(6), *[value * 3 for value in weeks(2)]]
    assert sum(estimate(grown, 0).days(0, 7)) > 2 * sum(weeks(1))


def test_a_steady_rise_goes_on_for_a_while() -> None:
    rising = [(100 + day) * CENT for day in range(56)]
    found = estimate(rising, 0).days(0, 28)
    assert 150 * CENT < found[0] < 160 * CENT
    assert found[27] < 170 * CENT


def test_what_falls_never_falls_below_nothing() -> None:
    falling = [max(0, (56 - day)) * CENT for day in range(56)]
    assert min(estimate(falling, 0).days(0, 300)) >= 0


def test_work_that_is_done_on_one_day_of_the_week_comes_on_that_day() -> None:
    found = estimate(weeks(8, each=[0, 0, 50, 0, 0, 0, 0]), 0)
    assert [round(value / CENT) for value in found.days(0, 7)] == [0, 0, 50, 0, 0, 0, 0]


def test_nothing_and_zeros_are_expected_to_stay() -> None:
    assert estimate([], 0).days(0, 3) == [0, 0, 0]
    assert estimate([0] * 60, 0).days(0, 3) == [0, 0, 0]


def test_the_range_holds_what_the_past_days_were_beside_what_was_expected() -> None:
    low, high = tried(weeks(8), 0, [Fraction(1)] * 7)
    assert Fraction(9, 10) < low <= 1 <= high < Fraction(11, 10)
    low, high = tried([value * (1 + place % 3) for place, value in enumerate(weeks(8))], 0, [Fraction(1)])
    assert low < Fraction(3, 4)
    assert high > Fraction(5, 4)


def test_with_little_past_the_range_is_wide() -> None:
    assert tried(weeks(1), 0, [Fraction(1)]) == (Fraction(1, 2), Fraction(2))


@given(st.lists(st.integers(0, 10**13), max_size=70), st.integers(0, 6), st.integers(1, 40))
def test_whatever_was_something_sensible_is_said(history: list[int], weekday: int, ahead: int) -> None:
    found = estimate(history, weekday).days(weekday, ahead)
    assert len(found) == ahead
    assert min(found) >= 0
    low, high = tried(history, weekday, [Fraction(1)] * ahead)
    assert 0 < low <= 1 <= high <= 3
