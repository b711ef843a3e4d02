"""What the pages show is what the reports say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from costguard import Guard
from costguard.call import Call, new_call_id
from costguard.dashboard.access import Person
from costguard.dashboard.desk import Desk
from costguard.dashboard.hiding import Hiding
from costguard.dashboard.page_calls import call, calls
from costguard.dashboard.page_explore import explore
from costguard.dashboard.page_overview import overview
from costguard.dashboard.page_prices import prices
from costguard.dashboard.query import Query
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.events import Entry, Refused
from costguard.reports.spend import spend
from costguard.tags import Tags
from tests.alerts.crossings import record
from tests.dashboard.pages import browser, dashboard

HOUR = 3600 * 10**9


@pytest.fixture
def guard() -> Guard:
    """A dollar an hour for alice by chat, for two days and a half; less for bob; one call without a price."""
    guard = Guard("memory://", budgets=["$5/day per user", "$100/month"])
    now = time.time_ns()
    for hour in range(60):
        record(guard.ledger, "1.00", user="alice", feature="chat", at_ns=now - hour * HOUR - 10**9)
    record(guard.ledger, "0.50", user="bob", feature="search", model="gpt-4o-mini", at_ns=now - 2 * HOUR)
    record(guard.ledger, None, user="bob", feature="search", model="nobody-knows", at_ns=now - 3 * HOUR)
    record(guard.ledger, "0.25", user=None, at_ns=now - 4 * HOUR, status="error")
    return guard


def view(guard: Guard, page: str = "overview", **params: str) -> View:
    return Desk(guard, Hiding()).view(Person("viewer"), page=page, params=params)


def shown(guard: Guard, make: Any, text: str = "", **params: str) -> Mapping[str, Any]:
    made: Mapping[str, Any] = make(view(guard, **params), Query.read(text))
    return made


def test_the_overview_has_the_total_and_what_is_not_in_it(guard: Guard) -> None:
    found = shown(guard, overview, "since=7d")
    assert found["total"].cost == Decimal("60.75")
    assert found["total"].unpriced_calls == 1
    assert found["nobody"].cost == Decimal("0.25")
    assert found["total"].before.cost == 0
    assert [row["user"] for row in found["tops"][0].rows] == ["alice", "bob", "unattributed"]
    assert found["first"] is False


def test_an_empty_ledger_says_what_to_do_first() -> None:
    assert shown(Guard("memory://"), overview)["first"] is True


def test_an_app_whose_calls_were_all_refused_is_not_told_to_instrument_them() -> None:
    guard = Guard("memory://", budgets=["$0.01/day per user"])
    (standing,) = guard.standings(user="alice")
    guard._emit(Refused(Call("openai", "gpt-4o", tags=Tags(user="alice")), standing, False, standing.limit))
    guard.flush()
    found = shown(guard, overview)
    assert (found["first"], found["refused"]) == (False, 1)


async def test_calls_without_any_price_are_not_shown_as_free() -> None:
    guard = Guard("memory://")
    record(guard.ledger, None, user="bob", model="nobody-knows", at_ns=time.time_ns())
    async with browser(dashboard(guard)) as client:
        assert "$0.00" not in (await client.get("calls")).text


def test_a_ledger_with_older_calls_is_not_new(guard: Guard) -> None:
    found = shown(guard, overview, "since=2020-01-01&until=2020-02-01")
    assert found["first"] is False
    assert found["total"].calls == 0


def test_budgets_at_risk_are_the_fullest_first(guard: Guard) -> None:
    found = shown(guard, overview)
    stands = [*found["risks"], *found["others"]]
    assert ("$5.00/day per user", "alice") in [(one["budget"], one["payer"]) for one in stands]
    assert "budget=" in stands[0]["url"]


def test_the_bars_of_the_chart_add_up_to_the_total(guard: Guard) -> None:
    found = shown(guard, explore, "since=7d&by=user")
    chart = found["chart"]
    assert sum(sum(row.values) for row in chart.rows) == found["total"].cost
    assert [column.name for column in chart.columns] == ["alice", "bob", "unattributed"]
    assert len(chart.rows) == 7
    assert "60.75" in chart.summary


def test_days_are_whole_ones_and_the_last_is_today(guard: Guard) -> None:
    now = view(guard).now
    found = shown(guard, explore, "since=7d")
    assert found["times"].since == now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=6)
    since, until = found["times"].compare
    assert found["times"].since - since == timedelta(days=7)
    assert abs(until - (now - timedelta(days=7))) < timedelta(minutes=1)


def test_hours_are_whole_ones_and_the_last_is_running(guard: Guard) -> None:
    found = shown(guard, explore, "since=24h")
    assert len(found["chart"].rows) == 24
    assert (found["times"].since.minute, found["chart"].grain) == (0, "hour")


def test_midnight_of_a_zone_is_drawn_as_midnight(guard: Guard) -> None:
    found = shown(guard, explore, "since=7d&tz=Asia/Kathmandu")
    assert all(row.at % 86_400 == 0 for row in found["chart"].rows)


def test_the_times_in_the_form_are_of_the_zone_that_it_is_read_in(guard: Guard) -> None:
    times = shown(guard, explore, "since=2026-11-20T10:00&until=2026-11-21T00:00&tz=America/New_York")["times"]
    assert (times.field_since, times.field_until) == ("2026-11-20T10:00", "2026-11-21T00:00")
    assert times.since == datetime(2026, 11, 20, 15, tzinfo=UTC)


@pytest.mark.parametrize("by", ["model", "user,feature", "status", "provider", "route"])
def test_every_breakdown_has_the_numbers_of_the_report(guard: Guard, by: str) -> None:
    found = shown(guard, explore, f"since=7d&by={by}")
    report = spend(guard.ledger, by, since=found["times"].since)
    said = [(tuple(row[name] for name in report.by), row["cost"], row["calls"]) for row in found["table"].rows]
    assert said == [
        (tuple(row.group.values()), None if row.unpriced_calls and not row.cost else row.cost, row.calls)
        for row in report.rows
    ]


def test_a_row_leads_to_itself_and_to_its_calls(guard: Guard) -> None:
    found = shown(guard, explore, "since=7d&by=user,feature&where.model=gpt-4o")
    links = found["table"].rows[0]["links"]
    assert Query.read(links["user"][1:]).where == {"model": "gpt-4o", "user": "alice"}
    assert Query.read(links["calls"].partition("?")[2]).where == {
        "model": "gpt-4o", "user": "alice", "feature": "chat",
    }  # fmt: skip


def test_a_group_without_any_price_is_not_shown_as_free(guard: Guard) -> None:
    found = shown(guard, explore, "since=7d&by=model")
    (row,) = [row for row in found["table"].rows if row["model"] == "nobody-knows"]
    assert (row["cost"], row["share"], row["unpriced_calls"]) == (None, None, 1)


def test_rows_are_sorted_by_what_was_chosen(guard: Guard) -> None:
    found = shown(guard, explore, "since=7d&by=model&sort=unpriced_calls")
    assert found["table"].rows[0]["model"] == "nobody-knows"


@pytest.mark.parametrize(
    "text", ["show=joy", "sort=joy", "grain=joy", "since=joy", "by=a b", "since=2026-02-01&until=2026-01-01"]
)
def test_what_is_no_choice_is_named(guard: Guard, text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[2].partition("&")[0]):
        shown(guard, explore, text)


def test_the_filter_that_was_filled_in_is_one_of_the_filters(guard: Guard) -> None:
    found = shown(guard, calls, "filter=feature&value=search&since=7d")
    assert found["query"].where == {"feature": "search"}
    assert len(found["table"].rows) == 2
    assert found["query"].chips[0][:2] == ("feature", "search")


def test_pages_of_calls_have_each_call_once(guard: Guard) -> None:
    text, seen = "since=7d&per=20", []
    while True:
        found = shown(guard, calls, text)
        seen += [row["call_id"] for row in found["table"].rows]
        if not found["older"]:
            break
        text = found["older"][1:]
    assert len(seen) == len(set(seen)) == 63


def test_the_dearest_come_first_and_the_unpriced_last(guard: Guard) -> None:
    rows = shown(guard, calls, "since=7d&order=dearest&per=1000")["table"].rows
    costs = [row["cost"] for row in rows]
    assert costs[:3] == [Decimal(1), Decimal(1), Decimal(1)]
    assert costs[-1] is None


def test_a_receipt_is_found_by_its_id_alone(guard: Guard) -> None:
    entry = guard.ledger.entries({"user": "bob"}, limit=1)[0]
    assert shown(guard, call, id=entry.call_id)["entry"].call_id == entry.call_id
    with pytest.raises(LookupError, match="no call has the id"):
        shown(guard, call, id="019aab3c-9c00-7000-8000-000000000001")


def test_the_prices_name_the_models_without_one_first(guard: Guard) -> None:
    found = shown(guard, prices)
    assert [row["model"] for row in found["table"].rows] == [
        "openai/nobody-knows",
        "openai/gpt-4o",
        "openai/gpt-4o-mini",
    ]
    assert found["table"].rows[1]["input"] == Decimal("2.5")
    assert found["without"][0].calls == 1
    assert found["lists"].rows


def test_what_is_shown_of_now_is_utc(guard: Guard) -> None:
    assert view(guard).now.tzinfo is UTC
    assert abs(view(guard).now - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_tag_that_is_called_like_a_figure_is_shown_beside_it() -> None:
    guard = Guard("memory://")
    now = time.time_ns()
    entry = Entry(
        new_call_id(now), now - 10**9, "openai", "gpt-4o", "chat", 2 * 10**9, tags=Tags(errors="centre-7", calls="many")
    )
    guard.ledger.settle(entry, None)
    found = shown(guard, explore, "by=errors,calls&since=7d")
    (row,) = found["table"].rows
    assert [row[name] for name in found["tags"]] == ["centre-7", "many"]
    assert (row["errors"], row["calls"]) == (None, 1)
    assert "where.errors=centre-7" in row["links"][found["tags"][0]]
    names = [column.name for column in found["table"].columns]
    assert len(names) == len(set(names)), "each has a column of its own in the CSV"
    (point,) = found["series"].rows
    assert (point["tag errors"], point["errors"]) == ("centre-7", 0)
