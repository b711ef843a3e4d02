"""The groups with the most, and what all others come to beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.reports.asked import Where, read_by, read_where
from costguard.reports.figures import Spend
from costguard.reports.period import Period, When, period, show_moment
from costguard.reports.plain import plain_share
from costguard.reports.ranking import measure
from costguard.reports.spend import Compare, other_period, sums_of


@dataclass(frozen=True, slots=True)
class Top:
    """The groups with the most of `order`, most first.

    groups: how many there are in all; `others` is what those beyond `rows` come to
    """

    by: tuple[str, ...]
    order: str
    period: Period
    rows: tuple[Spend, ...]
    others: Spend
    total: Spend
    groups: int

    def share(self, cost: Decimal) -> Decimal:
        """Part of the total, 0 to 1; 0 where nothing was spent."""
        return cost / self.total.cost if self.total.cost else Decimal(0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "by": list(self.by),
            "order": self.order,
            "since": show_moment(self.period.since),
            "until": show_moment(self.period.until),
            "currency": "USD",
            "groups": self.groups,
            "rows": [
                {"group": dict(row.group), "share": plain_share(self.share(row.cost)), **row.to_json()}
                for row in self.rows
            ],
            "others": self.others.to_json(),
            "total": self.total.to_json(),
        }


def top(
    ledger: Ledger,
    by: Sequence[str] | str = "user",
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    most: int = 10,
    order: str = "cost",
    compare: Compare = None,
    now: datetime | None = None,
) -> Top:
    """Rank groups by "cost", "calls", "tokens", "errors", "unpriced" (calls) or "repeats" (requests of the SDK).

    The rest is as for `spend`. Raises ConfigError for what cannot be read, StoreUnavailable if the store is away.
    """
    names, chosen = read_by(by), read_where(where)
    if not names:
        raise ConfigError("top of nothing: name what to rank, such as user or model")
    if most < 1:
        raise ConfigError(f"most={most} leaves no row; give 1 or more")
    now = now or datetime.now(UTC)
    time = period(since, until, now, tz)
    measured = measure(order)
    sums = sums_of(ledger, names, chosen, time)
    sums.sort(key=lambda one: (-measured(one), *one.group.values()))
    total = Spend.of({}, sums)
    rows = [Spend.of_one(one) for one in sums[:most]]
    others = Spend.of({}, sums[most:])
    before = other_period(compare, time, now, names)
    if before is not None:
        # Of one name only the groups that are shown are asked for.
        narrow = {**chosen, names[0]: [row.group[names[0]] for row in rows]} if len(names) == 1 and rows else chosen
        known = {tuple(one.group.values()): Spend.of_one(one) for one in sums_of(ledger, names, narrow, before)}
        rows = [row.beside(known.get(tuple(row.group.values()))) for row in rows]
        all_before = Spend.of({}, sums_of(ledger, (), chosen, before))
        total = total.beside(all_before)
        others = others.beside(all_before.without(row.before for row in rows if row.before is not None))
    return Top(names, order, time, tuple(rows), others, total, len(sums))
