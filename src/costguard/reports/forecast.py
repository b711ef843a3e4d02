"""What will be spent when a window ends, and when a limit will be reached; with a range, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.money import from_nanos, to_nanos, usd
from costguard.reports.asked import Filter, Where, read_where
from costguard.reports.past import Past, local_day, nothing, pasts
from costguard.reports.period import Period, at_ns, buckets, show_moment
from costguard.reports.plain import plain_usd, plain_usd_or_none
from costguard.reports.spend import show_where, sums_of
from costguard.windows import Window, as_utc, window_bounds, zone

WINDOWS = ("day", "week", "month")


@dataclass(frozen=True, slots=True)
class Ahead:
    """One day to come, and what will have been spent by its end: USD since the window began."""

    day: date
    expected: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where spending is heading, if it goes on as before.

    since, until: the window, UTC
    spent:     USD in it so far; calls without a price (`unpriced_calls`) are in no number
    expected:  USD when it ends; four of five times it was between `low` and `high` (docs/reports.md has how often)
    limit:     what it is held against, None: nothing
    reached:   the local day on which the limit will be reached, `earliest` and `latest` the days of the range; None:
               not before the window ends. A limit that is reached already has today
    days:      full days before today that it is made from, and how (`method`): "weekdays" (of each weekday),
               "weekends" (of working days and weekends), "level" (of all days alike), "today" (of what was spent since
               midnight: a guess), "nothing"
    path:      the days to come, in local days
    """

    window: str
    tz: str
    where: Mapping[str, str | Sequence[str]]
    now: datetime
    since: datetime
    until: datetime
    spent: Decimal
    expected: Decimal
    low: Decimal
    high: Decimal
    limit: Decimal | None
    reached: date | None
    earliest: date | None
    latest: date | None
    days: int
    method: str
    unpriced_calls: int
    path: tuple[Ahead, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; amounts as strings."""
        return {
            "window": self.window,
            "tz": self.tz,
            "where": show_where(self.where),
            "now": show_moment(self.now),
            "since": show_moment(self.since),
            "until": show_moment(self.until),
            "currency": "USD",
            "spent": plain_usd(self.spent),
            "expected": plain_usd(self.expected),
            "low": plain_usd(self.low),
            "high": plain_usd(self.high),
            "limit": plain_usd_or_none(self.limit),
            "reached": _iso(self.reached),
            "earliest": _iso(self.earliest),
            "latest": _iso(self.latest),
            "days": self.days,
            "method": self.method,
            "unpriced_calls": self.unpriced_calls,
            "path": [
                {
                    "day": one.day.isoformat(),
                    "expected": plain_usd(one.expected),
                    "low": plain_usd(one.low),
                    "high": plain_usd(one.high),
                }
                for one in self.path
            ],
        }


def forecast(
    ledger: Ledger,
    *,
    window: str = "month",
    where: Where | None = None,
    limit: Decimal | int | str | None = None,
    tz: str = "UTC",
    now: datetime | None = None,
) -> Forecast:
    """Look ahead to the end of the running window ("day", "week", "month" of a zone).

    where: only calls with these values, as for `spend`
    limit: USD; when will they be reached?

    Raises ConfigError for what cannot be read, StoreUnavailable if the store is away.
    """
    if window not in WINDOWS:
        raise ConfigError(f"window {window!r} is not one of {', '.join(WINDOWS)}")
    most = None if limit is None else usd(limit, what="limit")
    chosen = read_where(where)
    zone(tz)
    now = (now or datetime.now(UTC)).astimezone(UTC)
    now_ns = at_ns(now) or 0
    start, end = window_bounds(cast("Window", window), tz, now_ns)
    assert end is not None  # noqa: S101 - calendar windows end
    past = pasts(ledger, (), chosen, tz, now_ns).get((), nothing(tz, now_ns))
    # What has the time of this very moment is spent.
    sums = sums_of(ledger, (), chosen, Period(as_utc(start), min(as_utc(end), now + timedelta(microseconds=1))))
    return heading(
        Heading(window, tz, chosen, now, (start, end), sum(one.cost for one in sums)), past,
        None if most is None else to_nanos(most), sum(one.unpriced_calls for one in sums),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heading:
    """What a forecast is made of, beside the past: the window, and the nano-dollars spent in it so far."""

    window: str
    tz: str
    where: Filter
    now: datetime
    bounds: tuple[int, int]
    spent: int


def heading(of: Heading, past: Past, limit: int | None, unpriced_calls: int = 0) -> Forecast:
    """To the end of the window; `limit` in nano-dollars."""
    now_ns = at_ns(of.now) or 0
    (start, end), spent = of.bounds, of.spent
    expected, low, high = past.add_up(len(buckets("day", now_ns, end, of.tz)))
    today = local_day(now_ns, of.tz)
    path = [
        Ahead(today + timedelta(days=place), *[from_nanos(spent + line[place]) for line in (expected, low, high)])
        for place in range(len(expected))
    ]
    ends = [from_nanos(spent + line[-1]) for line in (expected, low, high)]
    left = None if limit is None else limit - spent
    return Forecast(
        window=of.window,
        tz=of.tz,
        where=of.where,
        now=of.now,
        since=as_utc(start),
        until=as_utc(end),
        spent=from_nanos(spent),
        expected=ends[0],
        low=ends[1],
        high=ends[2],
        limit=None if limit is None else from_nanos(limit),
        reached=_when(expected, left, today),
        earliest=_when(high, left, today),
        latest=_when(low, left, today),
        days=len(past.days),
        method=past.going.method,
        unpriced_calls=unpriced_calls,
        path=tuple(path),
    )


def _when(line: Sequence[int], left: int | None, today: date) -> date | None:
    if left is None:
        return None
    if left <= 0:
        return today
    return next((today + timedelta(days=place) for place, value in enumerate(line) if value >= left), None)


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
