"""The days before today of one group or many, and how they go on: what forecasts are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from costguard.ledger.base import Ledger
from costguard.ledger.rollups import COARSE
from costguard.money import to_nanos
from costguard.reports.asked import FILTERS, Filter
from costguard.reports.estimate import MOST_DAYS, Estimate, estimate, middle, tried
from costguard.reports.period import HOUR_NS, Period, buckets, day_ns
from costguard.reports.series import points_of
from costguard.reports.spend import sums_of
from costguard.windows import as_utc, window_bounds, zone

_FLAT = (10_000,) * 7

_BY_HOUR = (*FILTERS, *COARSE)
"""What a ledger keeps sums of each hour by; by anything else it would read rows."""

_HOURS_DAYS = 14
"""Full days whose hours tell how much of a day is still to come."""

_LEAST_HOURS = 4
"""Of a usual day with any spending; with fewer, the mean of the hours says more than the middle."""


@dataclass(frozen=True, slots=True)
class Past:
    """Of one group.

    days:  nano-dollars of the full days before today, the oldest first
    rest:  how much of a usual day is still to come
    """

    days: tuple[int, ...]
    weekday: int
    rest: Fraction
    going: Estimate

    def add_up(self, days: int) -> tuple[list[int], list[int], list[int]]:
        """What will have been spent from now on at the end of today and of each day after it: expected, low, high."""
        weights = [self.rest, *[Fraction(1)] * (days - 1)]
        low, high = tried(self.days, self.weekday, weights)
        expected, total = [], Fraction(0)
        for weight, value in zip(weights, self.going.days(self.weekday, days), strict=True):
            total += weight * value
            expected.append(round(total))
        return expected, [round(value * low) for value in expected], [round(value * high) for value in expected]


def pasts(
    ledger: Ledger, names: tuple[str, ...], chosen: Filter, tz: str, now_ns: int
) -> Mapping[tuple[str, ...], Past]:  # fmt: skip
    """By the values of these names, () for all together; in a few reads, however many groups there are.

    What is rolled up by days only (of UTC), as that of a user, is taken by the days nearest to the local ones, and the
    hours of a day are those of all users: of one payer's calls they say little.
    """
    start, end = window_bounds("day", tz, now_ns)
    assert end is not None  # noqa: S101 - calendar windows end
    cut = buckets("day", days_before(start, tz, MOST_DAYS), start, tz)
    if not all(name in _BY_HOUR for name in (*names, *chosen)):
        cut = [(_nearest(begin), _nearest(end)) for begin, end in cut]
    full = len(cut)
    if now_ns > cut[-1][1]:
        cut.append((cut[-1][1], now_ns))
    weekday = local_day(now_ns, tz).weekday()
    found: dict[tuple[str, ...], Past] = {}
    hours: list[int] | None = None
    flat = Fraction(end - now_ns, end - start)
    for group, points in points_of(ledger, names, chosen, cut).items():
        costs = [max(0, to_nanos(point.cost)) for point in points]
        today = sum(costs[full:])
        # Before the first call there was nothing to spend.
        known = next((place for place, cost in enumerate(costs[:full]) if cost), full)
        days = tuple(costs[known:full])
        if days:
            if hours is None:
                coarse = {name: value for name, value in chosen.items() if name in _BY_HOUR}
                hours = _hours(ledger, coarse, tz, start, len(days))
            found[group] = Past(days, weekday, _rest(hours, now_ns - start, flat), estimate(days, weekday))
        else:
            found[group] = Past((), weekday, flat, _first_day(today, now_ns - start, end - start))
    return found


def _nearest(at: int) -> int:
    """Midnight of UTC."""
    return (at + 12 * HOUR_NS) // (24 * HOUR_NS) * 24 * HOUR_NS


def nothing(tz: str, now_ns: int) -> Past:
    """Of a group without a call."""
    return Past((), local_day(now_ns, tz).weekday(), Fraction(1), Estimate(0, 0, _FLAT, "nothing"))


def _first_day(spent: int, elapsed: int, length: int) -> Estimate:
    """There is no day to go by but this one. Its first hour is no pace."""
    level = spent * length // elapsed if elapsed >= length // 24 else spent
    return Estimate(level, 0, _FLAT, "today" if spent else "nothing")


def _rest(hours: Sequence[int], elapsed: int, flat: Fraction) -> Fraction:
    whole = sum(hours)
    if not whole:
        return flat
    place, within = divmod(elapsed, HOUR_NS)
    tail = Fraction(sum(hours[place + 1 :]))
    if place < len(hours):
        tail += hours[place] * Fraction(HOUR_NS - within, HOUR_NS)
    return tail / whole


def _hours(ledger: Ledger, chosen: Filter, tz: str, today_ns: int, days: int) -> list[int]:
    """What the hours of a day usually cost, from local midnight on. The hours of UTC are taken as they are: where a
    zone is half an hour off, so is this."""
    first = days_before(today_ns, tz, min(days, _HOURS_DAYS))
    starts = [start for start, _ in buckets("day", first, today_ns, tz)]
    by_hour: list[list[int]] = [[0] * len(starts) for _ in range(24)]
    for one in sums_of(ledger, ("hour",), chosen, Period(as_utc(first), as_utc(today_ns))):
        at = day_ns(one.group["hour"])
        place = max(0, sum(start <= at for start in starts) - 1)
        # A day of 25 hours has two of its last.
        hour = min(23, max(0, at - starts[place]) // HOUR_NS)
        by_hour[hour][place] += max(0, one.cost)
    usual = [middle(costs) for costs in by_hour]
    return usual if sum(map(bool, usual)) >= _LEAST_HOURS else [sum(costs) // len(costs) for costs in by_hour]


def days_before(start_ns: int, tz: str, days: int) -> int:
    """The local midnight so many days before this one."""
    at = start_ns
    for _ in range(days):
        at = window_bounds("day", tz, at - 1)[0]
    return at


def local_day(at_ns: int, tz: str) -> date:
    """The local date; that of the day which began last, where a midnight was left out."""
    noon = window_bounds("day", tz, at_ns)[0] + 12 * HOUR_NS
    return as_utc(noon).astimezone(zone(tz)).date()
