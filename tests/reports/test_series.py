from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.figures import Sum
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.reports import Series, series, spend, top
from costguard.reports.series import finest_grain
from tests.reports.scenes import at, spent

NOW = at("2026-11-22 12:00")


def costs(made: Series) -> list[str]:
    return [f"{point.cost:f}".rstrip("0").rstrip(".") or "0" for point in made.total.points]


def test_days_without_calls_are_zeros(store: Ledger) -> None:
    spent(store, "2026-11-20 10:00", cost="3")
    spent(store, "2026-11-22 11:00", cost="1")
    made = series(store, since="2026-11-19", now=NOW)
    assert [f"{start:%m-%d}" for start in made.starts] == ["11-19", "11-20", "11-21", "11-22"]
    assert costs(made) == ["0", "3", "0", "1"]
    assert (made.lines, made.since, made.until) == ((), at("2026-11-19 00:00"), NOW)


def test_the_largest_groups_have_a_line_and_the_others_one_together(store: Ledger) -> None:
    for user, cost in (("alice", "3"), ("bob", "2"), ("carol", "1"), ("dave", "0.5")):
        spent(store, "2026-11-21 10:00", cost=cost, tags={"user": user})
    spent(store, "2026-11-22 10:00", cost="0.25", tags={"user": "dave"})
    spent(store, "2026-11-22 10:00", cost="0.125")
    made = series(store, "user", since="2026-11-21", most=2, now=NOW)
    assert [line.group for line in made.lines] == [{"user": "alice"}, {"user": "bob"}, None]
    assert [point.cost for point in made.lines[2].points] == [Decimal("1.5"), Decimal("0.375")]
    assert made.lines[2].total.calls == 4
    assert sum(line.total.cost for line in made.lines) == made.total.total.cost == Decimal("6.875")
    told = made.to_json()
    assert told["lines"][2]["group"] is None
    assert told["lines"][2]["cost"] == ["1.50", "0.375"]
    assert [len(line.points) for line in series(store, "user", since="2026-11-21", now=NOW).lines] == [2] * 5


