"""What the coming days will cost, from the days before: medians, so that one odd day changes little. Integers only.

Level: the median of the last ten days, each divided by what its weekday usually is. Weekdays: by class (Monday to
Friday, Saturday and Sunday) from two full weeks on, each for itself from four. Trend: the median of the slopes between
all pairs of the last 28 days (Theil-Sen), from two weeks on, and fading, as no trend goes on for ever. Range: what the
same method would have said on each day of the past, beside what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

MOST_DAYS = 56
LEAST_PAST = 8
"""Days of the past that the method has to be tried on before a range is taken from it."""

_MOST_TRIED = 20

_LEVEL_DAYS = 10
_TREND_DAYS = 28
_BY_CLASS, _BY_WEEKDAY = 14, 28
_WHOLE = 10_000
"""Of a factor: ten thousandths."""

_FADING = (8, 10)
_WIDE = (Fraction(1, 2), Fraction(2))
"""The range where too little is known to try the method."""

_FURTHEST = (Fraction(1, 4), Fraction(3))
"""The widest range: a spike in the past would make it say nothing."""


def middle(values: Sequence[int]) -> int:
    """The median; between two, rounded down. 0 of nothing."""
    if not values:
        return 0
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """The day after the history is day 0.

    level:    nano-dollars of a day, at the end of the history
    slope:    more for each day, fading
    weekdays: of Monday to Sunday, in ten thousandths of a usual day
    """

    level: int
    slope: int
    weekdays: tuple[int, ...]
    method: str

    def days(self, first_weekday: int, count: int) -> list[int]:
        """What so many days will cost, the first of which is this weekday (0: Monday)."""
        found = []
        drift, step = 0, self.slope * _WHOLE
        for place in range(count):
            drift += step
            step = step * _FADING[0] // _FADING[1]
            usual = max(0, self.level + drift // _WHOLE)
            found.append(usual * self.weekdays[(first_weekday + place) % 7] // _WHOLE)
        return found


def estimate(history: Sequence[int], next_weekday: int) -> Estimate:
    """From full days, the oldest first; `next_weekday` is that of the day after the last of them."""
    days = history[-MOST_DAYS:]
    first = (next_weekday - len(days)) % 7
    weekdays, method = _weekdays(days, first)
    even = [value * _WHOLE // max(1, weekdays[(first + place) % 7]) for place, value in enumerate(days)]
    # A weekday on which nothing is spent says nothing of the level.
    even = [value for place, value in enumerate(even) if weekdays[(first + place) % 7] or not any(weekdays)]
    level = middle(even[-_LEVEL_DAYS:])
    slope = 0
    if len(days) >= _BY_CLASS:
        slope = _slope(even[-_TREND_DAYS:])
        # The level is that of the middle of its days; half of the way to now is made up.
        level += slope * (_LEVEL_DAYS // 2)
    return Estimate(max(0, level), slope, weekdays, method)


def _weekdays(days: Sequence[int], first: int) -> tuple[tuple[int, ...], str]:
    flat = (_WHOLE,) * 7
    if len(days) < _BY_CLASS:
        return flat, "level"
    whole_weeks = days[len(days) % 7 :]
    first = (first + len(days) % 7) % 7
    by_day: list[list[int]] = [[] for _ in range(7)]
    for place, value in enumerate(whole_weeks):
        by_day[(first + place) % 7].append(value)
    if len(days) < _BY_WEEKDAY:
        week = middle([value for day in by_day[:5] for value in day])
        rest = middle([value for day in by_day[5:] for value in day])
        usual, method = [week] * 5 + [rest] * 2, "weekends"
    else:
        usual, method = [middle(day) for day in by_day], "weekdays"
    together = sum(usual)
    if not together:
        return flat, "level"
    return tuple([value * 7 * _WHOLE // together for value in usual]), method


def _slope(values: Sequence[int]) -> int:
    slopes = [
        (later - earlier) // (end - begin)
        for begin, earlier in enumerate(values)
        for end, later in enumerate(values[begin + 1 :], begin + 1)
    ]
    return middle(slopes)


def tried(history: Sequence[int], next_weekday: int, weights: Sequence[Fraction]) -> tuple[Fraction, Fraction]:
    """The range, as two factors of what is expected, in which four of five past days ended.

    weights: of the days to come, how much of each is ahead: the rest of today, whole days, a part of the last
    """
    days = history[-MOST_DAYS:]
    ratios: list[Fraction] = []
    ends = range(_LEVEL_DAYS, len(days) - len(weights) + 1)
    # Days next to each other say nearly the same.
    for end in ends[:: max(1, len(ends) // _MOST_TRIED)]:
        weekday = (next_weekday - (len(days) - end)) % 7
        said = estimate(days[:end], weekday).days(weekday, len(weights))
        expected = sum((weight * value for weight, value in zip(weights, said, strict=True)), Fraction(0))
        came = sum((weight * value for weight, value in zip(weights, days[end:], strict=False)), Fraction(0))
        if expected > 0:
            ratios.append(came / expected)
    if len(ratios) < LEAST_PAST:
        return _WIDE
    ratios.sort()
    tenth = len(ratios) // 10
    # Never without the estimate itself: what was always too low may be right now.
    low, high = min(ratios[tenth], Fraction(1)), max(ratios[-1 - tenth], Fraction(1))
    # Several days to come were not often there in the past: the fewer times, the more is to be added.
    wider = Fraction(1000 + 3 * isqrt(len(weights) * 10_000), 1000)
    return max(1 - (1 - low) * wider, _FURTHEST[0]), min(1 + (high - 1) * wider, _FURTHEST[1])
