"""What the shipped list lacks: prices of `additions.toml`, and fees that hold for all models of a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

from costguard.pricing import rules
from costguard.pricing.price_file import read_prices
from costguard.pricing.rates import EXACT, Rates
from costguard.pricing.table import Context, Found, Table

_FILE = Path(__file__).with_name("additions.toml")


@cache
def _table() -> Table:
    table, _ = read_prices(_FILE.read_bytes(), "costguard")
    return table


def find(providers: Sequence[str], names: Sequence[str], at_ns: int, context: Context) -> Found:
    """The rates of a model that the list does not have."""
    return _table().find(providers, names, at_ns, context)


def completed(rates: Rates, provider: str, model: str, at_ns: int, context: Context) -> Rates:
    """The list's rates with what it lacks of this model: prices of some buckets, and the provider's fees."""
    prices: dict[str, Decimal] = {}
    added = _table().find((provider,), (model,), at_ns, context).rates
    if added is not None and added.share == rates.share:
        own = {name: EXACT.scaleb(Decimal(rate), -added.scale) for name, rate in added.rates.items()}
        prices = {name: price for name, price in own.items() if name not in rates.rates and price}
    fees, facts = rules.fees(provider, model, context)
    for name, fee in fees.items():
        if rates.share == 1 and (name not in rates.rates or facts) and "input" in rates.rates:
            prices[name] = fee
    if not prices:
        return rates
    unknown = [each for each in rates.unknown if each.partition("=")[0] not in facts]
    return _with(rates, prices).changed(unknown=unknown)


def _with(rates: Rates, prices: Mapping[str, Decimal]) -> Rates:
    """Rates with more prices, USD per unit, at every size of a call."""
    exponents = [price.normalize(EXACT).as_tuple().exponent for price in prices.values()]
    scale = max([rates.scale, *(-exponent for exponent in exponents if isinstance(exponent, int))])
    lift: int = 10 ** (scale - rates.scale)
    more = {name: int(EXACT.scaleb(price, scale)) for name, price in prices.items()}
    return rates.changed(
        rates={name: rate * lift for name, rate in rates.rates.items()} | more,
        tiers=[(start, {name: rate * lift for name, rate in level.items()} | more) for start, level in rates.tiers],
        scale=scale,
    )