def test_groups_can_be_ranked_by_calls(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", cost="9", tags={"user": "alice"})
    for _ in range(3):
        spent(store, "2026-11-22 10:00", cost="0", tags={"user": "bob"})
    made = series(store, "user", since="today", most=1, order="calls", now=NOW)
    assert [line.group for line in made.lines] == [{"user": "bob"}, None]


def test_days_are_those_of_the_zone(store: Ledger) -> None:
    spent(store, "2026-11-20 22:59", cost="1")
    spent(store, "2026-11-20 23:00", cost="2")
    spent(store, "2026-11-21 22:59", cost="4")
    made = series(store, since="2026-11-20", tz="Europe/Berlin", now=NOW)
    assert costs(made) == ["1", "6", "0"]


def test_a_zone_that_is_half_an_hour_off_is_cut_exactly(store: Ledger) -> None:
    spent(store, "2026-11-20 18:29", cost="1")
    spent(store, "2026-11-20 18:30", cost="2")
    made = series(store, "user", since="2026-11-20", until="2026-11-22", tz="Asia/Kolkata", now=NOW)
    assert costs(made) == ["1", "2"]
    assert [point.cost for point in made.lines[0].points] == [1, 2]


def test_the_day_on_which_the_clocks_go_back_has_all_of_its_25_hours(store: Ledger) -> None:
    for hour in range(22, 24):
        spent(store, f"2026-10-24 {hour}:30", cost="1")
    for hour in range(23):
        spent(store, f"2026-10-25 {hour:02}:30", cost="1")
    day = series(store, since="2026-10-25", until="2026-10-26", tz="Europe/Berlin", now=NOW)
    assert costs(day) == ["25"]
    assert (
        costs(series(store, since="2026-10-25", until="2026-10-26", tz="Europe/Berlin", grain="hour", now=NOW))
        == ["1"] * 25
    )


def test_weeks_begin_on_monday_and_months_on_the_first(store: Ledger) -> None:
    spent(store, "2026-11-15 10:00", cost="1")
    spent(store, "2026-11-16 10:00", cost="2")
    spent(store, "2026-10-31 10:00", cost="4")
    assert costs(series(store, grain="week", since="2026-11-09", now=NOW)) == ["1", "2"]
    assert costs(series(store, grain="month", since="2026-10-01", now=NOW)) == ["4", "3"]


def test_a_period_that_begins_within_a_day_has_a_part_of_it(store: Ledger) -> None:
    spent(store, "2026-11-20 05:00", cost="1")
    spent(store, "2026-11-20 07:00", cost="2")
    made = series(store, since="2026-11-20T06:00", now=NOW)
    assert costs(made) == ["2", "0", "0"]


def test_without_a_beginning_it_begins_with_the_day_of_the_first_call(store: Ledger) -> None:
    spent(store, "2026-11-20 05:00", cost="1")
    assert series(store, now=NOW).since == at("2026-11-20 00:00")
    assert series(store, where={"user": "nobody"}, now=NOW).starts == ()


def test_the_period_before_lies_beside_it_point_by_point(store: Ledger) -> None:
    spent(store, "2026-11-21 05:00", cost="1")
    spent(store, "2026-11-19 05:00", cost="4")
    made = series(store, since="2026-11-20", until="2026-11-22", compare="previous", now=NOW)
    assert made.before is not None
    assert [point.cost for point in made.before.points] == [0, 4]
    assert made.to_json()["before"]["total"]["cost"] == "4.00"


def test_a_shorter_period_before_is_filled_up(store: Ledger) -> None:
    spent(store, "2026-02-28 05:00", cost="4")
    made = series(store, since="2026-03-01", until="2026-04-01", compare="previous", now=NOW)
    assert made.before is not None
    assert len(made.before.points) == 31
    assert [place for place, point in enumerate(made.before.points) if point.cost] == [27]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"by": "day"}, "a series is cut by its grain"),
        ({"grain": "year"}, "grain 'year'"),
        ({"most": 0}, "most=0"),
        ({"order": "size"}, "order 'size' is not one of cost"),
    ],
)
def test_what_is_no_series_is_named(asked: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        series(open_ledger("memory://"), **({"since": "7d", "by": "user"} | asked))  # type: ignore[arg-type]


HOURS = st.integers(0, 24 * 40)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(HOURS, st.integers(0, 10**9), st.sampled_from("abcdef")), max_size=30),
    st.sampled_from(["hour", "day", "week", "month"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]),
    st.integers(1, 7),
)
def test_points_and_lines_add_up_to_the_total_whatever_the_zone(
    calls: list[tuple[int, int, str]], grain: str, tz: str, most: int
) -> None:
    ledger = open_ledger("memory://")
    for hour, nanos, user in calls:
        day = datetime(2026, 10, 10 + hour // 24) if hour < 24 * 21 else datetime(2026, 11, 1 + hour // 24 - 21)
        spent(ledger, f"{day:%Y-%m-%d} {hour % 24:02}:17", cost=f"{nanos / 10**9:.9f}", tags={"user": user})
    # Hours of a zone that is half of one off are asked for one by one, so not of forty days.
    since, until = ("2026-10-20", "2026-11-04") if grain == "hour" else ("2026-10-10", "2026-11-20")
    asked = {"since": since, "until": until, "tz": tz, "now": NOW}
    made = series(ledger, "user", grain=grain, most=most, **asked)  # type: ignore[arg-type]
    whole = spend(ledger, "user", **asked).total  # type: ignore[arg-type]
    assert (made.total.total.cost, made.total.total.calls) == (whole.cost, whole.calls)
    for place, point in enumerate(made.total.points):
        assert sum(line.points[place].cost for line in made.lines) == point.cost
    assert sum(line.total.calls for line in made.lines) == whole.calls


def test_the_top_is_followed_by_what_all_others_come_to(store: Ledger) -> None:
    for user, cost in (("alice", "3"), ("bob", "2"), ("carol", "1"), ("dave", "0.5")):
        spent(store, "2026-11-21 10:00", cost=cost, tags={"user": user})
    spent(store, "2026-11-10 10:00", cost="4", tags={"user": "dave"})
    spent(store, "2026-11-10 10:00", cost="1", tags={"user": "alice"})
    made = top(store, "user", since="7d", most=2, compare="previous", now=NOW)
    assert [(row.group["user"], row.cost, row.change) for row in made.rows] == [("alice", 3, 2), ("bob", 2, 2)]
    assert (made.others.cost, made.others.change, made.groups) == (Decimal("1.5"), Decimal("-2.5"), 4)
    assert (made.total.cost, made.total.change) == (Decimal("6.5"), Decimal("1.5"))
    told = made.to_json()
    assert (told["rows"][0]["share"], told["others"]["calls"]) == ("0.4615", 2)


@pytest.mark.parametrize("order", ["cost", "calls", "tokens", "errors", "unpriced", "repeats"])
def test_groups_are_ranked_by_each_order(store: Ledger, order: str) -> None:
    from costguard.pricing.usage import Usage

    spent(store, "2026-11-21 10:00", cost="9", tags={"user": "cost"})
    for _ in range(3):
        spent(store, "2026-11-21 10:00", cost="0", tags={"user": "calls"})
    spent(store, "2026-11-21 10:00", cost="0", usage=Usage(input_tokens=10**6), tags={"user": "tokens"})
    spent(store, "2026-11-21 10:00", cost="0", status="error", tags={"user": "errors"})
    spent(store, "2026-11-21 10:00", tags={"user": "unpriced"})
    spent(store, "2026-11-21 10:00", cost="0", attempts=5, tags={"user": "repeats"})
    assert top(store, "user", order=order, most=1).rows[0].group == {"user": order}


def test_a_top_of_nothing_is_named_and_of_an_empty_ledger_empty(store: Ledger) -> None:
    assert (top(store).rows, top(store).others.calls, top(store, since="7d", compare="previous").groups) == ((), 0, 0)
    with pytest.raises(ConfigError, match="top of nothing"):
        top(store, "")
    with pytest.raises(ConfigError, match="most=0"):
        top(store, most=0)
    with pytest.raises(ConfigError, match="by day has no group to compare a time with"):
        top(store, "day", since="7d", compare="previous", now=NOW)


def test_the_total_before_is_of_all_of_a_longer_period(store: Ledger) -> None:
    spent(store, "2026-10-31 05:00", cost="4")
    made = series(store, since="2026-11-01", until="2026-12-01", compare="previous", now=NOW)
    assert made.before is not None
    assert len(made.before.points) == 30
    assert made.before.total.cost == 4


class Busy(MemoryLedger):
    """Calls are made while it is read."""

    def sums(self, *args: Any, **named: Any) -> list[Sum]:
        found = super().sums(*args, **named)
        for user in ("alice", "bob", "carol") * 3:
            spent(self, "2026-11-22 10:00", cost="1", tags={"user": user})
        return found


@pytest.mark.parametrize("most", [2, 5])
def test_lines_add_up_while_calls_are_made(most: int) -> None:
    store = Busy()
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": "alice"})
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": "bob"})
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": "carol"})
    made = series(store, "user", since="2026-11-22", until="2026-11-23", most=most, now=NOW)
    for place, point in enumerate(made.total.points):
        assert sum(line.points[place].cost for line in made.lines) == point.cost
        assert all(line.points[place].calls >= 0 for line in made.lines)
    store.close()


@pytest.mark.parametrize(("since", "grain"), [("24h", "hour"), ("7d", "day"), ("90d", "week"), (None, "hour")])
def test_the_finest_grain_that_fits_is_found(store: Ledger, since: str | None, grain: str) -> None:
    spent(store, "2026-11-22 10:00", cost="1")
    assert finest_grain(store, 40, since=since, now=NOW) == grain
    assert finest_grain(store, 1, since="900d", now=NOW) is None
