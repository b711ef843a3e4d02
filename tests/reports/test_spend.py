from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.reports.spend import moment, spend
from costguard.reports.table import as_table
from tests.alerts.crossings import NOON, record

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = 24 * 3600 * 10**9


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    opened = open_ledger("memory://")
    record(opened, "3.00", user="alice", feature="chat", model="gpt-4o", tokens=(1000, 200))
    record(opened, "1.00", user="alice", feature="chat", model="gpt-4o", estimated=True)
    record(opened, "0.50", user="bob", feature="search", model="gpt-4o-mini")
    record(opened, "0.50", user=None, feature="search", model="gpt-4o-mini")
    record(opened, None, user="bob", feature="search", model="made-up-1", tokens=(700, 300))
    record(opened, "0", user="bob", feature="search", status="error", tokens=(0, 0))
    record(opened, "9.00", user="carol", feature="chat", at_ns=NOON - 9 * DAY)
    yield opened
    opened.close()


def test_spending_is_added_up_by_user_and_feature_dearest_first(ledger: Ledger) -> None:
    report = spend(ledger, since="7d", now=NOW)
    assert [(row.group["user"], row.group["feature"], row.cost) for row in report.rows] == [
        ("alice", "chat", Decimal(4)),
        ("bob", "search", Decimal("0.5")),
        ("unattributed", "search", Decimal("0.5")),
    ]
    assert report.total.cost == Decimal(5)
    assert report.total.calls == 6
    assert report.since == NOW - timedelta(days=7)


def test_what_the_total_does_not_say_stands_beside_it(ledger: Ledger) -> None:
    report = spend(ledger, since="7d", now=NOW)
    assert (report.total.unpriced_calls, report.total.unpriced_tokens) == (1, 1000)
    assert (report.total.estimated_calls, report.total.estimated_cost) == (1, Decimal(1))
    assert report.total.errors == 1
    assert report.unattributed == Decimal("0.5")
    assert report.share(report.unattributed) == Decimal("0.1")


@pytest.mark.parametrize("by", ["user,feature", ("user", "feature"), [" user ", "feature"]])
def test_the_names_can_be_a_line_or_a_sequence(ledger: Ledger, by: Any) -> None:
    assert spend(ledger, by).by == ("user", "feature")


def test_a_report_can_go_by_model_and_day_and_filter_by_tag(ledger: Ledger) -> None:
    report = spend(ledger, "day,model", where={"user": "alice"})
    assert [dict(row.group) for row in report.rows] == [{"day": "2026-11-22", "model": "gpt-4o"}]
    assert report.unattributed == 0
    assert [row.group["day"] for row in spend(ledger, "day").rows] == ["2026-11-13", "2026-11-22"]
    assert spend(ledger, "user", where={"user": "unattributed"}).total.cost == Decimal("0.5")


def test_without_names_there_is_only_a_total(ledger: Ledger) -> None:
    report = spend(ledger, "")
    assert report.rows == ()
    assert report.total.cost == Decimal(14)
    assert report.unattributed == 0
    assert "$14.00" in as_table(report)


def test_until_is_not_included(ledger: Ledger) -> None:
    at = datetime(2026, 11, 22, 11, 59, 59, tzinfo=UTC)
    assert spend(ledger, since=at, until=at + timedelta(seconds=1)).total.calls == 6
    assert spend(ledger, since=at - timedelta(days=1), until=at).total.calls == 0


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("7d", NOW - timedelta(days=7)),
        (" 24H ", NOW - timedelta(hours=24)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T09:00+01:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("2026-11-01T09:00Z", datetime(2026, 11, 1, 9, tzinfo=UTC)),
        (timedelta(hours=1), NOW - timedelta(hours=1)),
        (datetime(2026, 11, 1), datetime(2026, 11, 1, tzinfo=UTC)),
        (datetime(2026, 11, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 10, 31, 22, tzinfo=UTC)),
        (NOW.date(), datetime(2026, 11, 22, tzinfo=UTC)),
        (None, None),
    ],
)
def test_a_moment_is_read_as_people_write_it(value: Any, meant: datetime | None) -> None:
    assert moment(value, NOW, what="since") == meant


