"""How old the prices are: old prices are wrong prices, and nobody notices."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

log = logging.getLogger("costguard")

WARN_DAYS = 14
ALERT_DAYS = 45
_DAY = 86_400 * 10**9
_LOOK_AGAIN = 3_600 * 10**9


@dataclass(frozen=True, slots=True)
class StalePrices:
    """A price list that nobody has renewed for `days`; `dated` is when it was written or fetched, UTC."""

    source: str
    dated: datetime
    days: int


class Ages:
    """Warns once when a list gets 14 days old, and tells once when it gets 45.

    told: hears of lists older than 45 days; what it raises is logged
    """

    def __init__(self, told: Callable[[StalePrices], object] | None = None) -> None:
        self.told = told
        self._said: set[tuple[str, int, int]] = set()
        self.next_ns = 0

    def look(self, dated: Sequence[tuple[str, int | None]], now_ns: int | None = None) -> list[StalePrices]:
        """Look at lists by name and date (nanoseconds since 1970, None: unknown); those past 14 days."""
        now = time.time_ns() if now_ns is None else now_ns
        self.next_ns = now + _LOOK_AGAIN
        found = []
        for name, dated_ns in dated:
            if dated_ns is None or now - dated_ns < WARN_DAYS * _DAY:
                continue
            days = (now - dated_ns) // _DAY
            stale = StalePrices(name, datetime.fromtimestamp(dated_ns // 10**9, UTC), days)
            found.append(stale)
            past = ALERT_DAYS if days >= ALERT_DAYS else WARN_DAYS
            key = (name, dated_ns, past)
            if key in self._said:
                continue
            self._said.add(key)
            log.warning(
                "the prices of %s are %d days old (%s); renew them: see `costguard prices sources`",
                name, days, stale.dated.date(),
            )  # fmt: skip
            if past == ALERT_DAYS and self.told is not None:
                try:
                    self.told(stale)
                except Exception:
                    log.exception("nobody could be told that the prices of %s are old", name)
        return found


def age_days(dated_ns: int | None, now_ns: int | None = None) -> int | None:
    """Whole days since a date, None if it is not known."""
    if dated_ns is None:
        return None
    return max(0, ((time.time_ns() if now_ns is None else now_ns) - dated_ns) // _DAY)
