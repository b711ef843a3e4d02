from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.reports import forecast
from tests.reports.scenes import HOSTILE, at, spent

NOON = at("2026-11-22 12:00")


def every_day(store: Ledger, *, days: int, cost: str = "1", until: str = "2026-11-21", **tags: str) -> None:
    """One call at 06:00 and one at 18:00 UTC, each half of the cost."""
    last = at(f"{until} 00:00")
    for back in range(days):
        for hour in (6, 18):
            spent(store, f"{last - timedelta(days=back):%Y-%m-%d} {hour:02}:00", cost=f"{Decimal(cost) / 2}", tags=tags)


def test_a_month_ends_as_its_days_go_on(store: Ledger) -> None:
    every_day(store, days=60)
    spent(store, "2026-11-22 06:00", cost="0.5")
    made = forecast(store, now=NOON)
    assert (made.since, made.until) == (at("2026-11-01 00:00"), at("2026-12-01 00:00"))
    assert made.spent == Decimal("21.5")
    # Half of today, and eight days more.
    assert made.expected == 30
    assert made.low <= made.expected <= made.high
    assert (made.days, made.method, len(made.path)) == (56, "weekdays", 9)
    assert (made.path[0].day, made.path[0].expected) == (date(2026, 11, 22), 22)
    assert made.path[-1].expected == made.expected


def test_what_was_spent_today_does_not_raise_what_is_still_to_come(store: Ledger) -> None:
    every_day(store, days=60)
    spent(store, "2026-11-22 06:00", cost="500")
    assert forecast(store, now=NOON).expected == Decimal("529.5")


def test_a_spike_of_yesterday_counts_once(store: Ledger) -> None:
    every_day(store, days=60)
    spent(store, "2026-11-21 07:00", cost="100")
    made = forecast(store, now=NOON)
    assert made.spent == 121
    assert made.expected - made.spent < 10


def test_the_day_on_which_a_limit_is_reached(store: Ledger) -> None:
    every_day(store, days=60)
    spent(store, "2026-11-22 06:00", cost="0.5")
    made = forecast(store, limit="25", now=NOON)
    assert made.reached == date(2026, 11, 25)
    assert made.earliest is not None
    assert made.latest is not None
    assert made.earliest <= made.reached <= made.latest
    assert forecast(store, limit="$1,000", now=NOON).reached is None
    assert forecast(store, limit=20, now=NOON).reached == date(2026, 11, 22)
    told = made.to_json()
    assert (told["limit"], told["reached"], told["path"][0]["day"]) == ("25.00", "2026-11-25", "2026-11-22")
    assert forecast(store, now=NOON).to_json()["limit"] is None


@pytest.mark.parametrize(("window", "expected"), [("day", "1"), ("week", "7"), ("month", "30")])
def test_each_window_ends_at_its_end(store: Ledger, window: str, expected: str) -> None:
    every_day(store, days=60)
    spent(store, "2026-11-22 06:00", cost="0.5")
    assert forecast(store, window=window, now=NOON).expected == Decimal(expected)


def test_calls_are_chosen_as_in_every_report(store: Ledger) -> None:
    every_day(store, days=30, user="alice")
    every_day(store, days=30, cost="5", user=HOSTILE[0])
    assert forecast(store, where={"user": "alice"}, now=NOON).spent == 21
    assert forecast(store, where={"user": HOSTILE[0]}, window="day", now=NOON).expected == Decimal("2.5")
    assert forecast(store, where={"user": "nobody"}, now=NOON).method == "nothing"


def test_a_ledger_of_a_few_days_goes_by_those(store: Ledger) -> None:
    every_day(store, days=2)
    made = forecast(store, now=NOON)
    assert (made.days, made.method) == (2, "level")
    assert made.low < made.expected < made.high


def test_a_ledger_of_today_goes_by_its_pace(store: Ledger) -> None:
    spent(store, "2026-11-22 06:00", cost="1")
    made = forecast(store, now=NOON)
    assert (made.days, made.method) == (0, "today")
    assert made.expected == 1 + 1 + 16
    early = forecast(store, now=at("2026-11-22 00:30"))
    assert early.method == "nothing"


def test_an_empty_ledger_is_expected_to_stay_empty(store: Ledger) -> None:
    made = forecast(store, limit=5, now=NOON)
    assert (made.spent, made.expected, made.low, made.high, made.reached) == (0, 0, 0, 0, None)
    assert made.method == "nothing"


def test_calls_without_a_price_are_in_no_number_but_counted(store: Ledger) -> None:
    every_day(store, days=3)
    spent(store, "2026-11-22 06:00")
    assert forecast(store, now=NOON).unpriced_calls == 1


def test_windows_and_days_are_those_of_the_zone(store: Ledger) -> None:
    every_day(store, days=60)
    made = forecast(store, window="day", tz="Asia/Tokyo", now=NOON)
    assert (made.since, made.until) == (at("2026-11-21 15:00"), at("2026-11-22 15:00"))
    # The call of 18:00 UTC was at three in the morning there.
    assert made.spent == Decimal("0.5")
    assert made.path[0].day == date(2026, 11, 22)


@pytest.mark.parametrize(
    ("tz", "now"),
    [
        ("Europe/Berlin", "2026-10-25 00:30"),
        ("Europe/Berlin", "2026-10-25 22:30"),
        ("Europe/Berlin", "2026-03-29 00:59"),
        ("America/Santiago", "2026-09-06 04:00"),
        ("Australia/Lord_Howe", "2026-10-03 15:29"),
    ],
)
def test_days_on_which_the_clocks_change_are_days(store: Ledger, tz: str, now: str) -> None:
    every_day(store, days=40, until=f"{at(now) - timedelta(days=1):%Y-%m-%d}")
    made = forecast(store, window="week", tz=tz, now=at(now))
    assert made.spent <= made.expected <= made.spent + 7
    assert len({one.day for one in made.path}) == len(made.path)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"window": "year"}, "window 'year' is not one of day, week, month"),
        ({"limit": 0.5}, "limit 0.5 is a float"),
        ({"limit": "lots"}, "limit 'lots'"),
        ({"tz": "Mars"}, "time zone 'Mars'"),
    ],
)
def test_what_cannot_be_forecast_is_named(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        forecast(open_ledger("memory://"), **asked)


def test_the_last_moment_of_a_month_has_nothing_ahead(store: Ledger) -> None:
    every_day(store, days=40, until="2026-11-30")
    made = forecast(store, now=at("2026-11-30 23:59"))
    assert made.expected - made.spent < Decimal("0.01")


def test_what_was_spent_so_far_ends_now(store: Ledger) -> None:
    spent(store, "2026-11-10 10:00", cost="3")
    spent(store, "2026-11-20 10:00", cost="5")
    spent(store, "2026-11-20 11:00")
    made = forecast(store, now=at("2026-11-15 12:00"), limit=4)
    assert (made.spent, made.unpriced_calls) == (3, 0)