@pytest.mark.parametrize("value", ["", "yesterday", "7", "-7d", "7y", "2026-13-01", "999999w", 7, 7.5])
def test_a_moment_that_cannot_be_read_is_named(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"since .* is not a time; write it as 7d"):
        moment(value, NOW, what="since")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"by": "us er"}, "by 'us er'"),
        ({"by": "user,user"}, "twice"),
        ({"where": {"hour": "2026-11-22T10"}}, "where 'hour' is a time"),
        ({"where": {"us er": "x"}}, "tag name 'us er'"),
        ({"since": "1d", "until": "2d"}, "is not before until"),
    ],
)
def test_what_cannot_be_reported_is_named(ledger: Ledger, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        spend(ledger, **asked)


def test_the_json_has_a_stable_shape_with_exact_amounts(ledger: Ledger) -> None:
    given = json.loads(json.dumps(spend(ledger, "user", since="7d", now=NOW).to_json()))
    alice, bob, nobody = given.pop("rows")
    (unpriced,) = given.pop("unpriced")
    assert unpriced.pop("near") == spend(ledger).to_json()["unpriced"][0]["near"]
    assert unpriced == {
        "provider": "openai", "model": "made-up-1", "calls": 1, "tokens": 1000,
        "way_out": 'Guard(prices={"openai/made-up-1": {"input": "...", "output": "..."}})',
    }  # fmt: skip
    assert given == {
        "by": ["user"],
        "since": "2026-11-15T12:00:00+00:00",
        "until": None,
        "where": {},
        "currency": "USD",
        "total": {
            "calls": 6, "cost": "5.00", "input_tokens": 2000, "output_tokens": 560, "cache_read_tokens": 0,
            "unpriced_calls": 1, "unpriced_tokens": 1000, "estimated_calls": 1, "estimated_cost": "1.00", "errors": 1,
            "cache_write_tokens": 0, "reasoning_tokens": 0, "attempts": 6, "cache_share": "0.0000", "latency": 0.0,
            "refused": 0,
        },
        "unattributed": {"cost": "0.50", "share": "0.1000"},
        "lost_leases": "0.00",
    }  # fmt: skip
    assert alice == {
        "group": {"user": "alice"}, "share": "0.8000",
        "calls": 2, "cost": "4.00", "input_tokens": 1100, "output_tokens": 220, "cache_read_tokens": 0,
        "unpriced_calls": 0, "unpriced_tokens": 0, "estimated_calls": 1, "estimated_cost": "1.00", "errors": 0,
        "cache_write_tokens": 0, "reasoning_tokens": 0, "attempts": 2, "cache_share": "0.0000", "latency": 0.0,
        "refused": 0,
    }  # fmt: skip
    assert (bob["group"], bob["unpriced_calls"], nobody["group"]) == ({"user": "bob"}, 1, {"user": "unattributed"})


def test_the_smallest_amounts_are_written_in_full() -> None:
    ledger = open_ledger("memory://")
    record(ledger, "0.000000001", user="alice")
    assert spend(ledger, "user").to_json()["total"]["cost"] == "0.000000001"


def test_the_table_shows_unpriced_and_estimated_beside_the_total(ledger: Ledger) -> None:
    text = as_table(spend(ledger, since="7d", now=NOW))
    lines = text.splitlines()
    assert lines[0] == "Spend from 2026-11-15 12:00 UTC to now"
    (alice,) = [line.split() for line in lines if "alice" in line]
    assert alice == ["alice", "chat", "$4.00", "80.0", "%", "2", "1,100", "220", "-", "$1.00", "(1)"]
    (total,) = [line.split() for line in lines if line.strip().startswith("total")]
    assert total == ["total", "$5.00", "100.0", "%", "6", "2,000", "560", "1", "$1.00", "(1)"]
    assert "Not in the total: 1 call without a price (1,000 tokens); they are not free." in text
    assert "Estimated: $1.00 of the total, 1 call whose usage the provider did not report." in text
    assert "Unattributed: $0.50 (10.0 %) lacks a tag asked for; the middleware or bind_tags() gives it." in text
    assert "Errors: 1 call refused or failed by the provider." in text


def test_a_group_without_any_price_is_unpriced_and_not_zero(ledger: Ledger) -> None:
    text = as_table(spend(ledger, "model", since="7d", now=NOW))
    (line,) = [line.split() for line in text.splitlines() if line.split()[:1] == ["made-up-1"]]
    assert line[:3] == ["made-up-1", "unpriced", "-"]


def test_models_without_a_price_are_listed_with_near_names_and_the_way_out() -> None:
    ledger = open_ledger("memory://")
    for _ in range(2):
        record(ledger, None, model="gpt-4oo", tokens=(700, 300))
    record(ledger, None, model="gpt-4o-mimi")
    report = spend(ledger, "user")
    assert [(one.name, one.calls, one.tokens) for one in report.unpriced] == [
        ("openai/gpt-4oo", 2, 2000), ("openai/gpt-4o-mimi", 1, 120),
    ]  # fmt: skip
    assert "gpt-4o" in report.unpriced[0].near
    text = as_table(report)
    assert "Not in the total: 3 calls without a price (2,120 tokens); they are not free." in text
    assert "  openai/gpt-4oo: 2 calls, 2,000 tokens; near names: gpt-4o" in text
    assert 'Guard(prices={"openai/gpt-4oo": {"input": "...", "output": "..."}})' in text
    assert "past calls get it by: costguard reprice" in text
    assert "without a price" not in as_table(spend(ledger, "user", where={"user": "bob"}))


def test_an_empty_report_says_so() -> None:
    ledger = open_ledger("memory://")
    assert "No calls." in as_table(spend(ledger, since="7d"))
    assert spend(ledger).to_json()["total"]["cost"] == "0.00"


def test_a_tag_cannot_colour_or_drive_the_terminal() -> None:
    ledger = open_ledger("memory://")
    record(ledger, "1", user="[red]eve[/red]\x1b[2J")
    text = as_table(spend(ledger, "user"))
    assert "[red]eve[/red]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(ledger: Ledger, width: int) -> None:
    assert max(map(len, as_table(spend(ledger, since="7d", now=NOW), width=width).splitlines())) <= width


@pytest.mark.parametrize("width", [20, 60, 80])
def test_a_narrow_terminal_never_cuts_an_amount(ledger: Ledger, width: int) -> None:
    record(ledger, "1234.000000001", user="a-rather-long-user-name-of-somebody@example.com")
    text = as_table(spend(ledger), width=width)
    assert "$1,234.000000001" in text
    assert "…" not in text
