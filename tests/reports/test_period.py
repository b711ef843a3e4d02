from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from costguard.errors import ConfigError
from costguard.reports.period import MOST_BUCKETS, Period, buckets, moment, period
from tests.reports.scenes import at, ns

NOW = at("2026-11-22 12:00")


def hours(cut: list[tuple[int, int]]) -> list[int]:
    return [(end - start) // (3600 * 10**9) for start, end in cut]


@pytest.mark.parametrize(
    ("value", "tz", "meant"),
    [
        ("today", "UTC", "2026-11-22 00:00"),
        ("Week ", "UTC", "2026-11-16 00:00"),
        ("month", "UTC", "2026-11-01 00:00"),
        ("today", "Europe/Berlin", "2026-11-21 23:00"),
        ("month", "America/New_York", "2026-11-01 04:00"),
        ("2026-11-01", "America/New_York", "2026-11-01 04:00"),
        ("2026-11-01T09:00", "Asia/Kolkata", "2026-11-01 03:30"),
        ("2026-11-01T09:00Z", "Asia/Kolkata", "2026-11-01 09:00"),
    ],
)
def test_words_and_dates_are_those_of_the_zone(value: str, tz: str, meant: str) -> None:
    assert moment(value, NOW, what="since", tz=tz) == at(meant)


def test_a_zone_that_is_not_known_is_named() -> None:
    with pytest.raises(ConfigError, match="time zone 'Mars/Olympus' is not known"):
        period("7d", None, NOW, "Mars/Olympus")


@pytest.mark.parametrize(
    ("since", "until", "tz", "before"),
    [
        ("7d", None, "UTC", ("2026-11-08 12:00", "2026-11-15 12:00")),
        ("2026-11-01", "2026-11-08", "UTC", ("2026-10-25 00:00", "2026-11-01 00:00")),
        # October has a day more than the September before it.
        ("2026-10-01", "2026-11-01", "UTC", ("2026-09-01 00:00", "2026-10-01 00:00")),
        ("2026-01-01", "2027-01-01", "UTC", ("2025-01-01 00:00", "2026-01-01 00:00")),
        # A running month has as much of the last one, and of a shorter one not more than all.
        ("month", None, "UTC", ("2026-10-01 00:00", "2026-10-22 12:00")),
        ("week", None, "UTC", ("2026-11-09 00:00", "2026-11-15 12:00")),
        ("today", None, "UTC", ("2026-11-21 00:00", "2026-11-21 12:00")),
        # The clocks of Berlin went back on 25 October: that day had 25 hours, the one before it 24.
        ("2026-10-25", "2026-10-26", "Europe/Berlin", ("2026-10-23 22:00", "2026-10-24 22:00")),
        ("2026-10-26", "2026-10-27", "Europe/Berlin", ("2026-10-24 22:00", "2026-10-25 23:00")),
        # From Chile's missing midnight of 6 September on, which is an hour late.
        ("2026-09-06T01:00", "2026-09-07", "America/Santiago", ("2026-09-05 04:00", "2026-09-06 04:00")),
    ],
)
def test_the_period_before_is_as_long_as_people_count(
    since: str, until: str | None, tz: str, before: tuple[str, str]
) -> None:
    found = period(since, until, NOW, tz).before(NOW)
    assert (found.since, found.until) == (at(before[0]), at(before[1]))


def test_the_last_of_march_is_compared_with_all_of_february() -> None:
    now = at("2026-03-31 12:00")
    found = period("month", None, now).before(now)
    assert (found.since, found.until) == (at("2026-02-01 00:00"), at("2026-03-01 00:00"))


def test_all_time_has_no_period_before() -> None:
    with pytest.raises(ConfigError, match="has no period before it"):
        period(None, None, NOW).before(NOW)
    with pytest.raises(ConfigError, match="no time as long"):
        Period(at("0003-01-01 00:00"), NOW).before(NOW)


@pytest.mark.parametrize(
    ("grain", "tz", "since", "until", "lengths"),
    [
        ("day", "UTC", "2026-11-01 06:00", "2026-11-03 12:00", [18, 24, 12]),
        ("day", "Europe/Berlin", "2026-10-23 22:00", "2026-10-26 23:00", [24, 25, 24]),
        ("day", "Europe/Berlin", "2026-03-28 23:00", "2026-03-30 22:00", [23, 24]),
        ("week", "UTC", "2026-11-14 00:00", "2026-11-24 00:00", [48, 168, 24]),
        ("month", "UTC", "2026-01-31 00:00", "2026-03-01 00:00", [24, 28 * 24]),
        ("hour", "UTC", "2026-11-01 00:00", "2026-11-01 03:00", [1, 1, 1]),
    ],
)
def test_a_time_is_cut_at_local_midnights(grain: str, tz: str, since: str, until: str, lengths: list[int]) -> None:
    cut = buckets(grain, ns(since), ns(until), tz)
    assert hours(cut) == lengths
    assert [end for _, end in cut[:-1]] == [start for start, _ in cut[1:]]
    assert (cut[0][0], cut[-1][1]) == (ns(since), ns(until))


def test_an_empty_time_has_no_buckets() -> None:
    assert buckets("day", ns("2026-11-01 00:00"), ns("2026-11-01 00:00"), "UTC") == []


@pytest.mark.parametrize(("grain", "says"), [("year", "grain 'year' is not one of"), ("hour", "more than 2,000 hours")])
def test_a_grain_that_is_none_or_too_fine_is_named(grain: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        buckets(grain, ns("2026-01-01 00:00"), ns("2026-11-01 00:00"), "UTC")
    assert len(buckets("hour", 0, MOST_BUCKETS * 3600 * 10**9, "UTC")) == MOST_BUCKETS


@pytest.mark.parametrize("value", [timedelta(days=7), datetime(2026, 11, 15, 12), "7d", "168h", "1w"])
def test_one_time_can_be_written_in_many_ways(value: Any) -> None:
    assert period(value, None, NOW).since == at("2026-11-15 12:00")
