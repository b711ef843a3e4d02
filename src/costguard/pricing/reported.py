"""Costs that the provider itself states: they come before every price, and the receipt says so."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from costguard.money import from_nanos
from costguard.pricing.rates import EXACT, Rates
from costguard.pricing.receipt import Line, Receipt
from costguard.pricing.usage import Usage

REPORTED = "reported"
"""The bucket of a receipt's last line, and how the source of such rates begins."""

_MOST = 4_096

_made: dict[tuple[str, int], tuple[Rates, Rates]] = {}
"""By provider and identity of the list's rates, which are kept beside so that the identity is not given away."""


def is_reported(rates: Rates | None) -> bool:
    """Whether an entry with these rates costs what its provider said, not what they come to."""
    return rates is not None and rates.source.startswith(f"{REPORTED} by ")


def reported_rates(provider: str, model: str, known: Rates | None) -> Rates:
    """The rates of an entry whose provider states the cost: the list's own, to be shown beside it.

    known: what the list says, None where it has no price

    The amount is not in them: it differs with every call, and a ledger keeps each text of rates once.
    """
    source = f"{REPORTED} by {provider}"
    if known is None:
        return Rates(provider, model, source, {})
    key = (provider, id(known))
    found = _made.get(key)
    if found is None or found[0] is not known:
        made = copy(known)
        made.source = f"{source} (list: {known.source})"
        made._text = None
        if len(_made) >= _MOST:
            _made.clear()
        found = _made[key] = (known, made)
    return found[1]


def reported_receipt(rates: Rates, usage: Usage, nanos: int) -> Receipt:
    """The list's lines, and a last one that makes their sum what the provider charged; it may be negative."""
    receipt = rates.receipt(usage)
    cost = from_nanos(nanos)
    rest = EXACT.subtract(cost, receipt.cost or 0)
    lines = receipt.lines if receipt.cost is not None else ()
    if rest or not lines:
        lines = (*lines, Line(REPORTED, 1, rest, rest))
    return replace(receipt, lines=lines, cost=cost, unpriced=(), reason=None)
