"""Spending beside the period before it, and with what budgets refused and calls took beside the sums."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from costguard.errors import ConfigError
from costguard.ledger.alert_state import BUCKET_NS, Count, alert_state
from costguard.ledger.base import Ledger
from costguard.pricing.usage import Usage
from costguard.reports import refused, spend
from tests.reports.scenes import HOSTILE, at, ns, spent

NOW = at("2026-11-22 12:00")


def test_each_row_has_the_period_before_beside_it_and_vanished_groups_stay(store: Ledger) -> None:
    spent(store, "2026-11-20 10:00", cost="3", tags={"user": "alice"})
    spent(store, "2026-11-21 10:00", cost="1", tags={"user": "bob"})
    spent(store, "2026-11-13 10:00", cost="2", tags={"user": "alice"})
    spent(store, "2026-11-12 10:00", cost="5", tags={"user": "carol"})
    spent(store, "2026-11-01 10:00", cost="7", tags={"user": "dave"})
    report = spend(store, "user", since="7d", compare="previous", now=NOW)
    assert [(row.group["user"], row.cost, row.before and row.before.cost, row.change) for row in report.rows] == [
        ("alice", 3, 2, 1),
        ("bob", 1, 0, 1),
        ("carol", 0, 5, -5),
    ]
    assert [row.change_share for row in report.rows] == [Decimal("0.5"), None, Decimal(-1)]
    assert (report.total.cost, report.total.change) == (4, -3)
    assert report.before is not None
    assert (report.before.since, report.before.until) == (at("2026-11-08 12:00"), at("2026-11-15 12:00"))
    told = report.to_json()
    assert told["before"] == {"since": "2026-11-08T12:00:00+00:00", "until": "2026-11-15T12:00:00+00:00"}
    assert told["rows"][2]["before"]["cost"] == "5.00"
    assert (told["total"]["change"], told["rows"][0]["change_share"]) == ("-3.00", "0.5000")


def test_any_other_period_can_be_compared_with(store: Ledger) -> None:
    spent(store, "2026-11-20 10:00", cost="3", tags={"user": "alice"})
    spent(store, "2025-11-20 10:00", cost="2", tags={"user": "alice"})
    report = spend(store, "user", since="7d", compare=("2025-11-15", "2025-11-22"), now=NOW)
    assert (report.rows[0].change, report.total.change_share) == (1, Decimal("0.5"))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"compare": "last year"}, "compare 'last year' is no period"),
        ({"compare": "previous", "since": None}, "no period before it"),
        ({"compare": "previous", "by": "day,user"}, "use series"),
        ({"where": {"day": "2026-11-22"}}, "where 'day' is a time"),
        ({"where": {"user": ""}}, "where user='' is empty"),
        ({"where": {"user": []}}, "has no value"),
        ({"where": {"us er": "x"}}, "tag name 'us er'"),
    ],
)
def test_what_cannot_be_compared_or_chosen_is_named(asked: dict[str, object], says: str) -> None:
    from costguard.ledger.opening import open_ledger

    with pytest.raises(ConfigError, match=says):
        spend(open_ledger("memory://"), now=NOW, **({"since": "7d"} | asked))  # type: ignore[arg-type]


def test_calls_are_chosen_by_any_of_several_values_and_by_what_answered(store: Ledger) -> None:
    for user, model in (("alice", "gpt-4o"), ("bob", "gpt-4o"), ("carol", "gpt-4o-mini"), (None, "gpt-4o")):
        spent(store, "2026-11-22 10:00", cost="1", model=model, tags={"user": user} if user else {})
    assert spend(store, "user", where={"user": ["alice", "carol"]}).total.calls == 2
    assert spend(store, "user", where={"user": ["alice", "unattributed"]}).total.calls == 2
    assert spend(store, "user", where={"model": "gpt-4o", "provider": ["openai", "anthropic"]}).total.calls == 3
    assert spend(store, "", where={"status": "error"}).total.calls == 0
    assert spend(store, "user", where={"user": "  alice "}).total.calls == 1


def test_what_calls_used_is_told_by_kind(store: Ledger) -> None:
    usage = Usage(
        input_tokens=1000, cache_read_tokens=600, cache_write_tokens=100, output_tokens=50, reasoning_tokens=30
    )
    spent(store, "2026-11-22 10:00", cost="1", usage=usage, attempts=3, duration_ns=2 * 10**9)
    spent(store, "2026-11-22 10:00", cost="1", status="error", usage=Usage(), duration_ns=4 * 10**9)
    total = spend(store, "").total
    assert (total.cache_read_tokens, total.cache_write_tokens, total.reasoning_tokens) == (600, 100, 30)
    assert (total.cache_share, total.error_share) == (Decimal("0.6"), Decimal("0.5"))
    assert (total.attempts, total.repeats, total.latency_ns) == (4, 2, 3 * 10**9)
    assert total.cost_per_call == 1


def test_half_of_the_calls_and_most_of_them_are_told_apart(store: Ledger) -> None:
    for place in range(1, 101):
        spent(
            store, "2026-11-22 10:00", cost=f"0.{place:03}", tags={"route": "/a"}, duration_ns=place * 10**7
        )  # fmt: skip
    row = spend(store, "route", percentiles=True).rows[0]
    assert row.spread is not None
    assert row.spread.latency_p50_ns == pytest.approx(0.5e9, rel=0.06)
    assert row.spread.latency_p95_ns == pytest.approx(0.95e9, rel=0.06)
    told = row.to_json()
    assert float(told["cost_p50"]) == pytest.approx(0.05, rel=0.06)
    assert float(told["cost_p95"]) == pytest.approx(0.095, rel=0.06)
    assert "cost_p50" not in spend(store, "route").rows[0].to_json()


def refusals(store: Ledger, number: int, user: str, feature: str, budget: str = "$5/day per user") -> None:
    about = '{"budget":"%s","payer":{"user":"%s"},"tags":{"feature":"%s","user":"%s"}}'
    when = ns("2026-11-22 10:00") // BUCKET_NS * BUCKET_NS
    alert_state(store).count([Count("refused", when, about % (budget, user, feature, user), number)])


def test_refusals_stand_beside_the_calls_that_were_made(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", cost="5", tags={"user": "alice", "feature": "chat"})
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": "bob", "feature": "chat"})
    refusals(store, 7, "alice", "chat")
    refusals(store, 2, "alice", "search")
    report = spend(store, "user", since="1d", now=NOW)
    assert [(row.group["user"], row.refused) for row in report.rows] == [("alice", 9), ("bob", 0)]
    assert report.total.refused == 9
    assert spend(store, "user", where={"feature": "chat"}).total.refused == 7
    # They are not counted by model: that is not the same as none.
    assert spend(store, "model").rows[0].refused is None
    assert spend(store, "user", where={"model": "gpt-4o"}).total.refused is None
    assert spend(store, "user", since="1h", now=NOW).total.refused == 0


def test_refusals_are_told_by_budget_and_payer(store: Ledger) -> None:
    refusals(store, 2, "alice", "chat")
    refusals(store, 3, "alice", "search")
    refusals(store, 4, "bob", "chat", budget="$1/hour per user")
    report = refused(store, since=timedelta(days=1), now=NOW)
    assert [(row.budget, dict(row.payer), row.count) for row in report.rows] == [
        ("$5/day per user", {"user": "alice"}, 5),
        ("$1/hour per user", {"user": "bob"}, 4),
    ]
    assert report.total == 9
    assert refused(store, where={"feature": "chat"}).total == 6
    assert refused(store, where={"team": "x"}).total == 0
    assert report.to_json()["rows"][1] == {"budget": "$1/hour per user", "payer": {"user": "bob"}, "calls": 4}


def test_hostile_values_are_values(store: Ledger) -> None:
    for value in HOSTILE:
        spent(store, "2026-11-22 10:00", cost="1", tags={"user": value})
    report = spend(store, "user", since="1d", compare="previous", percentiles=True, now=NOW)
    assert sorted(row.group["user"] for row in report.rows) == sorted(HOSTILE)
    for value in HOSTILE:
        assert spend(store, "user", where={"user": value}).total.calls == 1
    for name in ("user", "model", "status"):
        assert spend(store, "user", where={name: "al\0ice\ud800"}).total.calls == 0


def test_an_empty_ledger_has_an_empty_report(store: Ledger) -> None:
    report = spend(store, "user", since="7d", compare="previous", percentiles=True, now=NOW)
    assert (report.rows, report.total.calls, report.total.change, report.total.change_share) == ((), 0, 0, None)
    assert (report.total.cache_share, report.total.latency_ns, report.total.cost_per_call) == (None, None, None)


def test_calls_that_cost_nothing_are_priced_calls(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", cost="0", tags={"user": "alice"})
    report = spend(store, "user", since="7d", compare="previous", now=NOW)
    assert (report.total.cost, report.total.unpriced_calls, report.rows[0].cost_per_call) == (0, 0, 0)
    assert report.to_json()["rows"][0]["share"] == "0.0000"


def test_who_was_only_refused_has_a_row_too(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", cost="5", tags={"user": "alice", "feature": "chat"})
    spent(store, "2026-11-21 10:00", cost="1", tags={"user": "bob", "feature": "chat"})
    refusals(store, 7, "bob", "chat")
    refusals(store, 2, "carol", "chat")
    for compare in (None, "previous"):
        report = spend(store, "user", since="1d", compare=compare, now=NOW)
        assert [(row.group["user"], row.calls, row.refused) for row in report.rows] == [
            ("alice", 1, 0), ("bob", 0, 7), ("carol", 0, 2),
        ]  # fmt: skip
        assert report.total.refused == 9
    assert [row.change for row in report.rows] == [5, -1, 0]
