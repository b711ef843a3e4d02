"""Spending over time: the largest groups, what is left of the others, and all of it, by hour, day, week or month."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.figures import Sum
from costguard.reports.asked import TIMES, Filter, Where, read_by, read_where
from costguard.reports.figures import Spend, total
from costguard.reports.period import GRAINS, HOUR_NS, Period, When, at_ns, buckets, day_ns, period, show_moment
from costguard.reports.plain import plain_usd
from costguard.reports.ranking import measure
from costguard.reports.spend import Compare, other_period, show_where, sums_of
from costguard.windows import as_utc

Buckets = list[tuple[int, int]]

_MOST_SINGLE = 400
"""Parts of a time that no rollup has the edges of."""


@dataclass(frozen=True, slots=True)
class Line:
    """One group over time; `points` are in the order of `Series.starts`. `group` is None for all the others."""

    group: Mapping[str, str] | None
    total: Spend
    points: tuple[Spend, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values: a list of each measure."""
        return {
            "group": None if self.group is None else dict(self.group),
            "total": self.total.to_json(),
            "cost": [plain_usd(point.cost) for point in self.points],
            **{
                name: [getattr(point, name) for point in self.points]
                for name in ("calls", "input_tokens", "output_tokens", "errors", "unpriced_calls")
            },
        }


