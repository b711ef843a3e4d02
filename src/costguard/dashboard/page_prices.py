"""Prices: what the models of the ledger cost now, what has no price, and how old the lists are."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from costguard.dashboard.query import Query
from costguard.dashboard.tables import Column, Table
from costguard.dashboard.view import View
from costguard.prices_shown import price_of, sources_of
from costguard.pricing.book import PriceBook
from costguard.reports.priced import Priced, priced
from costguard.reports.unpriced import Unpriced

STATES = {
    "ok": ("plain", "priced"),
    "reported": ("plain", "told by the provider"),
    "changed": ("warn", "price has changed"),
    "partial": ("warn", "a part has no price"),
    "unpriced": ("bad", "no price"),
}
"""How the state of a model is shown: the look of its badge, and its words."""

MODELS = (
    Column("model", "model"),
    Column("state", "state"),
    Column("calls", "calls", "count"),
    Column("unpriced_calls", "without cost", "count"),
    Column("input", "input, $/M", "usd"),
    Column("output", "output, $/M", "usd"),
    Column("source", "source"),
    Column("said", "to know"),
)
LISTS = (
    Column("source", "list"),
    Column("shape", "kind"),
    Column("entries", "models", "count"),
    Column("dated", "dated"),
    Column("days", "age, days", "count"),
    Column("state", "state"),
)


def prices(view: View, query: Query) -> Mapping[str, Any]:
    """Every model of the ledger, those without a price first."""
    book = _shipped() if view.guard is None else view.guard._book
    report = priced(view.ledger, book, now_ns=view.now_ns)
    return {
        "query": query,
        "report": report,
        "states": STATES,
        "table": Table(
            "models", "Models", MODELS, [_row(view, one) for one in report.models],
            "No model was called yet. Each appears here with its first call.",
        ),
        "lists": Table("lists", "Price lists", LISTS, sources_of(book)),
        "without": [
            Unpriced(one.provider, one.model, one.unpriced_calls, 0, one.near)
            for one in report.models
            if one.state == "unpriced"
        ],
    }  # fmt: skip


@cache
def _shipped() -> PriceBook:
    """Of a dashboard without a guard: the prices that come with the package."""
    return PriceBook()


def _row(view: View, one: Priced) -> dict[str, Any]:
    name = f"{one.provider}/{one.model}"
    return {
        "model": name,
        "state": one.state,
        "calls": one.calls,
        "unpriced_calls": one.unpriced_calls or None,
        "input": _rate(one, "input"),
        "output": _rate(one, "output"),
        "source": None if one.rates is None else one.rates.source,
        "said": _said(one),
        "links": {"model": view.url("calls", Query().narrowed("model", one.model))},
    }


def _rate(one: Priced, bucket: str) -> Decimal | None:
    rates = one.rates
    return None if rates is None or bucket not in rates.rates else price_of(rates, bucket, rates.rates[bucket])


def _said(one: Priced) -> str | None:
    if one.state == "unpriced":
        return f"near: {', '.join(one.near)}" if one.near else "no name is near"
    if one.state == "partial":
        return f"without a price: {', '.join(one.missing)}"
    if one.state == "changed" and one.then is not None and one.now is not None:
        return f"last call ${one.then:f}, now ${one.now:f}"
    return None
