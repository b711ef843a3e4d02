"""What a budget counts: US dollars, tokens or calls; as `Decimal` for people, as integers at rest."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, get_args

from costguard.errors import ConfigError
from costguard.money import from_nanos, show_usd, to_nanos, usd

Unit = Literal["usd", "tokens", "calls"]
UNITS: tuple[str, ...] = get_args(Unit)

MOST_UNITS = 10**15
"""Tokens or calls; sums of them fit the 64-bit integers of a store."""


def check_unit(unit: object) -> None:
    """Raises ConfigError for a unit that nothing is counted in."""
    if unit not in UNITS:
        raise ConfigError(f"unit {unit!r} is not one of {', '.join(UNITS)}")


def read_amount(value: object, unit: Unit, *, what: str) -> Decimal:
    """An exact amount of this unit: USD down to the nano-dollar, or a whole number of tokens or calls.

    Raises ConfigError, naming `what` and the value.
    """
    if unit == "usd":
        amount = usd(value, what=what)  # type: ignore[arg-type]  # refuses other types itself
        if from_nanos(to_nanos(amount)) != amount:
            raise ConfigError(f"{what} {value!r} is finer than a nano-dollar; give at most nine decimals")
        return amount
    if isinstance(value, str) and "$" in value:
        raise ConfigError(f"{what} {value!r} has a $, but is in {unit}; leave one of them out")
    number = -1
    if isinstance(value, Decimal):
        number = int(value) if value.is_finite() and value == int(value) else -1
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        digits = value.strip().replace(",", "").replace("_", "")
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1
    if not 0 <= number <= MOST_UNITS:
        raise ConfigError(f"{what} {value!r} must be a whole number of {unit}, from zero to {MOST_UNITS:,}")
    return Decimal(number)


def at_rest(amount: Decimal, unit: Unit) -> int:
    """The integer that a store keeps: nano-dollars, tokens or calls."""
    return to_nanos(amount) if unit == "usd" else int(amount)


def from_rest(number: int, unit: Unit) -> Decimal:
    """The reverse of `at_rest`."""
    return from_nanos(number) if unit == "usd" else Decimal(number)


def share_of(number: int, fraction: Decimal) -> int:
    """A fraction of an integer at rest, rounded up."""
    part, whole = fraction.as_integer_ratio()
    return -(-number * part // whole)


def show_number(amount: Decimal, unit: Unit) -> str:
    """For people, without the name of the unit unless it is a currency: "$5.00", "100,000"."""
    return show_usd(amount) if unit == "usd" else f"{int(amount):,}"


def show_amount(amount: Decimal, unit: Unit) -> str:
    """For people: "$5.00", "100,000 tokens"."""
    return show_usd(amount) if unit == "usd" else f"{int(amount):,} {unit}"