@dataclass(frozen=True, slots=True)
class Series:
    """Spending over time. The lines add up to `total`, in each point.

    starts: of the points, UTC; a point goes to the next start, the last to `until`. The first and the last may be a
            part of their hour, day, week or month
    lines:  of the groups with the most, and one without a group for what the others come to, if there are others
    before: the total of the period that it is compared with, point by point; None where none was asked for. Its
            `total` is of all of that period, also where it has more points than this one
    """

    by: tuple[str, ...]
    grain: str
    tz: str
    since: datetime
    until: datetime
    where: Mapping[str, str | Sequence[str]]
    starts: tuple[datetime, ...]
    lines: tuple[Line, ...]
    total: Line
    before: Line | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: amounts as strings, moments in ISO 8601."""
        return {
            "by": list(self.by),
            "grain": self.grain,
            "tz": self.tz,
            "since": show_moment(self.since),
            "until": show_moment(self.until),
            "where": show_where(self.where),
            "currency": "USD",
            "starts": [show_moment(start) for start in self.starts],
            "lines": [line.to_json() for line in self.lines],
            "total": self.total.to_json(),
            "before": None if self.before is None else self.before.to_json(),
        }


def series(
    ledger: Ledger,
    by: Sequence[str] | str = (),
    *,
    grain: str = "day",
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    most: int = 8,
    order: str = "cost",
    compare: Compare = None,
    now: datetime | None = None,
) -> Series:
    """Cut a time into hours, days, weeks (from Monday) or months of a zone, and add up each.

    by, since, until, where, tz: as for `spend`; without `until` it goes to now
    most:    groups with a line of their own, those with the most of `order` ("cost", "calls", "tokens", "errors")
    compare: "previous", or (since, until): its total beside this one, the first point beside the first

    Raises ConfigError for what cannot be read, StoreUnavailable if the store is away.
    """
    names, chosen = read_by(by), read_where(where)
    if any(name in TIMES for name in names):
        raise ConfigError(f"by {','.join(names)} names a time; a series is cut by its grain: grain='hour'")
    now = now or datetime.now(UTC)
    if most < 1:
        raise ConfigError(f"most={most} leaves no line; give 1 or more")
    time = _closed(ledger, period(since, until, now, tz), chosen, now)
    cut = _cut(grain, time)
    groups = sums_of(ledger, names, chosen, time) if names else []
    measured = measure(order)
    top = sorted(groups, key=lambda one: (-measured(one), *one.group.values()))[:most]
    lines: list[Line] = []
    if names:
        narrow = chosen
        if len(names) == 1 and len(groups) > most:
            narrow = {**chosen, names[0]: [one.group[names[0]] for one in top]}
        found = points_of(ledger, names, narrow, cut)
        for one in top:
            points = found.get(tuple(one.group.values())) or [Spend({})] * len(cut)
            lines.append(Line(dict(one.group), total(points, one.group), tuple(points)))
    if names and len(groups) <= most:
        all_points = [total(line.points[place] for line in lines) for place in range(len(cut))]
    else:
        # Read last: calls go on meanwhile, and no line may have more than all of them.
        all_points = points_of(ledger, (), chosen, cut)[()]
    whole = Line({}, total(all_points), tuple(all_points))
    if len(groups) > most:
        rest = [point.without(line.points[place] for line in lines) for place, point in enumerate(whole.points)]
        lines.append(Line(None, total(rest), tuple(rest)))
    before = other_period(compare, time, now)
    if before is not None:
        before = _closed(ledger, before, chosen, now)
    assert time.since is not None and time.until is not None  # noqa: S101, PT018 - it was closed
    return Series(
        names, grain, tz, time.since, time.until, chosen, tuple([as_utc(start) for start, _ in cut]),
        tuple(lines), whole, None if before is None else _before(ledger, grain, chosen, before, len(cut)),
    )  # fmt: skip


def finest_grain(
    ledger: Ledger,
    points: int,
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    now: datetime | None = None,
) -> str | None:
    """By which a series of this time has at most so many points; None: by none."""
    now = now or datetime.now(UTC)
    time = _closed(ledger, period(since, until, now, tz), read_where(where), now)
    for grain in GRAINS:
        try:
            if len(_cut(grain, time)) <= points:
                return grain
        except ConfigError:  # more than a series has
            continue
    return None


def _closed(ledger: Ledger, time: Period, chosen: Filter, now: datetime) -> Period:
    """With both ends; the first call is looked for where no beginning was given."""
    if time.since is not None:
        return time.closed(now)
    until = time.until or now
    days = [one.group["day"] for one in ledger.sums(("day",), chosen, until_ns=at_ns(until))]
    begin = as_utc(day_ns(min(days))) if days else until
    return Period(min(begin, until), until, time.tz)


def _cut(grain: str, time: Period) -> Buckets:
    since, until = at_ns(time.since), at_ns(time.until)
    assert since is not None and until is not None  # noqa: S101, PT018 - it was closed
    return buckets(grain, since, until, time.tz)


def _before(ledger: Ledger, grain: str, chosen: Filter, before: Period, length: int) -> Line:
    points = points_of(ledger, (), chosen, _cut(grain, before))[()]
    shown = [*points[:length], *[Spend({})] * (length - len(points))]
    return Line({}, total(points), tuple(shown))


def points_of(
    ledger: Ledger, names: tuple[str, ...], chosen: Filter, cut: Buckets
) -> dict[tuple[str, ...], list[Spend]]:
    """For each group what it spent in each bucket, zeros included; without names, of all together: () is there even if
    nothing was spent."""
    found: dict[tuple[str, ...], list[list[Sum]]] = {} if names else {(): [[] for _ in cut]}
    for place, one in _placed(ledger, names, chosen, cut):
        group = tuple([one.group[name] for name in names])
        found.setdefault(group, [[] for _ in cut])[place].append(one)
    zero = Spend({})
    return {
        group: [Spend.of({}, sums) if sums else zero for sums in points] for group, points in found.items()
    }  # fmt: skip


def _placed(ledger: Ledger, names: tuple[str, ...], chosen: Filter, cut: Buckets) -> Iterable[tuple[int, Sum]]:
    """Sums, each within one bucket, with its place. Days and hours are those of UTC: other edges are asked singly."""
    if not cut:
        return
    bounds = Period(as_utc(cut[0][0]), as_utc(cut[-1][1]))
    inner = [start for start, _ in cut[1:]]
    for unit, length in (("day", 24 * HOUR_NS), ("hour", HOUR_NS)):
        if all(edge % length == 0 for edge in inner):
            starts = [cut[0][0], *inner]
            for one in sums_of(ledger, (unit, *names), chosen, bounds):
                yield max(0, bisect_right(starts, day_ns(one.group[unit])) - 1), one
            return
    if len(cut) > _MOST_SINGLE:
        raise ConfigError(
            f"{len(cut):,} parts that do not begin with an hour of UTC are each asked for by themselves; ask for at "
            f"most {_MOST_SINGLE} of them, a coarser grain, or tz=UTC"
        )
    for place, (start, end) in enumerate(cut):
        for one in sums_of(ledger, names, chosen, Period(as_utc(start), as_utc(end))):
            yield place, one
