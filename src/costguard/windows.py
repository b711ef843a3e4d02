"""Windows of time that a budget is counted in: calendar windows in a time zone, and rolling spans cut in buckets."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from costguard.errors import ConfigError

Window = Literal["hour", "day", "week", "month", "ever", "rolling", "call", "request"]
WINDOWS: tuple[str, ...] = get_args(Window)

LOCAL_WINDOWS = ("call", "request")
"""Counted in the process that makes the call: they have no balance in any ledger."""

LONGEST_SPAN = timedelta(days=3660)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = _EPOCH.date()
_HOUR_NS = 3600 * 10**9
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_SPAN = re.compile(r"(\d{1,7})([mhdw])")
_SPAN_UNITS = {"m": _MINUTE, "h": _HOUR, "d": _DAY, "w": timedelta(weeks=1)}
_BUCKETS = 30
_WIDTHS = (1, 2, 3, 5, 6, 10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720)
"""Minutes. Each divides a day, so that a bucket is the same in every process."""


def window_bounds(window: Window, tz: str, at_ns: int, span: timedelta | None = None) -> tuple[int, int | None]:
    """Start and end of the window around a moment, in nanoseconds since 1970; the bucket, for a rolling one.

    A day of 23 or 25 hours, as daylight saving makes them, starts and ends at local midnight.
    """
    if window == "hour":
        return _hour(tz, at_ns)
    if window == "rolling":
        if span is None:
            raise ConfigError('a rolling window needs a span; write it like "$20/30d"')
        return bucket_bounds(span, tz, at_ns)
    if window in ("ever", *LOCAL_WINDOWS):
        return 0, None
    place = zone(tz)
    first = _local_day(at_ns, place)
    if window == "day":
        after = first + _DAY
    elif window == "week":
        first -= timedelta(days=first.weekday())
        after = first + timedelta(days=7)
    else:
        first = first.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return _midnight(first, place), _midnight(after, place)


def _hour(tz: str, at_ns: int) -> tuple[int, int]:
    """The time that local clocks show one hour of one day at one offset: a repeated hour is two windows, and
    an hour that a change of the clocks cuts short (Lord Howe changes by half an hour) is a short one."""
    if tz == "UTC":
        start = at_ns - at_ns % _HOUR_NS
        return start, start + _HOUR_NS
    place = zone(tz)
    now = as_utc(at_ns)
    local = now.astimezone(place)
    begin = now - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    end = begin + _HOUR
    offset = local.utcoffset()
    if begin.astimezone(place).utcoffset() != offset:
        begin = _change(place, begin, now)
    if (end - timedelta.resolution).astimezone(place).utcoffset() != offset:
        end = _change(place, now, end)
    return _ns(begin), _ns(end)


def _change(place: tzinfo, before: datetime, after: datetime) -> datetime:
    """The second, between two moments in UTC of different offsets, at which the clocks change."""
    offset = before.astimezone(place).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        same = datetime.fromtimestamp(middle, UTC).astimezone(place).utcoffset() == offset
        low, high = (middle, high) if same else (low, middle)
    return datetime.fromtimestamp(high, UTC)


def bucket_width(span: timedelta) -> timedelta:
    """How finely a rolling window rolls: about a thirtieth of its span, in whole minutes, hours or days.

    What was spent counts for the span and up to one bucket longer, never shorter.
    """
    least = -(-span // (_BUCKETS * _MINUTE))
    for minutes in _WIDTHS:
        if minutes >= least:
            return timedelta(minutes=minutes)
    return timedelta(days=-(-least // 1440))


def bucket_bounds(span: timedelta, tz: str, at_ns: int) -> tuple[int, int]:
    """Start and end of the bucket around a moment. Buckets of days start at local midnight, others are cut in UTC."""
    width = bucket_width(span)
    if width < _DAY:
        width_ns = width // _MINUTE * 60 * 10**9
        start = at_ns - at_ns % width_ns
        return start, start + width_ns
    place = zone(tz)
    number = (_local_day(at_ns, place) - _FIRST_DAY).days // width.days
    return _bucket_of_days(place, number, width.days)


def buckets_beside(span: timedelta, tz: str, at_ns: int) -> tuple[tuple[int, int], ...]:
    """The buckets that count in the one around a moment: the earlier ones that the span reaches, oldest first, and
    the next one, in which a host whose clock is ahead may have spent already."""
    width = bucket_width(span)
    start, end = bucket_bounds(span, tz, at_ns)
    if width < _DAY:
        oldest = bucket_bounds(span, tz, start - span // _MINUTE * 60 * 10**9)[0]
        return tuple((at, at + end - start) for at in range(oldest, end + 1, end - start) if at != start)
    place = zone(tz)
    number = (_local_day(start, place) - _FIRST_DAY).days // width.days
    oldest = (number * width.days - -(-span // _DAY)) // width.days
    return tuple(_bucket_of_days(place, each, width.days) for each in range(oldest, number + 2) if each != number)


def _bucket_of_days(place: tzinfo, number: int, days: int) -> tuple[int, int]:
    first = _FIRST_DAY + timedelta(days=number * days)
    return _midnight(first, place), _midnight(first + timedelta(days=days), place)


def read_span(text: str) -> timedelta | None:
    """A text such as "30d" as a span: m minutes, h hours, d days, w weeks. None if it is not one."""
    match = _SPAN.fullmatch(text)
    return None if match is None else int(match[1]) * _SPAN_UNITS[match[2]]


def show_span(span: timedelta) -> str:
    """The shortest text that `read_span` reads as this span: "24h" and "30d", "90m"."""
    for letter, unit, least in (("d", _DAY, 2 * _DAY), ("h", _HOUR, _HOUR), ("m", _MINUTE, _MINUTE)):
        if span >= least and not span % unit:
            return f"{span // unit}{letter}"
    raise ConfigError(f"span {span} is not in whole minutes; the shortest is timedelta(minutes=1)")


def read_window(window: str, span: object) -> tuple[Window, timedelta | None]:
    """The name of a window and its span, from either way to say it: "30d", or "rolling" and a timedelta.

    Raises ConfigError for what cannot be a window.
    """
    said = read_span(window) if isinstance(window, str) else None
    if said is not None:
        if span not in (None, said):
            raise ConfigError(f"budget window {window!r} and span {span} differ; give one of them")
        window, span = "rolling", said
    if window not in WINDOWS:
        raise ConfigError(f"budget window {window!r} is not one of {', '.join(WINDOWS)}, nor a span such as 30d")
    if (window == "rolling") != (span is not None):
        raise ConfigError(f'budget window {window!r} with span {span}: a span, such as "30d", goes with "rolling"')
    return window, None if span is None else _checked(span)  # type: ignore[return-value]  # it is one of WINDOWS


def _checked(span: object) -> timedelta:
    if not isinstance(span, timedelta):
        raise ConfigError(f"span {span!r} is not a timedelta; give timedelta(days=30), or write the window as /30d")
    if not _MINUTE <= span <= LONGEST_SPAN or span % _MINUTE:
        raise ConfigError(f"span {span} must be whole minutes, from one to {LONGEST_SPAN.days} days")
    return span


def zone(tz: str) -> tzinfo:
    """The time zone of this IANA name. Raises ConfigError for one that is not known."""
    if tz == "UTC":
        return UTC
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError, TypeError):
        raise ConfigError(f"time zone {tz!r} is not known; use an IANA name such as Europe/Berlin or UTC") from None


def as_utc(at_ns: int) -> datetime:
    """Nanoseconds since 1970 as a moment in UTC."""
    return _EPOCH + timedelta(microseconds=at_ns // 1000)


def _local_day(at_ns: int, place: tzinfo) -> date:
    """The date that began at the latest local midnight: not what clocks show that went back, or on, over midnight."""
    day = as_utc(at_ns).astimezone(place).date()
    if at_ns >= _midnight(day + _DAY, place):
        return day + _DAY
    return day if at_ns >= _midnight(day, place) else day - _DAY


def _midnight(day: date, place: tzinfo) -> int:
    return _ns(datetime(day.year, day.month, day.day, tzinfo=place))


def _ns(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
