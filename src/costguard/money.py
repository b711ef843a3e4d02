"""US dollars as exact numbers: ``Decimal`` in memory, integer nano-dollars at rest.

One nano-dollar is 10**-9 USD. A float is refused everywhere: ten additions of ``0.1``
stop at ``0.9999999999999999``, and a budget compared with that lets an eleventh call through.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from costguard.errors import ConfigError

MOST_USD = 10**9
"""A billion dollars: nano-dollars up to nine times that fit the 64-bit integers of a store."""

_NANO = Decimal("1e-9")
# An app may have set a default context of few digits, which would round money.
_EXACT = Context(prec=60)


def usd(value: Decimal | int | str, *, what: str = "amount") -> Decimal:
    """Read an exact USD amount, e.g. ``"0.50"``, ``"$5"``, ``"$1,200"``, ``5`` or a ``Decimal``.

    Raises ConfigError, naming `what` and the value, for a float, a negative or anything unreadable.
    """
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise ConfigError(
            f"{what} {value!r} is a {type(value).__name__}; money is exact here: "
            f'give a Decimal, an int or a string such as "0.50"'
        )
    try:
        amount = Decimal(value.strip().removeprefix("$").replace(",", "")) if isinstance(value, str) else Decimal(value)
    except InvalidOperation:
        raise ConfigError(f'{what} {value!r} is not an amount of USD; write it as "0.50" or "$5"') from None
    if not amount.is_finite() or not 0 <= amount <= MOST_USD:
        raise ConfigError(f"{what} {value!r} must be an amount of USD from zero to a billion")
    return amount


def to_nanos(amount: Decimal) -> int:
    """Round USD to nano-dollars, half to even: what a cost is at rest."""
    return int(amount.quantize(_NANO, ROUND_HALF_EVEN, _EXACT).scaleb(9, _EXACT))


def to_nanos_up(amount: Decimal) -> int:
    """Round USD up to nano-dollars: what a hold is, so that it never covers too little."""
    return int(amount.quantize(_NANO, ROUND_CEILING, _EXACT).scaleb(9, _EXACT))


def from_nanos(nanos: int) -> Decimal:
    """The exact USD amount of an integer of nano-dollars."""
    return Decimal(nanos).scaleb(-9, _EXACT)


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum, in whatever context the app counts."""
    found = Decimal(0)
    for amount in amounts:
        found = _EXACT.add(found, amount)
    return found


def exact_difference(amount: Decimal, other: Decimal) -> Decimal:
    """The exact difference."""
    return _EXACT.subtract(amount, other)


def show_usd(amount: Decimal) -> str:
    """Print USD for people: two decimals, more (up to nine) where cents would hide the amount."""
    sign, amount = ("-", amount.copy_negate()) if amount < 0 else ("", amount)
    text = f"{amount.quantize(_NANO, ROUND_HALF_EVEN, _EXACT):,f}"
    whole, _, fraction = text.partition(".")
    return f"{sign}${whole}.{fraction.rstrip('0').ljust(2, '0')}"
