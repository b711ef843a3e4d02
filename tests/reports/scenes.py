"""Small ledgers whose numbers can be added up by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from costguard.budgets import Limit
from costguard.call import Call
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from costguard.money import to_nanos
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.tags import Tags

HOSTILE = (
    "<script>alert(1)</script>",
    "'; DROP TABLE costguard_entries; --",
    "=1+1|cmd",
    "\u202eevil",
    "100%_of\\it",
    '{"$ne": null}',
    "ü" * 200,
)
"""Values of a tag as somebody may send them who means harm."""


def at(text: str) -> datetime:
    """A moment in UTC: "2026-11-22 13:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ns(text: str) -> int:
    return int(at(text).timestamp()) * 10**9


_numbers = count(1)


def call_id(moment: int) -> str:
    """Another one each time, also where `random` is made to repeat itself."""
    digits = f"{moment // 10**6:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{next(_numbers):012x}"


def rates(model: str = "gpt-4o", *, context: tuple[tuple[str, str], ...] = (), **prices: int) -> Rates:
    """Nano-dollars for a token of each kind; without any: 10 in, 5 cached, 40 out."""
    return Rates("openai", model, "test", prices or {"input": 10, "cache_read": 5, "output": 40}, context=context)


def spent(
    ledger: Ledger,
    when: str,
    *,
    cost: str | None = None,
    usage: Usage | None = None,
    priced: Rates | None = None,
    model: str = "gpt-4o",
    tags: Mapping[str, str] | None = None,
    on: Sequence[Limit] = (),
    **more: Any,
) -> Entry:
    """Record a call: at its rates, or at any cost; with neither it has no price. `on`: the limits that it counts on."""
    used = usage or Usage(input_tokens=100, output_tokens=20)
    if priced is not None:
        nanos: int | None = priced.nanos(used)
    else:
        nanos = None if cost is None else to_nanos(Decimal(cost))
    moment = ns(when)
    entry = Entry(
        call_id(moment), moment, "openai", model, "chat", nanos, used, priced, tags=Tags(tags or {}),
        reason=None if nanos is not None else "no price", **more,
    )  # fmt: skip
    call = Call("openai", model, tags=entry.tags)
    call.id = entry.call_id
    assert ledger.settle(entry, Hold(call, tuple(on), 0, moment) if on else None) is not None
    return entry
