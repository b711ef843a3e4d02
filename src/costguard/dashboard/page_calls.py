"""Calls: found by their tags, newest, dearest or slowest first; and the receipt of one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from costguard.dashboard.choices import Choice, filters, names_of, normal, times
from costguard.dashboard.query import Query
from costguard.dashboard.receipts import receipt_of
from costguard.dashboard.tables import Column, Table
from costguard.dashboard.view import View
from costguard.pricing.usage import UNIT_BUCKETS
from costguard.reports.calls import MOST, CallRow
from costguard.reports.calls import calls as calls_of
from costguard.reports.spend import spend

PER_PAGE = 50
ORDERS = (("newest", "Newest"), ("dearest", "Dearest"), ("slowest", "Slowest"))
MILLION = Decimal(1_000_000)

COLUMNS = (
    Column("at", "time (UTC)", "moment"),
    Column("model", "model"),
    Column("user", "user"),
    Column("feature", "feature"),
    Column("input_tokens", "input", "tokens"),
    Column("output_tokens", "output", "tokens"),
    Column("duration", "took", "seconds"),
    Column("cost", "cost", "usd"),
    Column("status", "status"),
    Column("call_id", "receipt", "link"),
)


def calls(view: View, query: Query) -> Mapping[str, Any]:
    """One page of calls, and what all of them come to. Raises ConfigError for what cannot be read."""
    query = normal(query)
    chosen = times(view, query)
    wanted = query.get("id").strip()
    most = query.number("per", PER_PAGE, most=MOST)
    order = query.get("order", ORDERS[0][0])
    total, after, found = None, None, []
    if wanted:
        one = receipt_of(view, wanted)
        found = [] if one is None else [one]
    else:
        page = calls_of(
            view.ledger, **chosen.asked, where=query.where, order=order, most=most, after=query.get("before") or None
        )
        found, after = list(page.calls), page.after
        total = spend(view.ledger, (), **chosen.asked, where=query.where).total
    return {
        "query": query,
        "times": chosen,
        "filters": filters(names_of(view)),
        "orders": tuple(
            [
                Choice(value, text, query.href(order=value, before=None, id=None), value == order)
                for value, text in ORDERS
            ]
        ),
        "total": total,
        "table": Table("calls", "Calls", COLUMNS, [_row(view, query, row) for row in found], _empty(query)),
        "older": query.href(before=after) if after else "",
        "first": query.href(before=None) if query.get("before") else "",
        "wanted": wanted,
    }


def call(view: View, query: Query) -> Mapping[str, Any]:
    """The receipt of one call. Raises LookupError where there is none."""
    found = receipt_of(view, view.param("id"))
    if found is None:
        raise LookupError(f"no call has the id {view.param('id')}; a call is kept for as long as the store keeps it")
    entry = found.entry
    receipt = entry.receipt
    lines = [
        {
            "bucket": line.bucket,
            "count": line.count,
            "price": line.price if line.bucket in UNIT_BUCKETS else line.price * MILLION,
            "per": "each" if line.bucket in UNIT_BUCKETS else "per million",
            "subtotal": line.subtotal,
        }
        for line in (receipt.lines if receipt else ())
    ]
    columns = (
        Column("bucket", "what was used"), Column("count", "amount", "count"), Column("price", "price, USD", "usd"),
        Column("per", ""), Column("subtotal", "subtotal", "usd"),
    )  # fmt: skip
    return {
        "query": query,
        "row": found,
        "entry": entry,
        "receipt": receipt,
        "table": Table("receipt", "Receipt", columns, lines, entry.reason or "Nothing was priced."),
        "tags": [
            (name, value, view.narrowed(Query(), name, value)) for name, value in sorted(dict(entry.tags).items())
        ],
        "usage": [(name, number) for name, number in sorted(entry.usage.buckets.items()) if number],
    }


def _row(view: View, query: Query, row: CallRow) -> dict[str, Any]:
    entry = row.entry
    tags = dict(entry.tags)
    narrowed = {"before": None, "id": None}
    return {
        "at": entry.at,
        "provider": entry.provider,
        "model": entry.model,
        "user": tags.get("user"),
        "feature": tags.get("feature"),
        "input_tokens": entry.usage.input_tokens,
        "output_tokens": entry.usage.output_tokens,
        "duration": entry.duration,
        "cost": row.cost,
        "status": entry.status,
        "call_id": entry.call_id,
        "links": {
            "at": view.url(f"calls/{entry.call_id}"),
            "call_id": view.url(f"calls/{entry.call_id}"),
            "model": query.narrowed("model", entry.model, **narrowed),
            **{
                name: view.narrowed(query, name, tags[name], **narrowed) for name in ("user", "feature") if name in tags
            },
        },
    }


def _empty(query: Query) -> str:
    if query.get("id"):
        return "No call has this id."
    if query.where:
        return "No call of this time has all of these values. Take a filter away, or look at a longer time."
    return "No calls in this time. Choose a longer one above."
