"""The price of every model: the user's own prices, then the shipped list."""

from __future__ import annotations

from typing import TypeAlias

from costguard.pricing import catalog, rules
from costguard.pricing.catalog import Context
from costguard.pricing.naming import canonical
from costguard.pricing.overrides import Overrides, Prices
from costguard.pricing.rates import FOREVER, Rates
from costguard.pricing.receipt import Receipt
from costguard.pricing.usage import Usage

__all__ = ["PriceBook", "Rates"]

MAX_KNOWN = 4_096
MAX_UNKNOWN = 1_024
LONGEST_NAME = 256
"""Characters of a model name that is looked up at all: names come from users."""

_Key: TypeAlias = tuple[str, str, Context]


class PriceBook:
    """Rates by provider, model and moment. Thread-safe, and safe over fork: it has no lock.

    overrides: the user's prices, see `Overrides`; they come before the list

    Model names may come from users, so that both caches are bounded: a full one is thrown away as a whole.
    """

    def __init__(self, overrides: Prices | None = None) -> None:
        self._overrides = Overrides(overrides)
        self._known: dict[_Key, tuple[int, int, Rates]] = {}
        self._unknown: dict[tuple[str, str], str | None] = {}
        self._dearest: dict[str, tuple[int, int, Rates | None]] = {}

    def warm(self) -> None:
        """Import the price list now: half a second that the first call would wait for otherwise."""
        catalog.source()

    def rates(self, provider: str, model: str, at_ns: int, context: Context = ()) -> Rates | None:
        """The rates of a model at a moment (nanoseconds since 1970), None where no price is known.

        context: what else the price depends on, sorted pairs such as (("service_tier", "flex"),),
            (("batch", "true"),) or (("inference_geo", "us"),). What should change the price and is in no
            list gives the standard rates with `Rates.unknown` naming it, never silently the standard price.
        """
        key = (provider, model, context)
        found = self._known.get(key)
        if found is not None and found[0] <= at_ns < found[1]:
            return found[2]
        if (provider, model) in self._unknown or len(model) > LONGEST_NAME:
            return None
        rates = self._override(provider, model, context) or catalog.rates(provider, model, at_ns, context)
        if rates is None:
            if len(self._unknown) >= MAX_UNKNOWN:
                self._unknown = {}
            self._unknown[provider, model] = None
            return None
        if len(self._known) >= MAX_KNOWN:
            self._known = {}
        self._known[key] = (*_bounds(rates), rates)
        return rates

    @property
    def kept(self) -> int:
        """How many look-ups are remembered, at most MAX_KNOWN + MAX_UNKNOWN."""
        return len(self._known) + len(self._unknown)

    def receipt(self, provider: str, model: str, usage: Usage, at_ns: int, context: Context = ()) -> Receipt:
        """The arithmetic of one cost. A model without a price has cost None and a reason, never an error."""
        rates = self.rates(provider, model, at_ns, context)
        if rates is not None:
            return rates.receipt(usage)
        return Receipt(provider, model, (), None, "none", tuple(usage.buckets), self.reason(provider, model))

    def reason(self, provider: str, model: str) -> str:
        """Why a model has no price, with the way out."""
        near = self.near(provider, model)
        hint = f"; known are {', '.join(near)}" if near else ""
        name = model if len(model) <= LONGEST_NAME else f"{model[:LONGEST_NAME]}..."
        return (
            f"no price is known for {provider}/{name}{hint}; give one with Guard(prices={{'{provider}/{name}': ...}})"
        )

    def dearest(self, provider: str, at_ns: int) -> Rates | None:
        """The highest text rates that a provider has for any model, taken apart by bucket.

        For a model without a price, where it is to be assumed that it costs no more than the dearest known one.
        None for a provider that is in no list.
        """
        found = self._dearest.get(provider)
        if found is not None and found[0] <= at_ns < found[1]:
            return found[2]
        known = [*self._overrides.of_provider(_names(provider)), *catalog.all_rates(provider, at_ns)]
        textual = [rates for rates in known if "input" in rates.rates and "output" in rates.rates]
        rates = _highest(provider, textual) if textual else None
        bounds = [_bounds(each) for each in textual]
        start = max((start for start, _ in bounds), default=-FOREVER)
        end = min((end for _, end in bounds), default=FOREVER)
        if len(self._dearest) >= MAX_UNKNOWN:
            self._dearest = {}
        self._dearest[provider] = (start, end, rates)
        return rates

    def near(self, provider: str, model: str) -> list[str]:
        """Names with a price that look like this one, the most alike first."""
        from difflib import get_close_matches

        if len(model) > LONGEST_NAME:
            return []
        return get_close_matches(model.lower(), [*self._overrides.names(), *catalog.names(provider)], n=3)

    def _override(self, provider: str, model: str, context: Context) -> Rates | None:
        rates = self._overrides.find(_names(provider), model)
        if rates is None:
            return None
        wanted = rules.asked(canonical(provider), context) if context else {}
        return rates.named(provider, [f"{name}={value}" for name, value in wanted.items()])


def _names(provider: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((provider.lower(), canonical(provider))))


def _bounds(rates: Rates) -> tuple[int, int]:
    start, end = rates.valid_from_ns, rates.valid_until_ns
    return -FOREVER if start is None else start, FOREVER if end is None else end


def _highest(provider: str, known: list[Rates]) -> Rates:
    scale = max(rates.scale for rates in known)
    highest: dict[str, int] = {}
    for rates in known:
        lift: int = 10 ** (scale - rates.scale)
        for level in (rates.rates, *(level for _, level in rates.tiers)):
            for name in ("input", "cache_write_5m", "cache_write_1h", "output"):
                rate = level.get(name, level.get("input", 0) if name != "output" else 0)
                highest[name] = max(highest.get(name, 0), -(-rate * lift // rates.share))
    source = f"assumed: the dearest of {provider}, {known[-1].source}"
    return Rates(provider, "any", source, highest, scale=scale)
