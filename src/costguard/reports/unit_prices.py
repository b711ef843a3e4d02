"""What one token of a kind costs at given rates, exactly."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from costguard.ledger.price_sums import PriceSum
from costguard.pricing.rates import Rates
from costguard.pricing.standins import REASONING, complete

KINDS = ("input", "cache_read", "cache_write_5m", "output")
"""Kinds of tokens that the columns of a ledger tell apart; what else a price may have (audio, searches, a fee for each
request, a dearer rate for long inputs) is not among them."""

_ZERO = Fraction(0)


@lru_cache(maxsize=4096)
def unit_prices(rates: Rates) -> dict[str, Fraction]:
    """Nano-dollars for one token of each kind, "reasoning" and "cache_write_1h"."""
    table, _, _ = complete(rates.rates)
    whole = 10 ** (rates.scale - 9) * rates.share
    return {kind: Fraction(table[kind], whole) for kind in (*KINDS, REASONING, "cache_write_1h")}


def tokens(one: PriceSum) -> dict[str, int]:
    """By kind. Cached reads and writes are taken out of the input, which has them."""
    plain = one.input_tokens - one.cache_read_tokens - one.cache_write_tokens
    return {
        "input": plain,
        "cache_read": one.cache_read_tokens,
        "cache_write_5m": one.cache_write_tokens,
        "output": one.output_tokens,
    }


def list_costs(one: PriceSum) -> dict[str, Fraction]:
    """Nano-dollars of each kind at the rates of the entries; nothing where they have none."""
    if one.rates is None:
        return dict.fromkeys(KINDS, _ZERO)
    prices = unit_prices(one.rates)
    found = {kind: count * prices[kind] for kind, count in tokens(one).items()}
    found["output"] += one.reasoning_tokens * (prices[REASONING] - prices["output"])
    return found


def tier(rates: Rates | None) -> str:
    """How a call was processed where that has a price of its own, such as "service_tier=flex"; "" for the usual way."""
    return "" if rates is None else ",".join(f"{name}={value}" for name, value in rates.context)
