"""Sums at the price of each model's last call: from the rollups, where `price_sums` reads every row of a time.

The same where the price of a model did not change in that time, and its calls were processed in one way.
"""

from __future__ import annotations

from costguard.adjustment import ADJUSTED
from costguard.ledger.base import Ledger
from costguard.ledger.price_sums import PriceSum
from costguard.pricing.rates import Rates
from costguard.reports.asked import Filter
from costguard.reports.last_call import last_rates, model_of
from costguard.reports.period import Period
from costguard.reports.spend import sums_of


def quick_sums(ledger: Ledger, names: tuple[str, ...], chosen: Filter, time: Period) -> list[PriceSum]:
    """By these names, provider and model. Calls and costs are exact. Where some calls of a group had a price and others
    none, each kind of tokens is taken for priced in the same part."""
    rates: dict[tuple[str, str], Rates | None] = {}
    found = []
    for one in sums_of(ledger, tuple(dict.fromkeys([*names, "provider", "model", "status"])), chosen, time):
        key = (one.group["provider"], one.group["model"])
        if key not in rates:
            last = last_rates(ledger, {**chosen, **model_of(one.group)}, time)
            # Which calls were processed in which way is not known.
            rates[key] = None if last is None else last.changed(context=())
        whole = one.input_tokens + one.output_tokens
        priced = whole - one.unpriced_tokens
        kinds = (one.input_tokens, one.output_tokens, one.cache_read_tokens, one.cache_write_tokens,
                 one.reasoning_tokens)  # fmt: skip
        found.append(
            PriceSum(
                one.group, rates[key], one.calls - one.unpriced_calls, one.cost,
                one.cost if one.group["status"] == ADJUSTED else 0,
                *[count * priced // whole if whole else count for count in kinds],
            )
        )  # fmt: skip
    return found
