from __future__ import annotations

from decimal import Decimal

import pytest

from costguard.adjustment import Adjustment
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.pricing.usage import Usage
from costguard.reports import call, calls
from tests.reports.scenes import HOSTILE, at, ns, rates, spent

NOW = at("2026-11-22 12:00")
ELSEWHERE = "019aab3c-9c00-7000-8000-000000000001"


def test_pages_follow_each_other_in_every_order(store: Ledger) -> None:
    for place in range(7):
        spent(store, f"2026-11-22 10:0{place}", cost=f"{place % 4}", duration_ns=(place % 3) * 10**9)
    spent(store, "2026-11-22 10:09", duration_ns=0)
    for order in ("newest", "dearest", "slowest"):
        whole = [row.entry.call_id for row in calls(store, order=order, most=100).calls]
        paged: list[str] = []
        page = calls(store, order=order, most=3)
        while True:
            paged += [row.entry.call_id for row in page.calls]
            if page.after is None:
                break
            page = calls(store, order=order, most=3, after=page.after)
        assert paged == whole
        assert len(set(paged)) == 8
    assert [row.cost for row in calls(store, order="dearest", most=3).calls] == [3, 2, 2]
    assert calls(store, order="dearest").calls[-1].cost is None


def test_calls_are_chosen_as_in_every_report(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": "alice"})
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": "bob"}, model="o1")
    spent(store, "2026-11-12 10:00", cost="1", tags={"user": "bob"})
    assert len(calls(store, since="1d", now=NOW).calls) == 2
    assert len(calls(store, where={"user": ["alice", "bob"], "model": "gpt-4o"}).calls) == 2
    assert calls(store, where={"user": "nobody"}).to_json()["calls"] == []


def test_a_call_tells_all_there_is(store: Ledger) -> None:
    entry = spent(
        store, "2026-11-22 10:00", usage=Usage(input_tokens=1000, cache_read_tokens=200, output_tokens=10),
        priced=rates(), tags={"user": HOSTILE[0]}, response_id="resp_1", attempts=2, duration_ns=1_500_000_000,
    )  # fmt: skip
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": HOSTILE[0]})
    correction = Adjustment.of(entry, 0, -400, rates(input=9, output=40), first_price=False, reason="a new list")
    store.adjust([correction], Deed("n1", ns("2026-11-22 11:00"), "ann", "reprice", "a new list"))
    found = call(store, entry.call_id)
    assert found is not None
    assert found.cost == Decimal("0.000009")
    told = found.to_json()
    assert (told["recorded_cost"], told["cost"], told["duration"]) == ("0.0000094", "0.000009", 1.5)
    assert told["tags"] == {"user": HOSTILE[0]}
    assert [(one["cost"], one["reason"]) for one in told["corrections"]] == [("-0.0000004", "a new list")]
    assert told["receipt"]["lines"][1] == {
        "bucket": "cache_read", "count": 200, "price": "0.000000005", "subtotal": "0.000001"
    }  # fmt: skip
    assert told["usage"] == {"input": 800, "cache_read": 200, "output": 10}


def test_a_tag_named_as_a_column_hides_no_correction(store: Ledger) -> None:
    entry = spent(store, "2026-11-22 10:00", priced=rates(), tags={"model": "mine", "day": "friday", "user": "alice"})
    correction = Adjustment.of(entry, 0, 7, rates(input=11, output=40), first_price=False, reason="a new list")
    store.adjust([correction], Deed("n1", ns("2026-11-22 11:00"), "ann", "reprice", "a new list"))
    found = call(store, entry.call_id)
    assert found is not None
    assert [one.nanos for one in found.corrections] == [7]


def test_a_call_that_is_not_there_is_none_and_what_is_no_id_is_named(store: Ledger) -> None:
    assert call(store, ELSEWHERE) is None
    for wrong in ("", "1", HOSTILE[1], "019aab3c"):
        with pytest.raises(ConfigError, match="is not the id of a call"):
            call(store, wrong)
    with pytest.raises(ConfigError, match="begin with the first page"):
        calls(store, after=ELSEWHERE)


@pytest.mark.parametrize(
    ("asked", "says"), [({"order": "best"}, "order 'best'"), ({"most": 0}, "most=0"), ({"most": 5000}, "most=5000")]
)
def test_a_page_that_cannot_be_is_named(store: Ledger, asked: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        calls(store, **asked)  # type: ignore[arg-type]


def test_an_unpriced_call_has_no_cost_and_says_why(store: Ledger) -> None:
    entry = spent(store, "2026-11-22 10:00")
    found = call(store, entry.call_id)
    assert found is not None
    assert (found.cost, found.to_json()["receipt"], found.to_json()["reason"]) == (None, None, "no price")
