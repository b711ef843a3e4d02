"""Who spent what: the ledger's entries added up, with what the total does not say beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from costguard.errors import ConfigError
from costguard.ledger.base import LEASE, Ledger, Sum
from costguard.money import from_nanos
from costguard.reports.unpriced import Unpriced, unpriced
from costguard.tags import UNATTRIBUTED, Tags

COLUMNS = ("provider", "model", "operation", "status", "day")
"""What an entry can be added up by, beside its tags; `day` is the UTC date."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGO = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HOW = "write it as 7d, 24h, 30m, 2w, 2026-11-01 or 2026-11-01T09:00+01:00"

When = datetime | timedelta | str | None


@dataclass(frozen=True, slots=True)
class Spend:
    """What a group of calls adds up to; amounts in USD.

    cost:            of the calls that have a price; `estimated_cost` of it was estimated, over `estimated_calls`
    unpriced_calls, unpriced_tokens: have no price, and are in no cost: they are not free
    errors:          calls that the provider refused or failed, counted in `calls`
    cache_read_tokens: part of the input tokens
    """

    group: Mapping[str, str]
    calls: int = 0
    cost: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    estimated_calls: int = 0
    estimated_cost: Decimal = Decimal(0)
    errors: int = 0

    @classmethod
    def of(cls, group: Mapping[str, str], sums: Iterable[Sum]) -> Spend:
        """The groups of the ledger added up to one."""
        several = list(sums)
        return cls(
            group=dict(group),
            cost=from_nanos(sum(one.cost for one in several)),
            estimated_cost=from_nanos(sum(one.estimated_cost for one in several)),
            **{name: sum(getattr(one, name) for one in several) for name in _COUNTS},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts as strings."""
        return {
            "calls": self.calls,
            "cost": plain_usd(self.cost),
            **{name: getattr(self, name) for name in _COUNTS if name != "calls"},
            "estimated_cost": plain_usd(self.estimated_cost),
        }


_COUNTS = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens",
    "unpriced_calls", "unpriced_tokens", "estimated_calls", "errors",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SpendReport:
    """Spending by group, dearest first (by date if grouped by day first).

    by:           the names it is grouped by: tags, or `COLUMNS`
    since, until: UTC, `until` not included; None: from the first, to the last
    where:        the tag values that every call has
    unattributed: USD of the rows that lack at least one of the tags asked for
    unpriced:     the models without a price, with near names
    lost_leases:  USD charged on budgets for leases of workers that died, each budget for itself; in no row
    """

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    where: Mapping[str, str]
    rows: tuple[Spend, ...]
    total: Spend
    unattributed: Decimal = field(default=Decimal(0))
    lost_leases: Decimal = field(default=Decimal(0))
    unpriced: tuple[Unpriced, ...] = ()

    def share(self, cost: Decimal) -> Decimal:
        """Part of the total, 0 to 1; 0 where nothing was spent."""
        return cost / self.total.cost if self.total.cost else Decimal(0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: amounts as strings, moments in ISO 8601."""
        return {
            "by": list(self.by),
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "where": dict(self.where),
            "currency": "USD",
            "total": self.total.to_json(),
            "unattributed": {
                "cost": plain_usd(self.unattributed),
                "share": _plain_share(self.share(self.unattributed)),
            },
            "lost_leases": plain_usd(self.lost_leases),
            "unpriced": [one.to_json() for one in self.unpriced],
            "rows": [
                {"group": dict(row.group), "share": _plain_share(self.share(row.cost)), **row.to_json()}
                for row in self.rows
            ],
        }


def spend(
    ledger: Ledger,
    by: Sequence[str] | str = ("user", "feature"),
    *,
    since: When = None,
    until: When = None,
    where: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> SpendReport:
    """Add up a ledger's entries.

    by:     tag names or `COLUMNS`, as a sequence or as "user,feature"; empty: only the total
    since:  a datetime (UTC if it has no zone), a timedelta before now, or text: "7d", "24h", "2026-11-01"
    until:  the same, not included
    where:  only calls with these tag values ("unattributed": calls without the tag)

    Raises ConfigError, naming the value, for what cannot be read; StoreUnavailable if the store is away.
    """
    names = _names(by)
    now = now or datetime.now(UTC)
    begin, end = moment(since, now, what="since"), moment(until, now, what="until")
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(f"since {begin.isoformat()} is not before until {end.isoformat()}: nothing lies between")
    tags = dict(where or {})
    for name in tags:
        if name in COLUMNS:
            raise ConfigError(f"where {name!r} is not a tag; group by it instead: by {','.join((*names, name))}")
    Tags(tags)
    bounds = {"since_ns": _ns(begin), "until_ns": _ns(end)}
    sums = ledger.sums(names, tags, **bounds)
    lost = [one for one in ledger.sums(("provider", "operation"), tags, **bounds) if tuple(one.group.values()) == LEASE]
    if "operation" in names:
        sums = [one for one in sums if one.group["operation"] != LEASE[1]]
    rows = [Spend.of(one.group, [one]) for one in sums]
    rows.sort(key=lambda row: (-row.cost, *row.group.values()))
    if names[:1] == ("day",):
        rows.sort(key=lambda row: row.group["day"])
    asked = [name for name in names if name not in COLUMNS]
    unattributed = [row.cost for row in rows if any(row.group[name] == UNATTRIBUTED for name in asked)]
    total = Spend.of({}, sums)
    without = unpriced(ledger.sums(("provider", "model"), tags, **bounds)) if total.unpriced_calls else ()
    return SpendReport(
        names, begin, end, tags, tuple(rows) if names else (), total, sum(unattributed, Decimal(0)),
        Spend.of({}, lost).cost, without,
    )  # fmt: skip


def moment(value: When, now: datetime, *, what: str) -> datetime | None:
    """A point in time, UTC; `what` names it in the ConfigError for one that cannot be read."""
    if value is None:
        return None
    try:
        if isinstance(value, timedelta):
            return now - value
        if isinstance(value, datetime):
            return _utc(value)
        if isinstance(value, str):
            ago = _AGO.fullmatch(value.strip().lower())
            if ago is not None:
                return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return _utc(datetime.fromisoformat(value.strip()))
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{what} {value!r} is not a time; {_HOW}")


def _names(by: Sequence[str] | str) -> tuple[str, ...]:
    parts = by.split(",") if isinstance(by, str) else by
    names = tuple(part.strip() for part in parts if part.strip())
    for name in names:
        if not name.isidentifier():
            raise ConfigError(f"by {name!r} is not a tag name nor one of {', '.join(COLUMNS)}; write --by user,feature")
    if len(set(names)) < len(names):
        raise ConfigError(f"by {','.join(names)} names something twice")
    return names


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _ns(value: datetime | None) -> int | None:
    return None if value is None else (value - _EPOCH) // timedelta(microseconds=1) * 1000


def plain_usd(amount: Decimal) -> str:
    """Nine places at most, two at least: "0.00", "1.25", "0.000012345"."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def _plain_share(share: Decimal) -> str:
    return f"{share:.4f}"
