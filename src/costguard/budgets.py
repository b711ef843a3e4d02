"""Budgets: rules, written in one line, and where each payer stands against them.

    $5/day per user
    $500/month
    $0.50/day per user,feature where environment=production
    $100/month per team where environment=production tz Europe/Berlin

`per` names the scope (one account for each value of these tags), `where` the calls it counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from json import dumps
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from costguard.errors import ConfigError
from costguard.money import from_nanos, show_usd, to_nanos, to_nanos_up, usd
from costguard.tags import Tags

Window = Literal["hour", "day", "week", "month", "ever"]
WINDOWS: tuple[str, ...] = get_args(Window)
Holds = Literal["learned", "strict"]

DEFAULT_ALERTS = (Decimal("0.5"), Decimal("0.8"), Decimal(1))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = r"[A-Za-z_]\w*"
_BUDGET = re.compile(
    rf"""\s* (?P<limit>\$?[\d.,_]+) \s* (?:/\s*(?P<window>[A-Za-z]+))?
    (?: \s+per\s+ (?P<per>{_NAME}(?:\s*,\s*{_NAME})*) )?
    (?: \s+where\s+ (?P<where>{_NAME}\s*=\s*[^\s,]+(?:\s*,\s*{_NAME}\s*=\s*[^\s,]+)*) )?
    (?: \s+tz\s+ (?P<tz>\S+) )? \s*""",
    re.VERBOSE,
)
_HOW = 'write it like "$5/day per user" or "$0.50/day per user,feature where environment=production"'


@dataclass(frozen=True, slots=True)
class Budget:
    """A rule: at most `limit` USD in each `window`, counted by the tags in `per`, of calls that match `where`.

    limit:   USD (Decimal, int or string; never a float)
    window:  hour, day, week (from Monday), month: calendar windows in time zone `tz`; or ever
    per:     tag names; each combination of their values is a payer with an account of its own.
             A call without one of these tags counts for the payer `unattributed`
    where:   tags and values that a call must have to be counted
    holds:   "learned" or "strict"; None takes the guard's
    alerts:  fractions of the limit at which people are told, once per payer and window
    name:    shown instead of the rule in messages

    Raises ConfigError for anything it cannot mean.
    """

    limit: Decimal
    window: Window = "day"
    per: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    tz: str = "UTC"
    holds: Holds | None = None
    alerts: tuple[Decimal, ...] = DEFAULT_ALERTS
    name: str = ""

    def __post_init__(self) -> None:
        limit = usd(self.limit, what="budget limit")
        if limit == 0:
            raise ConfigError("budget limit is $0, which would refuse every call; give an amount above zero")
        if self.window not in WINDOWS:
            raise ConfigError(f"budget window {self.window!r} is not one of {', '.join(WINDOWS)}")
        if self.holds not in (None, *get_args(Holds)):
            raise ConfigError(f"budget holds {self.holds!r} must be 'learned' or 'strict'")
        per = (self.per,) if isinstance(self.per, str) else tuple(self.per)
        where = Tags(self.where if isinstance(self.where, Mapping) else dict(self.where))
        Tags(dict.fromkeys(per, "x"))
        if len(set(per)) < len(per):
            raise ConfigError(f"budget scope per {','.join(per)} names a tag twice")
        alerts = []
        for alert in self.alerts:
            fraction = usd(alert, what="alert fraction")
            if not 0 < fraction <= 10:
                raise ConfigError(f'alert fraction {alert} must be above 0; "0.8" tells at 80 % of the limit')
            alerts.append(fraction)
        _zone(self.tz)
        for field, value in (
            ("limit", limit), ("per", per), ("where", tuple(where.items())), ("alerts", tuple(sorted(set(alerts)))),
        ):  # fmt: skip
            object.__setattr__(self, field, value)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget from one line; the reverse of `str(budget)`."""
        if not isinstance(text, str):
            raise ConfigError(f"budget {text!r} is a {type(text).__name__}, not a line of text; {_HOW}")
        match = _BUDGET.fullmatch(text)
        if match is None:
            raise ConfigError(f"budget {text!r} cannot be read; {_HOW}")
        window = (match["window"] or "").lower()
        if window not in WINDOWS:
            said = f"window {match['window']!r}" if window else "no window"
            raise ConfigError(f"budget {text!r} has {said}; use one of {', '.join(f'/{name}' for name in WINDOWS)}")
        try:
            return cls(
                limit=usd(match["limit"], what="limit"),
                window=window,  # type: ignore[arg-type]  # checked above
                per=tuple(re.split(r"\s*,\s*", match["per"])) if match["per"] else (),
                where=tuple(_pairs(match["where"]).items()),
                tz=match["tz"] or "UTC",
            )
        except ConfigError as error:
            raise ConfigError(f"budget {text!r}: {error}") from None

    def __str__(self) -> str:
        text = f"{show_usd(self.limit)}/{self.window}"
        if self.per:
            text += f" per {','.join(self.per)}"
        if self.where:
            text += f" where {','.join(f'{name}={value}' for name, value in self.where)}"
        return text if self.tz == "UTC" else f"{text} tz {self.tz}"

    @property
    def title(self) -> str:
        return self.name or str(self)

    @property
    def scope(self) -> tuple[str, ...]:
        return self.per

    @property
    def account(self) -> str:
        """What its balances are kept under. Without the limit, so that changing the limit keeps what was spent."""
        return _compact([self.window, self.tz, self.per, dict(self.where)])

    def counts(self, tags: Tags) -> bool:
        return all(tags.value(name) == value for name, value in self.where)

    def limit_for(self, tags: Tags, at_ns: int) -> Limit:
        """This budget applied to the payer of these tags, in the window of this moment."""
        start, end = window_bounds(self.window, self.tz, at_ns)
        return Limit(self, tuple((name, tags.value(name)) for name in self.per), start, end)


