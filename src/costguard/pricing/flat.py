"""Rates for the sum of many requests, none of which is as large as the sum."""

from __future__ import annotations

from copy import copy

from costguard.pricing.rates import Rates

_MOST = 4_096

_made: dict[int, tuple[Rates, Rates]] = {}
"""By identity of the rates, which are kept beside so that the identity is not given away."""


def flat(rates: Rates) -> Rates:
    """These rates without what is dearer above a size: of a batch only the total is known."""
    if not rates.tiers:
        return rates
    found = _made.get(id(rates))
    if found is None or found[0] is not rates:
        made = copy(rates)
        made.tiers, made._tiers, made._text = (), (), None
        made.source = f"{rates.source}, at the price of small requests"
        if len(_made) >= _MOST:
            _made.clear()
        found = _made[id(rates)] = (rates, made)
    return found[1]
