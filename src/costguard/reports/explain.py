"""Why spending changed: the change between two periods split into its causes, which add up to it exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.price_sums import PriceSum, price_sums
from costguard.money import exact_difference, exact_sum, from_nanos
from costguard.reports.asked import TIMES, Filter, Where, read_by, read_where
from costguard.reports.period import Period, When, period, show_moment
from costguard.reports.plain import plain_share, plain_usd
from costguard.reports.spend import Compare, other_period, show_where, sums_of
from costguard.reports.splitting import PARTS, split

_Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """What a group came to in one of the two periods; calls and tokens of the calls that have a price."""

    cost: Decimal = Decimal(0)
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    unpriced_calls: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "cost": plain_usd(self.cost),
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "unpriced_calls": self.unpriced_calls,
        }


@dataclass(frozen=True, slots=True)
class Explained:
    """The change of one group. `parts` are USD by `PARTS`, and add up to it. `group` is None for all the others."""

    group: Mapping[str, str] | None
    before: Side
    after: Side
    parts: Mapping[str, Decimal]

    @property
    def change(self) -> Decimal:
        return exact_difference(self.after.cost, self.before.cost)

    @property
    def change_share(self) -> Decimal | None:
        """0.1 for a tenth more; None where nothing was spent before."""
        return self.change / self.before.cost if self.before.cost else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts as strings."""
        return {
            "group": None if self.group is None else dict(self.group),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "change": plain_usd(self.change),
            "change_share": plain_share(self.change_share),
            "parts": {part: plain_usd(amount) for part, amount in self.parts.items()},
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The change from `before` to `after`, by group, the largest change first.

    Each part of `total` is the sum of that part of the rows, so with groups a shift from a cheap one to a dear one is
    in the volumes of the two. Calls without a price are in no part: they are counted beside it, on each side.
    """

    by: tuple[str, ...]
    before: Period
    after: Period
    where: Mapping[str, str | Sequence[str]]
    rows: tuple[Explained, ...]
    total: Explained

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "by": list(self.by),
            "before": {"since": show_moment(self.before.since), "until": show_moment(self.before.until)},
            "after": {"since": show_moment(self.after.since), "until": show_moment(self.after.until)},
            "where": show_where(self.where),
            "currency": "USD",
            "parts": list(PARTS),
            "rows": [row.to_json() for row in self.rows],
            "total": self.total.to_json(),
        }


def explain(
    ledger: Ledger,
    by: Sequence[str] | str = (),
    *,
    since: When = "7d",
    until: When = None,
    compare: Compare = "previous",
    where: Where | None = None,
    tz: str = "UTC",
    most: int = 20,
    now: datetime | None = None,
) -> Explanation:
    """Split the change from one period to another.

    by:      also for each group of these, such as "feature"
    since, until: the later period; `compare`: the earlier one, "previous" or (since, until)
    most:    groups with a row of their own, those that changed most; the others have one together

    Raises ConfigError for what cannot be read, StoreUnavailable if the store is away.
    """
    names, chosen = read_by(by), read_where(where)
    if any(name in TIMES for name in names):
        raise ConfigError(f"by {','.join(names)} names a time; the two periods are the time of this report")
    if most < 1:
        raise ConfigError(f"most={most} leaves no row; give 1 or more")
    now = now or datetime.now(UTC)
    after = period(since, until, now, tz)
    before = other_period(compare, after, now)
    if before is None:
        raise ConfigError('a change needs two periods: compare="previous", or (since, until)')
    after = after.closed(now)
    sides = [_by_group(ledger, names, chosen, time) for time in (before, after)]
    unpriced = [_unpriced(ledger, names, chosen, time) for time in (before, after)]
    changes = {
        group: _cost(sides[1].get(group, ())) - _cost(sides[0].get(group, ()))
        for group in {**sides[0], **sides[1], **unpriced[0], **unpriced[1]}
    }
    ranked = sorted(changes, key=lambda group: (-abs(changes[group]), group))
    shown = [[group] for group in ranked[:most]] + ([ranked[most:]] if len(ranked) > most else [])
    rows = []
    for groups in shown:
        one = dict(zip(names, groups[0], strict=True)) if len(groups) == 1 else None
        each = [
            ([sum_ for group in groups for sum_ in side.get(group, ())], sum(bare.get(group, 0) for group in groups))
            for side, bare in zip(sides, unpriced, strict=True)
        ]
        rows.append(_explained(one, each[0], each[1]))
    return Explanation(names, before, after, chosen, tuple(rows) if names else (), _total(rows))


def _by_group(ledger: Ledger, names: tuple[str, ...], chosen: Filter, time: Period) -> dict[_Group, list[PriceSum]]:
    found: dict[_Group, list[PriceSum]] = {}
    for one in price_sums(ledger, names, chosen, **time.bounds):
        found.setdefault(tuple([one.group[name] for name in names]), []).append(one)
    return found


def _unpriced(ledger: Ledger, names: tuple[str, ...], chosen: Filter, time: Period) -> dict[_Group, int]:
    sums = sums_of(ledger, names, chosen, time)
    return {tuple(one.group.values()): one.unpriced_calls for one in sums if one.unpriced_calls}


def _cost(sums: Iterable[PriceSum]) -> int:
    return sum(one.cost for one in sums)


def _explained(
    group: Mapping[str, str] | None, before: tuple[list[PriceSum], int], after: tuple[list[PriceSum], int]
) -> Explained:
    parts = split(before[0], after[0])
    return Explained(
        group, _side(*before), _side(*after), {part: from_nanos(nanos) for part, nanos in parts.items()}
    )  # fmt: skip


def _side(sums: Sequence[PriceSum], unpriced: int) -> Side:
    return Side(
        from_nanos(_cost(sums)),
        sum(one.calls for one in sums),
        sum(one.input_tokens for one in sums),
        sum(one.output_tokens for one in sums),
        sum(one.cache_read_tokens for one in sums),
        unpriced,
    )


def _total(rows: Sequence[Explained]) -> Explained:
    def added(sides: list[Side]) -> Side:
        return Side(
            exact_sum(side.cost for side in sides),
            sum(side.calls for side in sides),
            sum(side.input_tokens for side in sides),
            sum(side.output_tokens for side in sides),
            sum(side.cache_read_tokens for side in sides),
            sum(side.unpriced_calls for side in sides),
        )

    parts = {part: exact_sum(row.parts[part] for row in rows) for part in PARTS}
    return Explained({}, added([row.before for row in rows]), added([row.after for row in rows]), parts)
