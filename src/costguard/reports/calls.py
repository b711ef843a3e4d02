"""Single calls: a page of them, and all there is to know of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast, get_args
from uuid import UUID

from costguard.errors import ConfigError
from costguard.events import Entry
from costguard.ledger.base import Ledger, is_lost_lease
from costguard.ledger.figures import Order
from costguard.money import from_nanos
from costguard.reports.asked import COLUMNS, Where, read_where
from costguard.reports.period import Period, When, period, show_moment
from costguard.reports.plain import plain_usd, plain_usd_or_none

MOST = 1_000
"""Calls of one page."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call.

    entry:       as it was recorded: its `receipt` has the arithmetic
    corrections: what was added to its cost later, by a reprice, oldest first; only where one call was asked for
    """

    entry: Entry
    corrections: tuple[Entry, ...] = ()

    @property
    def cost(self) -> Decimal | None:
        """USD, corrections included; None where it has no price."""
        parts = [one.nanos for one in (self.entry, *self.corrections) if one.nanos is not None]
        return from_nanos(sum(parts)) if parts else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts as strings, the duration in seconds."""
        entry = self.entry
        receipt = entry.receipt
        return {
            "call_id": entry.call_id,
            "at": show_moment(entry.at),
            "provider": entry.provider,
            "model": entry.model,
            "operation": entry.operation,
            "status": entry.status,
            "cost": plain_usd_or_none(self.cost),
            "recorded_cost": plain_usd_or_none(entry.cost),
            "estimated": entry.estimated,
            "streamed": entry.streamed,
            "attempts": entry.attempts,
            "duration": round(entry.duration, 3),
            "held": plain_usd(entry.held),
            "tags": dict(entry.tags.items()),
            "usage": dict(entry.usage.buckets),
            "reasoning_tokens": entry.usage.reasoning_tokens,
            "response_id": entry.response_id,
            "reason": entry.reason,
            "receipt": None
            if receipt is None
            else {
                "provider": receipt.provider,
                "model": receipt.model,
                "source": receipt.source,
                "cost": None if receipt.cost is None else f"{receipt.cost:f}",
                "unpriced": list(receipt.unpriced),
                "lines": [
                    {
                        "bucket": line.bucket,
                        "count": line.count,
                        "price": f"{line.price:f}",
                        "subtotal": f"{line.subtotal:f}",
                    }
                    for line in receipt.lines
                ],
            },
            "corrections": [
                {"call_id": one.call_id, "cost": plain_usd_or_none(one.cost), "reason": one.reason}
                for one in self.corrections
            ],
        }


@dataclass(frozen=True, slots=True)
class CallPage:
    """Calls in their order; `after` continues with the page behind them, None: there is none."""

    order: str
    period: Period
    calls: tuple[CallRow, ...]
    after: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "order": self.order,
            "since": show_moment(self.period.since),
            "until": show_moment(self.period.until),
            "after": self.after,
            "calls": [one.to_json() for one in self.calls],
        }


def calls(
    ledger: Ledger,
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    order: str = "newest",
    most: int = 50,
    after: str | None = None,
    now: datetime | None = None,
) -> CallPage:
    """A page of calls: the newest, the dearest or the slowest first. Corrections are lines of their own.

    after: `CallPage.after` of the page before, which is the id of its last call

    Raises ConfigError for what cannot be read, StoreUnavailable if the store is away.
    """
    if order not in get_args(Order):
        raise ConfigError(f"order {order!r} is not one of {', '.join(get_args(Order))}")
    if not 1 <= most <= MOST:
        raise ConfigError(f"most={most} is no length of a page; give 1 to {MOST:,}")
    time = period(since, until, now or datetime.now(UTC), tz)
    chosen = read_where(where)
    last = None
    if after is not None:
        last = _find(ledger, after)
        if last is None:
            raise ConfigError(f"after {after!r} is not the id of a call of this ledger; begin with the first page")
    found: list[Entry] = []
    while True:
        wanted = most + 1 - len(found)
        entries = ledger.entries(
            chosen, limit=wanted, order=cast("Order", order), before=last, **time.bounds
        )  # fmt: skip
        found += [entry for entry in entries if not is_lost_lease(entry)]
        if len(entries) < wanted or len(found) > most:
            break
        last = entries[-1]
    shown = found[:most]
    more = shown[-1].call_id if len(found) > most else None
    return CallPage(order, time, tuple([CallRow(entry) for entry in shown]), more)


def call(ledger: Ledger, call_id: str) -> CallRow | None:
    """One call with its corrections; None where the ledger has none of this id.

    Raises ConfigError for what is no id, StoreUnavailable if the store is away.
    """
    entry = _find(ledger, call_id)
    if entry is None:
        return None
    # A correction has the time and the tags of the entry that it corrects.
    beside = ledger.entries(
        _tags(entry), since_ns=entry.at_ns, until_ns=entry.at_ns // 1000 * 1000 + 1000, limit=10_000
    )  # fmt: skip
    corrections = [one for one in beside if one.adjusts == entry.call_id]
    return CallRow(entry, tuple(reversed(corrections)))


def _find(ledger: Ledger, call_id: str) -> Entry | None:
    try:
        wanted = str(UUID(call_id))
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(f"{call_id!r} is not the id of a call; it looks like {_EXAMPLE}") from None
    found: Sequence[Entry] = ledger.entries({}, call_id=wanted, limit=1)
    return found[0] if found else None


def _tags(entry: Entry) -> dict[str, str]:
    # Of a name that means something else in a filter, the tag itself cannot be asked for.
    return {name: value for name, value in entry.tags.items() if name not in COLUMNS}


_EXAMPLE = "019aab3c-9c00-7000-8000-000000000001"