class Limit:
    """A budget applied to one payer in one window.

    key:         what its balance is stored under: account, payer and window start
    unit:        what it counts: "usd"; its integers are nano-dollars then
    most:        the limit, an integer of its unit
    marks:       the spending, in the unit, at which people are told, with the fraction it is
    start, end:  nanoseconds since 1970; end is None for `ever`
    """

    __slots__ = ("budget", "end", "key", "marks", "most", "payer", "start", "unit")

    def __init__(self, budget: Budget, payer: tuple[tuple[str, str], ...], start: int, end: int | None) -> None:
        self.budget = budget
        self.payer = payer
        self.start = start
        self.end = end
        self.unit = "usd"
        self.most = to_nanos(budget.limit)
        self.marks = tuple((to_nanos_up(budget.limit * fraction), fraction) for fraction in budget.alerts)
        self.key = f"{budget.account[:-1]},{_compact([value for _, value in payer])},{start // 10**9}]"

    @property
    def resets_at(self) -> datetime | None:
        return None if self.end is None else _EPOCH + timedelta(microseconds=self.end // 1000)

    def standing(self, spent: int, held: int) -> Standing:
        payer = ",".join(f"{name}={value}" for name, value in self.payer) or "everyone"
        return Standing(self.budget, payer, self.budget.limit, from_nanos(spent), from_nanos(held), self.resets_at)


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit and where it stands: amounts in USD, `resets_at` in UTC (None: never)."""

    budget: Budget
    payer: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    resets_at: datetime | None

    @property
    def remaining(self) -> Decimal:
        """What a new hold can take: never below zero."""
        return max(Decimal(0), self.limit - self.spent - self.held)

    def __str__(self) -> str:
        held = f" and {show_usd(self.held)} is held by running calls" if self.held else ""
        scope = f"per {','.join(self.budget.per)}, " if self.budget.per else ""
        resets = "never resets" if self.resets_at is None else f"resets {self.resets_at:%Y-%m-%dT%H:%MZ}"
        return (
            f"{self.payer} has spent {show_usd(self.spent)} of {show_usd(self.limit)}"
            f" ({scope}{self.budget.window}){held}; {resets}"
        )


def window_bounds(window: Window, tz: str, at_ns: int) -> tuple[int, int | None]:
    """Start and end of the calendar window around a moment, in nanoseconds since 1970.

    A day of 23 or 25 hours, as daylight saving makes them, starts and ends at local midnight.
    """
    if window == "ever":
        return 0, None
    if window == "hour" and tz == "UTC":
        start = at_ns - at_ns % (3600 * 10**9)
        return start, start + 3600 * 10**9
    zone = _zone(tz)
    now = (_EPOCH + timedelta(microseconds=at_ns // 1000)).astimezone(zone)
    if window == "hour":
        # In UTC arithmetic: a repeated local hour is two windows, not one of two hours.
        past = timedelta(minutes=now.minute, seconds=now.second, microseconds=now.microsecond)
        begin = now.astimezone(UTC) - past
        return _ns(begin), _ns(begin + timedelta(hours=1))
    day = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if window == "day":
        return _ns(day), _ns(day + timedelta(days=1))
    if window == "week":
        monday = day - timedelta(days=day.weekday())
        return _ns(monday), _ns(monday + timedelta(days=7))
    first = day.replace(day=1)
    return _ns(first), _ns((first + timedelta(days=32)).replace(day=1))


def _ns(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000


def _zone(tz: str) -> tzinfo:
    if tz == "UTC":
        return UTC
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError, TypeError):
        raise ConfigError(f"time zone {tz!r} is not known; use an IANA name such as Europe/Berlin or UTC") from None


def _compact(value: object) -> str:
    return dumps(value, separators=(",", ":"), ensure_ascii=False)


def _pairs(text: str | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in re.split(r"\s*,\s*", text) if text else ():
        name, _, value = part.partition("=")
        if name.strip() in pairs:
            raise ConfigError(f"where names the tag {name.strip()!r} twice")
        pairs[name.strip()] = value.strip()
    return pairs
