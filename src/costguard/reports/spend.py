"""Who spent what: the ledger's entries added up, with what the total does not say beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from costguard.errors import ConfigError
from costguard.ledger.base import LEASE, Ledger
from costguard.ledger.figures import Sum
from costguard.money import exact_sum
from costguard.reports.asked import COLUMNS, TIMES, Filter, Where, read_by, read_where, tags_of
from costguard.reports.figures import Spend
from costguard.reports.period import Period, When, moment, period, show_moment
from costguard.reports.plain import plain_share, plain_usd
from costguard.reports.refused import by_group, counted
from costguard.reports.unpriced import Unpriced, unpriced
from costguard.tags import UNATTRIBUTED

__all__ = ["COLUMNS", "Compare", "Spend", "SpendReport", "When", "moment", "plain_usd", "spend"]

Compare = Literal["previous"] | tuple[When, When] | None
"""The period before, or any other one: (since, until)."""


@dataclass(frozen=True, slots=True)
class SpendReport:
    """Spending by group, dearest first (by date if grouped by day or hour first).

    by:           the names it is grouped by: tags, or `COLUMNS`
    since, until: UTC, `until` not included; None: from the first, to the last
    where:        what every call has, by name
    unattributed: USD of the rows that lack at least one of the tags asked for
    unpriced:     the models without a price, with near names
    lost_leases:  USD charged on budgets for leases of workers that died, each budget for itself; in no row
    before:       the period that it is compared with; then each row and the total have one beside it, and groups of
                  which nothing is left are rows without calls

    A group all of whose calls were refused is a row without calls, too.
    """

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    where: Mapping[str, str | Sequence[str]]
    rows: tuple[Spend, ...]
    total: Spend
    unattributed: Decimal = field(default=Decimal(0))
    lost_leases: Decimal = field(default=Decimal(0))
    unpriced: tuple[Unpriced, ...] = ()
    before: Period | None = None

    def share(self, cost: Decimal) -> Decimal:
        """Part of the total, 0 to 1; 0 where nothing was spent."""
        return cost / self.total.cost if self.total.cost else Decimal(0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: amounts as strings, moments in ISO 8601."""
        told: dict[str, Any] = {
            "by": list(self.by),
            "since": show_moment(self.since),
            "until": show_moment(self.until),
            "where": show_where(self.where),
            "currency": "USD",
            "total": self.total.to_json(),
            "unattributed": {
                "cost": plain_usd(self.unattributed),
                "share": plain_share(self.share(self.unattributed)),
            },
            "lost_leases": plain_usd(self.lost_leases),
            "unpriced": [one.to_json() for one in self.unpriced],
            "rows": [
                {"group": dict(row.group), "share": plain_share(self.share(row.cost)), **row.to_json()}
                for row in self.rows
            ],
        }
        if self.before is not None:
            told["before"] = {"since": show_moment(self.before.since), "until": show_moment(self.before.until)}
        return told


