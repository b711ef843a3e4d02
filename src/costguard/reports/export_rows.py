"""Entries as rows for other programs: the same columns in CSV, JSON lines and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from costguard.events import Entry
from costguard.ledger.base import Ledger, is_lost_lease
from costguard.reports.csv_cells import Cell

PAGE = 5_000
"""Entries in memory at once."""

TAGS = ("user", "feature", "environment", "route", "session")
"""Tags with a column of their own; all of them are in `tags` as well."""

COLUMNS = (
    "call_id", "at", "provider", "model", "operation", "status", "cost", "currency", *TAGS, "input_tokens",
    "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "attempts", "estimated", "streamed",
    "duration_ms", "held", "response_id", "reason", "adjusts", "price_source", "buckets", "tags",
)  # fmt: skip


def pages(
    ledger: Ledger,
    where: Mapping[str, Any],
    *,
    since_ns: int | None,
    until_ns: int | None,
    size: int | None = None,
) -> Iterator[list[Entry]]:
    """The entries of a time, newest first, each once, some thousands at a time.

    What is written meanwhile into the time that was passed already is not seen. What was charged for lost leases is
    left out, as in reports: it is no call's cost.

    Raises StoreUnavailable.
    """
    size = size or PAGE
    want = size
    while True:
        page = ledger.entries(where, since_ns=since_ns, until_ns=until_ns, limit=want)
        whole = page
        if len(page) == want:
            # Those of the last microsecond may go on in the next page.
            last = page[-1].at_ns // 1000
            whole = [entry for entry in page if entry.at_ns // 1000 > last]
            if not whole:
                want *= 2
                continue
            until_ns = (last + 1) * 1000
        if whole:
            yield [entry for entry in whole if not is_lost_lease(entry)]
        if whole is page:
            return
        want = size


def row(entry: Entry) -> dict[str, Any]:
    """The values of `COLUMNS`: `cost` and `held` are Decimal USD (`cost` None: no price is known), `at` is a datetime
    in UTC, `buckets` and `tags` are dicts, and a tag that is not set is None."""
    usage, rates = entry.usage, entry.rates
    return {
        "call_id": entry.call_id,
        "at": entry.at,
        "provider": entry.provider,
        "model": entry.model,
        "operation": entry.operation,
        "status": entry.status,
        "cost": entry.cost,
        "currency": entry.currency,
        **{name: entry.tags.get(name) for name in TAGS},
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "attempts": entry.attempts,
        "estimated": entry.estimated,
        "streamed": entry.streamed,
        "duration_ms": entry.duration_ns // 10**6,
        "held": entry.held,
        "response_id": entry.response_id,
        "reason": entry.reason,
        "adjusts": entry.adjusts,
        "price_source": None if rates is None else rates.source,
        "buckets": dict(usage.buckets),
        "tags": dict(entry.tags),
    }


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row for JSON: amounts as strings, moments in ISO 8601."""
    return {
        **values,
        "at": stamp(values["at"]),
        "cost": None if values["cost"] is None else f"{values['cost']:f}",
        "held": f"{values['held']:f}",
    }


def cells(values: Mapping[str, Any]) -> list[Cell]:
    """A row for CSV: what has parts is JSON."""
    shown = {
        **values,
        "at": stamp(values["at"]),
        "buckets": compact(values["buckets"]),
        "tags": compact(values["tags"]),
    }
    return [shown[name] for name in COLUMNS]


def stamp(moment: datetime) -> str:
    """ISO 8601 with microseconds, UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def compact(values: Mapping[str, Any]) -> str | None:
    """An object in JSON, its names in order; None for an empty one. A semicolon is escaped, as it may end a cell."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return text.replace(";", "\\u003b") if values else None
