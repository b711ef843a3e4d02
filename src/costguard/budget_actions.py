"""What a budget does as its limit comes near: alert, downgrade, fit, refuse; as data, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Context, Decimal

from costguard.errors import ConfigError
from costguard.money import usd

Actions = tuple[tuple[Decimal, str], ...]
"""Pairs of a fraction of the limit and what is done from there on, ascending."""

ACTION = r"(?:alert|fit|refuse|downgrade:[^\s,]+)"
FRACTION = r"(?:\d+(?:\.\d+)?\s*%)"

DEFAULT_ALERTS = (Decimal("0.5"), Decimal("0.8"), Decimal(1))
"""Fractions of a limit at which people are told, unless a budget says others."""

_ACTION = re.compile(ACTION)
_HOW = 'use "alert", "downgrade:<model>", "fit" or "refuse"'
_EXACT = Context(prec=60)
_WHOLE = Decimal(1)
_FINEST = Decimal("1e-9")


def read_actions(given: Iterable[tuple[object, object]]) -> Actions:
    """Check the actions of a budget and put them in order. To refuse at the limit goes without saying.

    Raises ConfigError, naming the action.
    """
    found: dict[tuple[Decimal, str], None] = {}
    if isinstance(given, str):
        raise ConfigError(f'actions {given!r} must be a list of pairs, such as [("0.9", "fit")]')
    for pair in given:
        if isinstance(pair, str) or len(tuple(pair)) != 2:
            raise ConfigError(f'action {pair!r} must be a pair of fraction and action, such as ("0.9", "fit")')
        at, action = pair
        if not isinstance(action, str) or not _ACTION.fullmatch(action):
            raise ConfigError(f"action {action!r} is not known; {_HOW}")
        fraction = read_fraction(at, what=f"fraction of the action {action}")
        if fraction > 1:
            raise ConfigError(f"action {action} at {show_fraction(fraction)} is past the limit; raise the limit")
        if action == "refuse" and fraction < 1:
            raise ConfigError(f"action refuse at {show_fraction(fraction)} is a lower limit; lower the limit")
        found[fraction, action] = None
    if (_WHOLE, "alert") in found and (_WHOLE, "refuse") in found:
        raise ConfigError("actions name both alert and refuse at 100%; alert there means that nothing is refused")
    found.pop((_WHOLE, "refuse"), None)
    return tuple(sorted(found, key=lambda pair: pair[0]))


def refuses(actions: Actions) -> bool:
    """Whether a call that does not fit the limit is refused: not if its last word is to tell."""
    return (_WHOLE, "alert") not in actions


def read_fraction(value: object, *, what: str) -> Decimal:
    """A fraction of a limit, above 0: "0.8" or "80%"."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        fraction = usd(value.rstrip()[:-1], what=what).scaleb(-2, _EXACT)
    else:
        fraction = usd(value, what=what)  # type: ignore[arg-type]  # refuses other types itself
    if not 0 < fraction <= 10:
        raise ConfigError(f'{what} {value} must be above 0; "0.8" is 80 % of the limit')
    if fraction.quantize(_FINEST, context=_EXACT) != fraction:
        raise ConfigError(f"{what} {value} is finer than nine decimals; round it")
    # "80%" and "0.80" are the same fraction: printed alike, and told once.
    return Decimal(f"{fraction.normalize(_EXACT):f}")


def show_fraction(fraction: Decimal) -> str:
    """ "80%", "33.3%"."""
    return f"{fraction.scaleb(2, _EXACT).normalize(_EXACT):f}%"


def show_actions(actions: Actions) -> str:
    """ "downgrade:gpt-4o-mini at 80%, fit at 90%"."""
    return ", ".join([f"{action} at {show_fraction(fraction)}" for fraction, action in actions])
