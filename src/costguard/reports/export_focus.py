"""Entries as rows of FOCUS, the FinOps Open Cost and Usage Specification, version 1.2 (https://focus.finops.org).

A row is one line of a call's receipt, such as its output tokens, so that price x quantity is the cost, as FOCUS wants
it. What has no quantity is a row of category "Adjustment": the charge for a call that was lost, a correction by
`costguard reprice`, and what a provider charged beside the prices of our list. The rows of a call add up to its cost,
to the last nano-dollar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from costguard.adjustment import Adjustment
from costguard.errors import ConfigError, CostGuardError
from costguard.events import Entry
from costguard.money import from_nanos, to_nanos
from costguard.pricing.rates import EXACT
from costguard.pricing.receipt import Line
from costguard.pricing.reported import REPORTED, is_reported
from costguard.pricing.usage import UNIT_BUCKETS
from costguard.reports.csv_cells import Cell
from costguard.reports.export_rows import compact

VERSION = "1.2"

MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart",
    "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit",
    "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
)  # fmt: skip
"""Columns of feature level "Mandatory"."""

NULLABLE = {"BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"}
"""Those of them that allow nulls."""

OTHERS = (
    "ChargeFrequency", "ConsumedQuantity", "ConsumedUnit", "ListUnitPrice", "PricingCategory", "ServiceSubcategory",
    "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "Tags",
)  # fmt: skip
"""Recommended columns, and conditional ones whose condition holds: usage is measured, prices are published."""

CUSTOM = ("x_CallId", "x_Model", "x_Operation", "x_Status", "x_Estimated", "x_PriceSource")
"""Columns that are not of FOCUS come last and begin with "x_" (attribute ColumnHandling)."""

COLUMNS = (*sorted((*MANDATORY, *OTHERS)), *CUSTOM)

CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")

_FINEST = Decimal("1e-18")
"""USD: a price by the hour has no finite one by the second."""

_UNITS = {
    "seconds": "Seconds", "characters": "Characters", "images": "Images", "pages": "Pages",
    "search_units": "Search Units", "requests": "Requests", "web_searches": "Searches", "file_searches": "Searches",
    "code_executions": "Executions", "groundings": "Requests",
}  # fmt: skip


@dataclass(slots=True)
class Focus:
    """Makes the rows, and counts what FOCUS has no place for.

    account:   BillingAccountId: of all providers, or by provider with None for the others
    unpriced:  calls without a price, left out: FOCUS wants a cost, and none of theirs is known. One that got its
               price by a reprice is there, as an adjustment
    partial:   calls that used something without a price: that is in no row
    """

    account: Mapping[str | None, str]
    unpriced: int = 0
    partial: int = 0

    def rows(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """The rows of one entry: `COLUMNS` to values (str, Decimal or None).

        Raises ConfigError for a provider whose billing account was not given.
        """
        nanos = entry.nanos
        if nanos is None:
            self.unpriced += 1
            return
        if isinstance(entry, Adjustment) and entry.covers is not None:
            self.unpriced -= 1
        receipt = entry.receipt
        if receipt is not None and receipt.partial:
            self.partial += 1
        lines = () if receipt is None or receipt.cost is None else receipt.lines
        priced = [line for line in lines if line.count and line.bucket != REPORTED]
        left = nanos
        for line, share in zip(priced, _shares(priced, nanos), strict=True):
            left -= share
            yield self._row(entry, from_nanos(share), line)
        if left:
            yield self._row(entry, from_nanos(left), None)

    def _row(self, entry: Entry, cost: Decimal, line: Line | None) -> dict[str, Any]:
        found = {**self._charge(entry, cost), **(_nothing_used(entry) if line is None else _used(entry, line))}
        if line is not None:
            found["ListCost"] = EXACT.multiply(found["ListUnitPrice"], found["PricingQuantity"])
        return {name: found[name] for name in COLUMNS}

    def _charge(self, entry: Entry, cost: Decimal) -> dict[str, Any]:
        at, rates = entry.at, entry.rates
        begin = at.replace(microsecond=0)
        seconds = max(-(-(entry.at_ns % 10**9 + entry.duration_ns) // 10**9), 1)
        month = datetime(at.year, at.month, 1, tzinfo=UTC)
        return {
            "BilledCost": cost,
            "BillingAccountId": self._account(entry.provider),
            "BillingAccountName": None,
            "BillingCurrency": entry.currency,
            "BillingPeriodEnd": _iso((month + timedelta(days=31)).replace(day=1)),
            "BillingPeriodStart": _iso(month),
            # Nothing was invoiced by us, so that nothing corrects an invoice.
            "ChargeClass": None,
            "ChargePeriodEnd": _iso(begin + timedelta(seconds=seconds)),
            "ChargePeriodStart": _iso(begin),
            # Negotiated prices are told as prices of the app's own: there is no other list beside them.
            "ContractedCost": cost,
            "EffectiveCost": cost,
            "InvoiceIssuerName": entry.provider,
            "ListCost": cost,
            "ProviderName": entry.provider,
            "PublisherName": entry.provider,
            "ServiceCategory": "AI and Machine Learning",
            "ServiceName": f"{entry.provider} API",
            "ServiceSubcategory": "Generative AI",
            "Tags": compact(dict(entry.tags)),
            "x_CallId": entry.adjusts or entry.call_id,
            "x_Model": entry.model,
            "x_Operation": entry.operation,
            "x_Status": entry.status,
            "x_Estimated": "true" if entry.estimated else "false",
            "x_PriceSource": None if rates is None else rates.source,
        }

    def _account(self, provider: str) -> str:
        found = self.account.get(provider) or self.account.get(None)
        if not found:
            raise ConfigError(
                f"FOCUS wants the billing account of each provider, and that of {provider} was not given: add "
                f"--billing-account {provider}=ID"
            )
        return found


def _shares(lines: list[Line], nanos: int) -> list[int]:
    """The cost of a call in nano-dollars, dealt out to its lines: each rounded, and the rest to the largest.

    Only what rounding moved: what a provider charged beside these lines is a row of its own.
    """
    shares = [to_nanos(line.subtotal) for line in lines]
    off = nanos - sum(shares)
    if shares and abs(off) <= len(shares):
        shares[max(range(len(shares)), key=shares.__getitem__)] += off
    return shares


def _used(entry: Entry, line: Line) -> dict[str, Any]:
    unit = _UNITS.get(line.bucket)
    tokens = unit is None and line.bucket not in UNIT_BUCKETS
    # "<quantity> <plural-units>" (attribute UnitFormat): price lists are by the million.
    quantity = EXACT.scaleb(Decimal(line.count), -6 if tokens else 0)
    sku = f"{entry.provider}/{entry.model}/{line.bucket}"
    context = () if entry.rates is None else entry.rates.context
    price = EXACT.scaleb(line.price, 6 if tokens else 0)
    if price != price.quantize(_FINEST, context=EXACT):
        price = price.quantize(_FINEST, context=EXACT)
    return {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{line.count} {line.bucket} of {entry.provider}/{entry.model}",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": Decimal(line.count),
        "ConsumedUnit": "Tokens" if tokens else unit,
        "ListUnitPrice": price,
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": "1000000 Tokens" if tokens else unit,
        "SkuId": sku,
        "SkuMeter": line.bucket.replace("_", " ").title() + (" Tokens" if tokens else ""),
        "SkuPriceDetails": compact({f"x_{name.title().replace('_', '')}": value for name, value in context}),
        "SkuPriceId": "/".join((sku, *[f"{name}={value}" for name, value in context])),
    }


def _nothing_used(entry: Entry) -> dict[str, Any]:
    what = "Correction of the price" if entry.adjusts else "Charge without a reported usage"
    if entry.status not in ("lost", "adjusted") and entry.usage.buckets:
        what = "Charged by the provider beside its listed prices" if is_reported(entry.rates) else "Beside the receipt"
    return {
        "ChargeCategory": "Adjustment",
        "ChargeDescription": f"{what}: {entry.provider}/{entry.model}",
        "ChargeFrequency": "One-Time",
        **dict.fromkeys((
            "ConsumedQuantity", "ConsumedUnit", "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit",
            "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId",
        )),
    }  # fmt: skip


def faults(values: Mapping[str, Any]) -> list[str]:
    """What of a row is not as FOCUS 1.2 wants it, by its rules for presence, nulls, values and products."""
    found = [f"{name} is missing" for name in MANDATORY if name not in values]
    found += [f"{name} is null" for name in MANDATORY if name not in NULLABLE and values.get(name) in (None, "")]
    if values.get("ChargeCategory") not in CATEGORIES:
        found.append(f"ChargeCategory is {values.get('ChargeCategory')!r}")
    for name in ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"):
        if not isinstance(values.get(name), Decimal) or not values[name].is_finite():
            found.append(f"{name} is no decimal: {values.get(name)!r}")
    for quantity, unit in (("PricingQuantity", "PricingUnit"), ("ConsumedQuantity", "ConsumedUnit")):
        if (values.get(quantity) is None) != (values.get(unit) is None):
            found.append(f"{quantity} and {unit} are not null together")
    if values.get("ChargeCategory") == "Usage":
        needed = ("ConsumedQuantity", "ListUnitPrice", "PricingCategory", "PricingQuantity", "SkuId", "SkuPriceId")
        found += [f"{name} is null for usage" for name in needed if values.get(name) is None]
        if not found and EXACT.multiply(values["ListUnitPrice"], values["PricingQuantity"]) != values["ListCost"]:
            found.append("ListUnitPrice x PricingQuantity is not ListCost")
    for begin, end in (("ChargePeriodStart", "ChargePeriodEnd"), ("BillingPeriodStart", "BillingPeriodEnd")):
        if not found and not values[begin] < values[end]:
            found.append(f"{begin} is not before {end}")
    return found


def cells(values: Mapping[str, Any]) -> list[Cell]:
    """A row for CSV; raises CostGuardError, naming the call, for one that is not as FOCUS wants it."""
    wrong = faults(values)
    if wrong:
        raise CostGuardError(f"FOCUS row of call {values.get('x_CallId')}: {'; '.join(wrong)}")
    return [values[name] for name in COLUMNS]


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
