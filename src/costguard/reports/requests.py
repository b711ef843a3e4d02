"""What HTTP requests have cost, by route: of apps that count them with `RequestCosts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.buckets import percentile
from costguard.ledger.figures import any_of
from costguard.money import from_nanos
from costguard.reports.asked import Filter, Where, read_by, read_where
from costguard.reports.period import Period, When, at_ns, period, show_moment
from costguard.reports.plain import plain_usd, plain_usd_or_none

TAGS = ("environment", "feature", "route")
"""What requests are counted by."""

NUMBER, COST, CALLS, UNPRICED = "request", "request_cost", "request_calls", "request_unpriced"
"""Names of the counts: requests of each size, and what they come to: nano-dollars, calls, calls without a price."""

_ALWAYS = 1 << 62


@dataclass(frozen=True, slots=True)
class Requests:
    """Those of one group that made at least one call; USD of their calls that have a price.

    p50, p95: half of them, and 95 of 100, cost at most so much, at most 5 % off; None without any
    """

    group: Mapping[str, str]
    requests: int
    calls: int
    unpriced_calls: int
    cost: Decimal
    p50: Decimal | None
    p95: Decimal | None

    @property
    def mean(self) -> Decimal | None:
        return self.cost / self.requests if self.requests else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts as strings."""
        return {
            "group": dict(self.group),
            "requests": self.requests,
            "calls": self.calls,
            "unpriced_calls": self.unpriced_calls,
            "cost": plain_usd(self.cost),
            "p50": plain_usd_or_none(self.p50),
            "p95": plain_usd_or_none(self.p95),
        }


@dataclass(frozen=True, slots=True)
class RequestReport:
    """By group, dearest first. A request counts in the hour (UTC) of its first call: the ends are as coarse."""

    by: tuple[str, ...]
    period: Period
    rows: tuple[Requests, ...]
    total: Requests

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "by": list(self.by),
            "since": show_moment(self.period.since),
            "until": show_moment(self.period.until),
            "currency": "USD",
            "rows": [row.to_json() for row in self.rows],
            "total": self.total.to_json(),
        }


class _Added:
    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.sums: dict[str, int] = {}


def requests(
    ledger: Ledger,
    by: Sequence[str] | str = "route",
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    now: datetime | None = None,
) -> RequestReport:
    """By "route", "feature" or "environment", which requests are counted by; the rest is as for `spend`.

    Empty where no guard has the hook `RequestCosts`. Raises ConfigError for another name, StoreUnavailable.
    """
    from costguard.ledger.alert_state import alert_state

    names, chosen = read_by(by), read_where(where)
    for name in (*names, *chosen):
        if name not in TAGS:
            raise ConfigError(f"requests are not counted by {name!r}; only by {', '.join(TAGS)}")
    time = period(since, until, now or datetime.now(UTC), tz)
    found: dict[tuple[str, ...], _Added] = {}
    whole = _Added()
    state = alert_state(ledger)
    for kind in (NUMBER, COST, CALLS, UNPRICED):
        for one in state.counts(kind, at_ns(time.since) or 0, at_ns(time.until) or _ALWAYS):
            about = one.about
            tags = about.get("tags") or {}
            if _matches(tags, chosen):
                group = tuple([str(tags.get(name, "")) for name in names])
                for added in (found.setdefault(group, _Added()), whole):
                    if kind == NUMBER:
                        size = int(about.get("size", 0))
                        added.sizes[size] = added.sizes.get(size, 0) + one.count
                    else:
                        added.sums[kind] = added.sums.get(kind, 0) + one.count
    rows = [_row(dict(zip(names, group, strict=True)), added) for group, added in found.items()]
    rows.sort(key=lambda row: (-row.cost, *row.group.values()))
    return RequestReport(names, time, tuple(rows) if names else (), _row({}, whole))


def _matches(tags: Mapping[str, Any], chosen: Filter) -> bool:
    return all(tags.get(name) in any_of(value) for name, value in chosen.items())


def _row(group: Mapping[str, str], added: _Added) -> Requests:
    half, most = percentile(added.sizes, 50), percentile(added.sizes, 95)
    return Requests(
        group,
        sum(added.sizes.values()),
        added.sums.get(CALLS, 0),
        added.sums.get(UNPRICED, 0),
        from_nanos(added.sums.get(COST, 0)),
        None if half is None else from_nanos(half),
        None if most is None else from_nanos(most),
    )