def spend(
    ledger: Ledger,
    by: Sequence[str] | str = ("user", "feature"),
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    compare: Compare = None,
    percentiles: bool = False,
    now: datetime | None = None,
) -> SpendReport:
    """Add up a ledger's entries.

    by:     tag names or `COLUMNS`, as a sequence or as "user,feature"; empty: only the total
    since:  a datetime, a timedelta before now, or text: "7d", "24h", "today", "week", "month", "2026-11-01"
    until:  the same, not included
    where:  only calls with these values of tags, provider, model, operation or status ("unattributed": calls without
            the tag); of a sequence of values any will do
    tz:     the zone of dates, and of moments without one. The groups "day" and "hour" are those of UTC: `series` cuts
            time by a zone
    compare: "previous", or the (since, until) of any other period
    percentiles: tell what half of the calls, and 95 of 100, took and cost

    Raises ConfigError, naming the value, for what cannot be read; StoreUnavailable if the store is away.
    """
    names, chosen = read_by(by), read_where(where)
    now = now or datetime.now(UTC)
    time = period(since, until, now, tz)
    before = other_period(compare, time, now, names)
    sums = sums_of(ledger, names, chosen, time)
    those = counted(ledger, time)
    refusals = by_group(those, names, chosen)
    known = {} if refusals is None else refusals
    none = None if refusals is None else 0
    rows, total = Spend.of_each(sums, lambda one: known.get(tuple(one.group.values()), 0) if known else none)
    if names and known:
        there = {tuple(one.group.values()) for one in sums}
        alone = [group for group in known if group not in there]
        rows += [Spend(dict(zip(names, group, strict=True)), refused=known[group]) for group in alone]
        rows.sort(key=lambda row: (-row.cost, *row.group.values()))
    everything = by_group(those, (), chosen)
    total = replace(total, refused=None if everything is None else everything.get((), 0))
    if before is not None:
        sums_before = sums_of(ledger, names, chosen, before)
        rows = _compared(names, rows, sums_before, none)
        total = total.beside(Spend.of({}, sums_before))
        rows.sort(key=lambda row: (-row.cost, *row.group.values()))
    if names[:1] in (("day",), ("hour",)):
        rows.sort(key=lambda row: row.group[names[0]])
    if percentiles:
        rows = _with_spread(ledger, rows, names, chosen, time)
        total = _with_spread(ledger, [total], (), chosen, time)[0]
    asked = tags_of(names)
    unattributed = [row.cost for row in rows if UNATTRIBUTED in map(row.group.__getitem__, asked)]
    without = unpriced(ledger.sums(("provider", "model"), chosen, **time.bounds)) if total.unpriced_calls else ()
    return SpendReport(
        names, time.since, time.until, chosen, tuple(rows) if names else (), total, exact_sum(unattributed),
        _lost(ledger, chosen, time), without, before,
    )  # fmt: skip


def sums_of(ledger: Ledger, names: Sequence[str], chosen: Filter, time: Period) -> list[Sum]:
    """Of calls alone: what was charged for lost leases is no call's cost."""
    sums = ledger.sums(names, chosen, **time.bounds)
    return [one for one in sums if one.group["operation"] != LEASE[1]] if "operation" in names else sums


def other_period(compare: Compare, time: Period, now: datetime, names: Sequence[str] = ()) -> Period | None:
    """The one to compare with. Raises ConfigError for what is none, or where groups by these names are in one only."""
    if compare is None:
        return None
    if any(name in TIMES for name in names):
        raise ConfigError(f"by {','.join(names)} has no group to compare a time with; use series(..., compare=)")
    if compare == "previous":
        return time.before(now)
    if isinstance(compare, tuple) and len(compare) == 2:
        return period(compare[0], compare[1], now, time.tz)
    raise ConfigError(f'compare {compare!r} is no period; write "previous", or (since, until)')


def show_where(where: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
    """A filter in plain values."""
    return {name: value if isinstance(value, str) else list(value) for name, value in where.items()}


def _lost(ledger: Ledger, chosen: Filter, time: Period) -> Decimal:
    if "provider" in chosen or "operation" in chosen:
        return Decimal(0)
    lease: Filter = {**chosen, "provider": LEASE[0], "operation": LEASE[1]}
    return Spend.of({}, ledger.sums((), lease, **time.bounds)).cost


def _compared(names: Sequence[str], rows: list[Spend], sums_before: list[Sum], refused: int | None) -> list[Spend]:
    """Each row with what it was before; the groups that are gone as rows without calls."""
    befores = {tuple(one.group.values()): Spend.of_one(one) for one in sums_before}
    found = [row.beside(befores.pop(tuple(row.group.values()), None)) for row in rows]
    return found + [Spend(gone.group, refused=refused).beside(gone) for gone in befores.values() if names]


def _with_spread(ledger: Ledger, rows: list[Spend], names: Sequence[str], chosen: Filter, time: Period) -> list[Spend]:
    found = {tuple(one.group.values()): one for one in ledger.percentiles(names, chosen, **time.bounds)}
    return [replace(row, spread=found.get(tuple(row.group.values()))) for row in rows]
