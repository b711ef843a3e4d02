"""Counts of what calls took or cost, in buckets that grow by a tenth: what percentiles are read from.

The borders are integers, so that Python and every database put a number into the same bucket.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping


def _borders() -> tuple[int, ...]:
    found = [1]
    while found[-1] < 1 << 62:
        found.append(max(found[-1] + 1, found[-1] * 11 // 10))
    return tuple(found)


BORDERS = _borders()
"""Bucket n has the numbers from the (n-1)th of these on and below the nth; bucket 0 what is less than one."""


def bucket(number: int) -> int:
    return bisect_right(BORDERS, number)


def number_of(place: int) -> int:
    """A number that is at most 5 % away from each in this bucket."""
    if not place:
        return 0
    low = BORDERS[place - 1]
    high = (BORDERS[place] if place < len(BORDERS) else low * 11 // 10) - 1
    # Their harmonic mean is as far from the one as from the other, in parts of each.
    return (4 * low * high + low + high) // (2 * (low + high))


def percentile(counts: Mapping[int, int], part: int) -> int | None:
    """The number that `part` of a hundred of those counted do not exceed; None where nothing is counted."""
    total = sum(counts.values())
    if total <= 0:
        return None
    rank = -(-total * part // 100)
    for place in sorted(counts):
        rank -= counts[place]
        if rank <= 0:
            return number_of(place)
    raise AssertionError  # the counts add up to the total
