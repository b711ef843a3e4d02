"""Quiet hours: what can wait until the morning waits, and then comes as one message."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

from costguard.alerts.alert import Alert, Channel
from costguard.alerts.rules_alert import RuleAlert
from costguard.errors import ConfigError
from costguard.windows import zone

_HOURS = re.compile(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*")


def urgent(alert: Alert) -> bool:
    """What is told in quiet hours too: refusals, budgets that are used up or burn fast, and a journal that fills."""
    if alert.kind == "burn":
        # Of the two pairs of the SRE workbook the fast one is what people are woken for.
        return not (isinstance(alert, RuleAlert) and alert.rule.startswith("burn slow"))
    return alert.refused or alert.kind in ("refusals", "journal") or (alert.kind == "budget" and alert.fraction >= 1)


class Quiet:
    """A channel that is quiet at some hours. Made by `quiet`."""

    def __init__(
        self,
        channel: Channel,
        hours: tuple[time_of_day, time_of_day],
        tz: str,
        urgent: Callable[[Alert], bool],
        now_ns: Callable[[], int],
    ) -> None:
        self._channel = channel
        self._begin, self._end = hours
        self._tz, self._zone = tz, zone(tz)
        self._urgent = urgent
        self._now_ns = now_ns
        # Of the channel inside: the outbox knows by it who was told.
        self.name = getattr(channel, "name", "") or getattr(channel, "__qualname__", "") or type(channel).__qualname__
        self.folds = bool(getattr(channel, "folds", False))
        self.threads = bool(getattr(channel, "threads", False))

    def __repr__(self) -> str:
        return f"quiet({self._channel!r}, '{self._begin:%H:%M}-{self._end:%H:%M}', tz={self._tz!r})"

    def prepare(self) -> None:
        prepare = getattr(self._channel, "prepare", None)
        if prepare is not None:
            prepare()

    def __call__(self, alert: Alert) -> Any:
        return self._channel(alert)

    def reply(self, alert: Alert, first: str) -> Any:
        """See `costguard.alerts.alert.Channel`."""
        return self._channel.reply(alert, first)  # type: ignore[attr-defined]  # asked for only where it threads

    def holds_back(self, alert: Alert) -> float | None:
        """Seconds until this alert may be told; None: now."""
        now = datetime.fromtimestamp(self._now_ns() // 10**9, UTC).astimezone(self._zone)
        begin, end, at = self._begin, self._end, now.time()
        inside = begin <= at < end if begin < end else at >= begin or at < end
        if not inside or self._urgent(alert):
            return None
        # Of an hour that clocks show twice, in the same one.
        over = datetime.combine(now.date(), end.replace(fold=now.fold), self._zone)
        if over <= now:
            over = datetime.combine(now.date() + timedelta(days=1), end, self._zone)
        # In UTC: the clocks may change in between.
        return max(1.0, (over.astimezone(UTC) - now.astimezone(UTC)).total_seconds())


def quiet(
    channel: Channel,
    hours: str,
    *,
    tz: str = "UTC",
    urgent: Callable[[Alert], bool] = urgent,
    now_ns: Callable[[], int] = time.time_ns,
) -> Quiet:
    """A channel that keeps alerts for later at these hours.

    quiet(slack(url), "22:00-07:00", tz="Europe/Berlin")

    hours:   from when until when, every day; may go over midnight
    urgent:  alerts that are told all the same; by default refusals, budgets that are used up or burn fast, and a
             journal that fills

    Raises ConfigError for hours or a time zone that are none.
    """
    if not callable(channel):
        raise ConfigError(f"quiet() is given a {type(channel).__name__}, not a channel: quiet(slack(url), {hours!r})")
    found = _HOURS.fullmatch(hours) if isinstance(hours, str) else None
    if found is None:
        raise ConfigError(f"quiet hours {hours!r} are not two times of the day; write them as '22:00-07:00'")
    first, second, third, fourth = map(int, found.groups())
    if max(first, third) > 23 or max(second, fourth) > 59:
        raise ConfigError(f"quiet hours {hours!r} name a time that no clock shows; write them as '22:00-07:00'")
    begin, end = time_of_day(first, second), time_of_day(third, fourth)
    if begin == end:
        raise ConfigError(f"quiet hours {hours!r} are never or always; leave the channel out instead")
    return Quiet(channel, (begin, end), tz, urgent, now_ns)
