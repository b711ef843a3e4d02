"""Rows of a report, and what they come to together."""

from __future__ import annotations

from dataclasses import fields
from decimal import localcontext
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from costguard.ledger.base import Ledger
from costguard.ledger.figures import Sum
from costguard.reports import explain, series, spend, top
from costguard.reports.figures import Spend
from tests.reports.scenes import at, rates, spent

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


def test_an_app_with_a_short_decimal_context_gets_exact_reports(store: Ledger) -> None:
    for user, cost in (("alice", "1000000.000000001"), ("bob", "1234567.891234567"), (None, "3141592.653589793")):
        tags = {} if user is None else {"user": user}
        spent(store, "2026-11-12 10:00", cost="2000000.123456789", priced=None, tags=tags)
        spent(store, "2026-11-20 10:00", cost=cost, tags=tags)
        spent(store, "2026-11-21 10:00", priced=rates(cache_read=123_456_789, cache_write_5m=1), tags=tags)
        spent(store, "2026-11-21 11:00", cost="0.000000009", tags=tags)
    asked: dict[str, Any] = {"since": "7d", "compare": "previous", "now": at("2026-11-22 12:00")}

    def told() -> list[Any]:
        made = [report(store, "user", most=1, **asked) for report in (series, top, explain)]
        return [one.to_json() for one in (*made, spend(store, "user", **asked))]

    exact = told()
    with localcontext(prec=8):
        assert told() == exact
