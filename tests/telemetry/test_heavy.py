"""Who gets a series of their own."""

from __future__ import annotations

from costguard.telemetry.heavy import OTHER, HeavyHitters


def test_the_first_ones_and_then_those_that_cost_the_most() -> None:
    heavy = HeavyHitters(4, first=1)
    assert heavy.name("first", 1) == "first"
    for number in range(1000):
        heavy.name(f"one of many {number}", 100)
    named = [heavy.name("big", 5_000) for _ in range(10)]
    assert named[0] == OTHER
    assert named[-1] == "big"


def test_a_name_stays_and_there_are_never_more_than_asked_for() -> None:
    heavy = HeavyHitters(3)
    names = {heavy.name(f"value {number % 50}", 10**9) for number in range(5000)}
    assert len(names - {OTHER}) <= 3
    assert all(heavy.name(name, 0) == name for name in names - {OTHER})


def test_values_that_cost_nothing_take_no_place_of_those_that_do() -> None:
    heavy = HeavyHitters(2)
    assert {heavy.name(f"free {number}", 0) for number in range(10_000)} == {OTHER}
    assert heavy.name("paying", 5) == "paying"


def test_with_few_values_all_have_a_name() -> None:
    heavy = HeavyHitters(20, first=5)
    for number in range(2000):
        heavy.name(f"team {number % 9}", 1_000_000)
    assert {heavy.name(f"team {number}", 1) for number in range(9)} == {f"team {number}" for number in range(9)}


def test_made_up_values_do_not_fill_the_memory() -> None:
    heavy = HeavyHitters(2)
    for number in range(50_000):
        heavy.name(f"made up {number}", 1)
    assert len(heavy._seen) <= 21
