"""Rows of a report, and what they come to together."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from costguard.ledger.figures import Sum
from costguard.reports.figures import Spend

_COUNTS = len(fields(Sum)) - 1
_SUMS = st.lists(
    st.builds(
        lambda user, counts: Sum({"user": user}, *counts),
        st.sampled_from(["alice", "bob"]),
        st.lists(st.integers(-(2**62), 2**62), min_size=_COUNTS, max_size=_COUNTS),
    ),
    max_size=4,
)


@given(_SUMS)
def test_rows_made_together_are_those_made_one_by_one_and_come_to_their_total(sums: list[Sum]) -> None:
    rows, total = Spend.of_each(sums, lambda one: one.calls % 3)
    assert rows == [Spend.of_one(one, refused=one.calls % 3) for one in sums]
    assert total == Spend.of({}, sums)


def test_rows_are_of_any_number_and_in_their_order() -> None:
    sums = [Sum({"user": str(number)}, *range(number, number + _COUNTS)) for number in range(2500)]
    rows, total = Spend.of_each(sums, lambda one: None)
    assert rows == [Spend.of_one(one) for one in sums]
    assert total == Spend.of({}, sums)
