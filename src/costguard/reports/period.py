"""The time of a report: how people write it, the period before it, and how it is cut into buckets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, TypedDict, cast, get_args

from costguard.errors import ConfigError
from costguard.windows import Window, as_utc, window_bounds, zone

When = datetime | timedelta | str | None
Grain = Literal["hour", "day", "week", "month"]
GRAINS: tuple[str, ...] = get_args(Grain)

HOUR_NS = 3600 * 10**9

_YEARS = range(1600, 3001)
"""Far from what calendars have, so that the time before, or the end of a month, is one that they have."""

MOST_BUCKETS = 2_000
"""Of one series: a finer one is no chart any more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGO = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WORDS: dict[str, Window] = {"today": "day", "week": "week", "month": "month"}
_HOW = "write it as 7d, 24h, 30m, 2w, today, week, month, 2026-11-01 or 2026-11-01T09:00+01:00"


class Bounds(TypedDict):
    """As a ledger takes them: nanoseconds since 1970."""

    since_ns: int | None
    until_ns: int | None


@dataclass(frozen=True, slots=True)
class Period:
    """A time, `until` not included; None: from the first call, to the last.

    tz:   the IANA name of the zone whose midnights count
    word: "day", "week" or "month" where it began with the running one ("today", "week", "month"), else ""
    """

    since: datetime | None = None
    until: datetime | None = None
    tz: str = "UTC"
    word: str = field(default="", compare=False)

    @property
    def bounds(self) -> Bounds:
        return {"since_ns": at_ns(self.since), "until_ns": at_ns(self.until)}

    def closed(self, now: datetime) -> Period:
        """With an end: now, where none was given."""
        return self if self.until is not None else Period(self.since, max(now, self.since or now), self.tz, self.word)

    def before(self, now: datetime) -> Period:
        """The period to compare with: as long, and ending where this one begins.

        Whole local months have as many months before them, whole local days as many days, whatever the clocks do. A
        running day, week or month has the first part of the one before it, as long as it has run.
        """
        here = self.closed(now)
        if here.since is None or here.until is None:
            raise ConfigError("a report from the first call on has no period before it; give since=, such as 7d")
        if self.word:
            begin = self._start(cast("Window", self.word), here.since, back=1)
            return Period(begin, min(here.since, begin + (here.until - here.since)), self.tz)
        months = self._whole_months(here.since, here.until)
        if months:
            return Period(self._start("month", here.since, back=months), here.since, self.tz)
        days = self._whole_days(here.since, here.until)
        if days:
            return Period(self._start("day", here.since, back=days), here.since, self.tz)
        try:
            return Period(here.since - (here.until - here.since), here.since, self.tz)
        except OverflowError:
            raise ConfigError(f"there is no time as long as this before {here.since.isoformat()}") from None

    def _start(self, window: Window, at: datetime, back: int) -> datetime:
        """Of the window so many before the one of this moment."""
        start, _ = window_bounds(window, self.tz, _ns(at))
        for _ in range(back):
            start, _ = window_bounds(window, self.tz, start - 1)
        return as_utc(start)

    def _whole_months(self, since: datetime, until: datetime) -> int:
        if not (self._is_start("month", since) and self._is_start("month", until)):
            return 0
        first, last = since.astimezone(zone(self.tz)), until.astimezone(zone(self.tz))
        return (last.year - first.year) * 12 + last.month - first.month

    def _whole_days(self, since: datetime, until: datetime) -> int:
        if not (self._is_start("day", since) and self._is_start("day", until)):
            return 0
        # Half a day on: a midnight that the clocks leave out is shown as the hour after it.
        half = timedelta(hours=12)
        first, last = (since + half).astimezone(zone(self.tz)), (until + half).astimezone(zone(self.tz))
        return (last.date() - first.date()).days

    def _is_start(self, window: Window, at: datetime) -> bool:
        return window_bounds(window, self.tz, _ns(at))[0] == _ns(at)


def period(since: When, until: When, now: datetime, tz: str = "UTC") -> Period:
    """Read both ends. Raises ConfigError, naming the value, for one that cannot be read, or nothing between them."""
    zone(tz)
    begin, end = moment(since, now, what="since", tz=tz), moment(until, now, what="until", tz=tz)
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(f"since {begin.isoformat()} is not before until {end.isoformat()}: nothing lies between")
    word = _WORDS.get(since.strip().lower(), "") if isinstance(since, str) else ""
    return Period(begin, end, tz, word)


def moment(value: When, now: datetime, *, what: str, tz: str = "UTC") -> datetime | None:
    """A point in time, UTC; `what` names it in the ConfigError for one that cannot be read.

    A date, and a datetime without a zone, is one of `tz`; so is the beginning of "today", "week" and "month".
    """
    if value is None:
        return None
    found = None
    with suppress(ValueError, OverflowError):
        found = _read(value, now, tz)
    if found is None:
        raise ConfigError(f"{what} {value!r} is not a time; {_HOW}")
    if found.year not in _YEARS:
        raise ConfigError(f"{what} {value!r} is not a time between {_YEARS[0]} and {_YEARS[-1]}; {_HOW}")
    return found


def _read(value: When, now: datetime, tz: str) -> datetime | None:
    if isinstance(value, timedelta):
        return now - value
    if isinstance(value, datetime):
        return _utc(value, tz)
    if isinstance(value, str):
        text = value.strip()
        ago = _AGO.fullmatch(text.lower())
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if text.lower() in _WORDS:
            return as_utc(window_bounds(_WORDS[text.lower()], tz, _ns(now))[0])
        return _utc(datetime.fromisoformat(text), tz)
    if isinstance(value, date):
        return _utc(datetime(value.year, value.month, value.day), tz)
    return None


def buckets(grain: str, since_ns: int, until_ns: int, tz: str) -> list[tuple[int, int]]:
    """The hours, days, weeks (from Monday) or months of a zone that a time touches, the outer ones cut to it.

    Raises ConfigError for a grain that is none, or more than `MOST_BUCKETS`.
    """
    if grain not in GRAINS:
        raise ConfigError(f"grain {grain!r} is not one of {', '.join(GRAINS)}")
    found: list[tuple[int, int]] = []
    for start, end in _windows(cast("Window", grain), since_ns, until_ns, tz):
        if len(found) >= MOST_BUCKETS:
            raise ConfigError(
                f"{as_utc(since_ns):%Y-%m-%d} to {as_utc(until_ns):%Y-%m-%d} has more than {MOST_BUCKETS:,} "
                f"{grain}s; ask for a coarser grain, or a shorter time"
            )
        found.append((max(start, since_ns), min(end, until_ns)))
    return found


def _windows(grain: Window, since_ns: int, until_ns: int, tz: str) -> Iterator[tuple[int, int]]:
    at = since_ns
    while at < until_ns:
        start, end = window_bounds(grain, tz, at)
        assert end is not None  # noqa: S101 - calendar windows end
        yield start, end
        at = end


def day_ns(text: str) -> int:
    """When a UTC day begins, written "2026-11-22", or an hour of it, "2026-11-22T13"."""
    return _ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def at_ns(value: datetime | None) -> int | None:
    """Nanoseconds since 1970."""
    return None if value is None else _ns(value)


def show_moment(value: datetime | None) -> str | None:
    """For programs: ISO 8601."""
    return None if value is None else value.isoformat()


def _utc(value: datetime, tz: str) -> datetime:
    value = value.replace(tzinfo=zone(tz)) if value.tzinfo is None else value
    return value.astimezone(UTC)


def _ns(value: datetime) -> int:
    return (value - _EPOCH) // timedelta(microseconds=1) * 1000
