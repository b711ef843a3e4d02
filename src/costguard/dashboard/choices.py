"""What a person can choose on a page: the time, what it is broken down by, how finely; each choice is an address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from costguard.dashboard.query import WHERE, Query
from costguard.dashboard.view import View
from costguard.reports.asked import COLUMNS, FILTERS, TIMES
from costguard.reports.period import Period, moment, period
from costguard.reports.spend import Compare
from costguard.windows import zone

PERIODS = (("24h", "24 h"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"), ("month", "This month"))
USUAL = "30d"
TAGS = ("user", "feature", "environment", "route")
"""Every ledger is asked for these; others are shown where calls have them."""

_LOOKED_AT = 200
"""Newest calls whose tags are looked at for names to break down by."""

_AGO = re.compile(r"(\d{1,6})([dhw])")
_HOURS_UP_TO = timedelta(days=3)
_DAYS_UP_TO = timedelta(days=120)


@dataclass(frozen=True, slots=True)
class Choice:
    """One link of several; `value` is what it puts into the address."""

    value: str
    text: str
    url: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """The time that is looked at, and the choices beside it.

    since, until: UTC; until None: now
    compare:      what `spend` and `series` take for the period before
    text:         in words, for headings
    """

    since: datetime | None
    until: datetime | None
    compare: Compare
    tz: str
    periods: Sequence[Choice]
    text: str
    now: datetime

    @property
    def asked(self) -> dict[str, Any]:
        """For every report."""
        return {"since": self.since, "until": self.until, "tz": self.tz, "now": self.now}

    @property
    def length(self) -> timedelta | None:
        return None if self.since is None else (self.until or self.now) - self.since

    @property
    def field_since(self) -> str:
        return _field(self.since, self.tz)

    @property
    def field_until(self) -> str:
        return _field(self.until, self.tz)


def times(view: View, query: Query, usual: str = USUAL) -> Chosen:
    """Read since=, until= and tz=. Raises ConfigError for what is no time.

    "7d" is seven days with today as the last, from midnight on, "24h" as many hours with the running one: bars then
    are whole ones, and the time before, as far as this one has come, begins at the same hour of the same weekday.
    """
    now, tz = view.now, query.get("tz", "UTC")
    since, until = query.get("since", usual), query.get("until")
    read = period(since, until or None, now, tz)
    begin, compare = read.since, cast("Compare", "previous" if read.since else None)
    ago = _AGO.fullmatch(since)
    if ago and not until and begin is not None:
        length = now - begin
        if ago[2] == "h":
            begin = begin.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        else:
            begin = moment(
                (begin.astimezone(zone(tz)).date() + timedelta(days=1)).isoformat(), now, what="since", tz=tz
            )
        compare = (begin - length, now - length) if begin is not None else None
    words = {"24h": "the last 24 hours", "month": "this month"}
    text = words.get(since) or next((f"the last {text}" for value, text in PERIODS if value == since), "")
    choices = tuple([
        Choice(value, text, query.href(since=value, until=None, before=None, grain=None), since == value and not until)
        for value, text in PERIODS
    ])  # fmt: skip
    return Chosen(begin, read.until, compare, tz, choices, text if text and not until else _between(read), now)


def names_of(view: View) -> tuple[str, ...]:
    """What calls can be broken down by: provider and the like, the usual tags, and others that calls have."""
    own: dict[str, None] = {}
    for entry in view.ledger.entries({}, limit=_LOOKED_AT):
        own.update(dict.fromkeys(sorted(entry.tags)))
    return tuple(dict.fromkeys(("model", "provider", *TAGS, *own, "operation", "status")))


def breakdowns(query: Query, names: Iterable[str], chosen: Sequence[str], **cleared: None) -> tuple[Choice, ...]:
    """One name at a time."""
    return tuple(Choice(name, name, query.href(by=name, **cleared), (name,) == tuple(chosen)) for name in names)


def grain_for(query: Query, chosen: Chosen) -> str:
    """The one asked for, else one that makes between twenty and a hundred bars."""
    length = chosen.length
    if query.get("grain") or length is None:
        return query.get("grain", "day")
    return "hour" if length <= _HOURS_UP_TO else "day" if length <= _DAYS_UP_TO else "week"


def grains(query: Query, grain: str, chosen: Chosen) -> tuple[Choice, ...]:
    """Those that make a chart of at most some hundred bars."""
    length = chosen.length
    fitting = [
        name
        for name, least, most in (("hour", 0, 14), ("day", 2, 400), ("week", 14, 3000), ("month", 60, 99999))
        if length is not None and timedelta(days=least) <= length <= timedelta(days=most)
    ]
    return tuple(Choice(name, name.capitalize(), query.href(grain=name), name == grain) for name in fitting)


def filters(names: Iterable[str]) -> tuple[str, ...]:
    """Names that calls can be chosen by."""
    return tuple(name for name in names if name not in TIMES and (name in FILTERS or name not in COLUMNS))


def _between(read: Period) -> str:
    since = "the first call" if read.since is None else f"{read.since:%Y-%m-%d %H:%M}"
    until = "now" if read.until is None else f"{read.until:%Y-%m-%d %H:%M}"
    return f"{since} to {until} UTC".replace(" 00:00", "")


def _field(at: datetime | None, tz: str) -> str:
    """For a field of the kind datetime-local: what is sent from it is read as a time of the zone in the address."""
    return "" if at is None else f"{at.astimezone(zone(tz)):%Y-%m-%dT%H:%M}"


def normal(query: Query) -> Query:
    """With the filter that was just filled in (`filter=feature&value=chat`) as one of the filters."""
    name, value = query.get("filter"), query.get("value").strip()
    if not name and not value:
        return query
    items = [(key, was) for key, was in query if key not in ("filter", "value", "before")]
    return Query([*items, (WHERE + name, value)] if name.isidentifier() and value else items)
