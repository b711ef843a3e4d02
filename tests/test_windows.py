from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard import Budget, Tags
from costguard.windows import (
    bucket_bounds,
    bucket_width,
    buckets_beside,
    read_span,
    show_span,
    window_bounds,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3600 * 10**9
DAY = 24 * HOUR
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca",
    "America/Sao_Paulo", "America/Havana", "Pacific/Apia", "Asia/Beirut", "America/St_Johns",
]  # fmt: skip
"""Half-hour changes (Lord Howe), clocks changed at midnight (Sao Paulo, Havana, Beirut), a day left out (Apia, 2011),
an offset of 5:45, clocks that go back in the spring (Casablanca), and a change at a minute past midnight, back into
the day before (St. John's, until 2011)."""


def ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def moment(at_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_ns // 1000)


@cache
def changes(tz: str) -> list[int]:
    """Hours around which the clocks of a zone change."""
    zone = ZoneInfo(tz)
    hours = range(ns(datetime(2009, 1, 1, tzinfo=UTC)) // HOUR, ns(datetime(2035, 1, 1, tzinfo=UTC)) // HOUR, 24)
    offsets = [moment(hour * HOUR).astimezone(zone).utcoffset() for hour in hours]
    return [hours[place] for place in range(1, len(hours)) if offsets[place] != offsets[place - 1]]


@st.composite
def moments(draw: st.DrawFn, tz: str) -> int:
    """Any moment, or one near a change of the clocks."""
    if draw(st.booleans()) and changes(tz):
        hour = draw(st.sampled_from(changes(tz)))
        return hour * HOUR + draw(st.integers(-30 * HOUR // 1000, 30 * HOUR // 1000)) * 1000
    start, end = ns(datetime(2009, 1, 1, tzinfo=UTC)), ns(datetime(2035, 1, 1, tzinfo=UTC))
    return draw(st.integers(start // 1000, end // 1000)) * 1000


zone_and_moment = st.sampled_from(ZONES).flatmap(lambda tz: st.tuples(st.just(tz), moments(tz)))
spans = st.one_of(
    st.integers(1, 3 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)),
    st.integers(1, 3660).map(lambda days: timedelta(days=days)),
)


@settings(deadline=None)
@given(st.sampled_from(["hour", "day", "week", "month"]), zone_and_moment)
def test_windows_tile_time_without_gap_or_overlap(window: str, where: tuple[str, int]) -> None:
    tz, at_ns = where
    start, end = window_bounds(window, tz, at_ns)  # type: ignore[arg-type]
    assert end is not None
    assert start <= at_ns < end
    for within in (start, (start + end) // 2000 * 1000, end - 1000):
        assert window_bounds(window, tz, within) == (start, end)  # type: ignore[arg-type]
    assert window_bounds(window, tz, end)[0] == end  # type: ignore[arg-type]
    assert window_bounds(window, tz, start - 1000)[1] == start  # type: ignore[arg-type]


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize("window", ["hour", "day", "30d", "7d"])
def test_windows_follow_each_other_over_every_change_of_the_clocks(window: str, tz: str) -> None:
    span = read_span(window)

    def bounds(at_ns: int) -> tuple[int, int]:
        start, end = window_bounds("rolling" if span else window, tz, at_ns, span)  # type: ignore[arg-type]
        assert end is not None
        return start, end

    for hour in [hour for hour in changes(tz) if moment(hour * HOUR).year in (2009, 2011, 2026)]:
        start, end = bounds((hour - 28) * HOUR)
        while start < (hour + 4) * HOUR:
            for within in range(start, end, HOUR // 4):
                assert bounds(within) == (start, end)
            assert bounds(end - 1000) == (start, end)
            assert window != "hour" or end - start <= HOUR
            start, end = end, bounds(end)[1]
            assert bounds(start) == (start, end)


@settings(deadline=None)
@given(st.sampled_from(["day", "week", "month"]), zone_and_moment)
def test_days_weeks_and_months_begin_with_the_first_moment_of_a_local_date(window: str, where: tuple[str, int]) -> None:
    tz, at_ns = where
    start, _ = window_bounds(window, tz, at_ns)  # type: ignore[arg-type]
    first = moment(start).astimezone(ZoneInfo(tz)).date()
    before = (moment(start) - timedelta.resolution).astimezone(ZoneInfo(tz)).date()
    assert before < first
    if window == "week" and tz != "Pacific/Apia":
        assert first.weekday() == 0
    if window == "month":
        assert first.day == 1


@pytest.mark.parametrize(
    ("tz", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 6, 1), 24),
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Asia/Kathmandu", date(2026, 3, 29), 24),
    ],
)
def test_a_day_that_daylight_saving_changes_ends_at_local_midnight(tz: str, day: date, hours: float) -> None:
    zone = ZoneInfo(tz)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone).astimezone(UTC)
    start, end = window_bounds("day", tz, ns(noon))
    assert end is not None
    assert (end - start) / HOUR == hours
    assert moment(end).astimezone(zone).time().isoformat() == "00:00:00"


def test_an_hour_that_comes_twice_is_two_windows() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first, second = (ns(datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold).astimezone(UTC)) for fold in (0, 1))
    assert window_bounds("hour", "Europe/Berlin", first)[1] == window_bounds("hour", "Europe/Berlin", second)[0]


@pytest.mark.parametrize("window", ["ever", "call", "request"])
def test_a_window_without_an_end_begins_at_zero(window: str) -> None:
    assert window_bounds(window, "UTC", 10**18) == (0, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("span", "minutes"),
    [("1m", 1), ("90m", 3), ("1h", 2), ("24h", 60), ("7d", 360), ("14d", 720), ("30d", 1440), ("1w", 360),
     ("365d", 13 * 1440)],
)  # fmt: skip
def test_a_rolling_window_rolls_by_about_a_thirtieth_of_its_span(span: str, minutes: int) -> None:
    width = read_span(span)
    assert width is not None
    assert bucket_width(width) == timedelta(minutes=minutes)


@settings(deadline=None)
@given(spans)
def test_a_span_reads_back_from_what_it_prints(span: timedelta) -> None:
    assert read_span(show_span(span)) == span


@settings(deadline=None)
@given(spans, zone_and_moment)
def test_buckets_tile_time_in_every_zone(span: timedelta, where: tuple[str, int]) -> None:
    tz, at_ns = where
    start, end = bucket_bounds(span, tz, at_ns)
    assert start <= at_ns < end
    for within in (start, end - 1000):
        assert bucket_bounds(span, tz, within) == (start, end)
    assert bucket_bounds(span, tz, end)[0] == end
    assert bucket_bounds(span, tz, start - 1000)[1] == start


@settings(deadline=None)
@given(spans, zone_and_moment)
def test_the_buckets_beside_one_reach_back_over_the_span_and_at_most_one_bucket_more(
    span: timedelta, where: tuple[str, int]
) -> None:
    tz, at_ns = where
    start, end = bucket_bounds(span, tz, at_ns)
    *earlier, after = buckets_beside(span, tz, at_ns)
    assert after[0] == end
    edges = [*earlier, (start, end)]
    assert all(one[1] == other[0] for one, other in pairwise(edges)), "without a gap"
    assert all(bucket_bounds(span, tz, one) == (one, other) for one, other in edges)
    span_ns = span // timedelta(microseconds=1) * 1000
    # Days are counted by the calendar: one of them may be an hour shorter, or longer, than 24 hours; in Apia a day.
    slack = 0 if bucket_width(span) < timedelta(days=1) else DAY + HOUR if tz == "Pacific/Apia" else 2 * HOUR
    assert edges[0][0] <= start - span_ns + slack
    assert edges[0][1] > start - span_ns - slack
    assert len(edges) <= 32 or slack


@settings(deadline=None)
@given(st.sampled_from(["$1/24h", "$1/90m", "$1/30d tz Europe/Berlin", "$1/7d"]), st.data())
def test_what_was_spent_counts_for_the_span_and_at_most_a_bucket_longer(text: str, data: st.DataObject) -> None:
    budget = Budget.parse(text)
    assert budget.span is not None
    tz = budget.tz
    spent_at = data.draw(moments(tz))
    later = data.draw(st.integers(0, 2 * (budget.span // timedelta(microseconds=1)))) * 1000
    spent_on = budget.limit_for(Tags(), spent_at)
    limit = budget.limit_for(Tags(), spent_at + later)
    counts = spent_on.key in {limit.key, *(other.key for other in limit.before)}
    span_ns = budget.span // timedelta(microseconds=1) * 1000
    width_ns = bucket_width(budget.span) // timedelta(microseconds=1) * 1000
    slack = 2 * HOUR if width_ns >= DAY else 0
    if later < span_ns - slack:
        assert counts
    if later > span_ns + width_ns + slack:
        assert not counts
