"""What the models of a ledger cost now, and whether that can be relied on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from costguard.events import Entry
from costguard.ledger.base import LEASE, Ledger
from costguard.ledger.figures import Sum
from costguard.money import from_nanos, show_usd
from costguard.prices_shown import price_of, table
from costguard.pricing.ages import ALERT_DAYS, Ages, StalePrices
from costguard.pricing.book import PriceBook
from costguard.pricing.rates import Rates
from costguard.pricing.reported import is_reported
from costguard.reports.last_call import last_call
from costguard.reports.period import Period

NEWEST = 500
"""Entries, the newest, in which the last call of each model is looked for; for the others its last day is."""


@dataclass(frozen=True)
class Priced:
    """A model of the ledger.

    rates:         what it costs now; None: no price is known
    unpriced_calls: calls that are recorded without a cost
    missing:       what the last call used and has no price now
    then, now:     what the last call cost at the prices of its entry, and would cost now; None: not compared
    near:          names with a price that look like it, where it has none
    reported:      the provider states the cost of its calls
    """

    provider: str
    model: str
    calls: int
    rates: Rates | None
    unpriced_calls: int
    missing: tuple[str, ...] = ()
    then: Decimal | None = None
    now: Decimal | None = None
    near: tuple[str, ...] = ()
    reported: bool = False

    @property
    def state(self) -> str:
        """In one word: "reported", "unpriced", "partial", "changed" or "ok"."""
        if self.reported:
            return "reported"
        if self.rates is None:
            return "unpriced"
        return "partial" if self.missing else "changed" if self.then != self.now else "ok"


@dataclass(frozen=True)
class PricedReport:
    """All models of a ledger, those without a price first; `stale`: price lists of more than 14 days."""

    models: tuple[Priced, ...]
    stale: tuple[StalePrices, ...]

    @property
    def ok(self) -> bool:
        """Every model has all its prices, and no list is more than 45 days old."""
        bad = any(model.state in ("unpriced", "partial") for model in self.models)
        return not bad and all(each.days < ALERT_DAYS for each in self.stale)

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts in USD as strings."""
        return {
            "ok": self.ok,
            "models": [
                {
                    "provider": each.provider,
                    "model": each.model,
                    "state": each.state,
                    "calls": each.calls,
                    "unpriced_calls": each.unpriced_calls,
                    "missing": list(each.missing),
                    "source": None if each.rates is None else each.rates.source,
                    "input": _price(each.rates, "input"),
                    "output": _price(each.rates, "output"),
                    "last_call_then": None if each.then is None else f"{each.then:f}",
                    "last_call_now": None if each.now is None else f"{each.now:f}",
                    "near": list(each.near),
                }
                for each in self.models
            ],
            "stale": [{"source": each.source, "days": each.days} for each in self.stale],
        }


def priced(ledger: Ledger, book: PriceBook, *, now_ns: int | None = None) -> PricedReport:
    """Look up every model of a ledger. Raises StoreUnavailable if the store is away."""
    now = time.time_ns() if now_ns is None else now_ns
    last: dict[tuple[str, str], Entry] = {}
    for entry in ledger.entries({}, limit=NEWEST):
        # An adjustment is no call, and has no usage.
        if entry.adjusts is None:
            last.setdefault((entry.provider, entry.model), entry)
    sums = [one for one in ledger.sums(("provider", "model"), {}) if one.group["provider"] != LEASE[0]]
    for one in sums:
        key = (one.group["provider"], one.group["model"])
        if key not in last:
            found_entry = last_call(ledger, one.group, Period())
            if found_entry is not None:
                last[key] = found_entry
    found = []
    for one in sums:
        provider, model = one.group["provider"], one.group["model"]
        found.append(_priced(book, one, last.get((provider, model)), now))
    order = ("unpriced", "partial", "changed", "ok", "reported")
    found.sort(key=lambda each: (order.index(each.state), each.provider, each.model))
    return PricedReport(tuple(found), tuple(Ages().look(book.dated(), now)))


def _priced(book: PriceBook, one: Sum, last: Entry | None, now: int) -> Priced:
    provider, model = one.group["provider"], one.group["model"]
    reported = last is not None and is_reported(last.rates)
    context = tuple(getattr(last.rates, "context", ())) if last is not None and last.rates is not None else ()
    rates = book.rates(provider, model, now, context)
    near = () if rates is not None else tuple(book.near(provider, model))
    missing: tuple[str, ...] = ()
    then = cost = None
    if last is not None and rates is not None and not reported:
        missing = rates.missing(last.usage)
        if last.rates is not None:
            then, cost = from_nanos(last.rates.nanos(last.usage)), from_nanos(rates.nanos(last.usage))
    return Priced(provider, model, one.calls, rates, one.unpriced_calls, missing, then, cost, near, reported)


def as_table(report: PricedReport, *, width: int | None = None, color: bool = False) -> str:
    """The report as text."""
    if not report.models:
        return "No calls."
    lines = []
    for each in report.models:
        said = ", ".join(each.missing) if each.state == "partial" else ""
        if each.state == "unpriced":
            said = f"near: {', '.join(each.near)}" if each.near else "no name is near"
        elif each.state == "changed" and each.then is not None and each.now is not None:
            said = f"last call {show_usd(each.then)}, now {show_usd(each.now)}"
        lines.append(
            (
                f"{each.provider}/{each.model}",
                each.state,
                f"{each.calls:,}",
                f"{each.unpriced_calls:,}" if each.unpriced_calls else "-",
                _price(each.rates, "input") or "-",
                _price(each.rates, "output") or "-",
                "-" if each.rates is None else each.rates.source,
                said,
            )
        )
    headings = ("model", "state", "calls", "without cost", "input", "output", "source", "")
    notes = [f"The prices of {each.source} are {each.days} days old." for each in report.stale]
    if any(each.state == "unpriced" for each in report.models):
        notes.append("Give prices with Guard(prices=...), then price past calls by: costguard reprice --since 30d")
    return "\n".join((table(headings, lines, width, color), *notes))


def _price(rates: Rates | None, bucket: str) -> str | None:
    if rates is None or bucket not in rates.rates:
        return None
    return f"{price_of(rates, bucket, rates.rates[bucket]):f}"
