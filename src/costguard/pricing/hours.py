"""Hours of the day and days of the week in which a price holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 1_440
_SPAN = re.compile(r"\s*([01]\d|2[0-4]):([0-5]\d)\s*-\s*([01]\d|2[0-4]):([0-5]\d)\s*")


class Hours(NamedTuple):
    """Minutes of the day in UTC, and weekdays.

    spans:  (first, end) minutes, the end excluded; one that ends before it begins goes on after midnight
    days:   weekdays, Monday is 0, on which a minute of `spans` counts
    zone:   where the weekday is read off, e.g. "Asia/Shanghai"; the spans are in UTC all the same
    """

    spans: tuple[tuple[int, int], ...] = ((0, _DAY),)
    days: frozenset[int] = frozenset(range(7))
    zone: str = "UTC"

    def holds(self, at: datetime) -> bool:
        """Whether a moment (UTC) is in them."""
        day = at if self.zone == "UTC" else at.astimezone(ZoneInfo(self.zone))
        if day.weekday() not in self.days:
            return False
        minute = at.hour * 60 + at.minute
        return any(
            first <= minute < end if first < end else minute >= first or minute < end for first, end in self.spans
        )

    def edges(self, at: datetime) -> list[datetime]:
        """The moments within two days around `at` at which `holds` may change."""
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        found = [
            midnight + timedelta(days=days, minutes=minute)
            for days in range(-2, 3)
            for minute in {0, *(minute for span in self.spans for minute in span)}
        ]
        if self.zone != "UTC":
            there = at.astimezone(ZoneInfo(self.zone)).replace(hour=0, minute=0, second=0, microsecond=0)
            found += [(there + timedelta(days=days)).astimezone(UTC) for days in (-1, 0, 1)]
        return found


def spans_of(texts: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Read "00:30-08:30", several of them. Raises ValueError with the text that is none."""
    found = []
    for text in texts:
        match = _SPAN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"{text!r}")
        first, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
        if first > _DAY or end > _DAY:
            raise ValueError(f"{text!r}")
        found.append((first % _DAY, end or _DAY) if first % _DAY != end else (0, _DAY))
    return tuple(found)
