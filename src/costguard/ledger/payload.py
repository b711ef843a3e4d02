"""What a row of the outbox says: a crossing, or a notice, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from costguard.budgets import Limit
from costguard.ledger.months import month_of, start_of
from costguard.notice import News, Notice


def crossing_payload(crossing: News) -> dict[str, object]:
    """A crossing as plain JSON values: amounts are integers of the limit's unit, times nanoseconds."""
    if isinstance(crossing, Notice):
        return crossing.payload
    limit = crossing.limit
    return {
        "budget": limit.budget.rule,
        "name": limit.budget.name,
        "payer": dict(limit.payer),
        "where": dict(limit.budget.where),
        "window": limit.budget.window,
        "fraction": str(crossing.fraction),
        "unit": limit.unit,
        "limit": limit.most + limit.prior,
        "spent": crossing.spent + limit.prior,
        "start": limit.start,
        "end": limit.end,
        "told_until": _told_until(limit),
        "at": crossing.at_ns,
        "refused": crossing.refused,
    }


def _told_until(limit: Limit) -> int | None:
    """Until when its crossings have the same keys: of a rolling window far longer than the bucket that `end` is of."""
    span = limit.budget.span
    if span is None:
        return limit.end
    span_ns = span // timedelta(microseconds=1) * 1000
    return (limit.start // span_ns + 1) * span_ns


def settled_before(before_ns: int) -> int:
    """The start of the month (UTC) that this time is in: what is forgotten is older. Entries of the month itself may
    be kept, get another price, and pass a mark again, which has to be known as told."""
    return start_of(month_of(before_ns // 1000)) * 1000


def is_over(payload: Mapping[str, object], before_ns: int) -> bool:
    """Of a crossing: whether its window had ended by then. A notice is told once for good: it is never over."""
    # Those of rolling windows that were made before it was written down stay.
    end = payload.get("told_until", None if payload.get("window") == "rolling" else payload.get("end"))
    return isinstance(end, int) and end <= before_ns
