"""How long an answer may be for what is left: the arithmetic of `fit`."""

from __future__ import annotations

from costguard.holds import is_guessed
from costguard.pricing.book import Rates

SHARE = 4
"""A call that set no ceiling gets up to a quarter of what is left: the next ones should not have to wait for it."""

UNKNOWN_MOST = 4_096
"""Output tokens asked of a model whose own maximum is not known: many answer with 400 to more than they can."""

_MANY = 1_000_000


def affordable(rates: Rates, input_tokens: int, room: int) -> int:
    """The most output tokens that `room` nano-dollars pay for beside the input, at the dearest rates; 0 if none."""
    cost_of_input, with_many = rates.bounds(input_tokens, _MANY)
    for_many = with_many - cost_of_input
    if room <= cost_of_input or for_many <= 0:
        return 0 if for_many > 0 else _MANY
    tokens = (room - cost_of_input) * _MANY // for_many
    # Both bounds were rounded up.
    while tokens > 0 and rates.bounds(input_tokens, tokens)[1] > room:
        tokens -= 1
    return tokens


def fitted(model: str, most: int, *, floor: int, share: bool, ceiling: int) -> int:
    """The output tokens to ask for where `most` can be paid; 0 if that is less than `floor`, or changes nothing.

    share:   nobody named a ceiling, so that a part of what is left will do
    ceiling: what the call is bounded by as it is
    """
    if most < floor:
        return 0
    tokens = most
    if share:
        tokens = max(floor, most // SHARE)
        if is_guessed(model):
            tokens = max(floor, min(tokens, UNKNOWN_MOST))
    return tokens if tokens < ceiling else 0
