"""What groups are put in order by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from costguard.errors import ConfigError
from costguard.ledger.figures import Sum

ORDERS: Mapping[str, Callable[[Sum], int]] = MappingProxyType(
    {
        "cost": lambda one: one.cost,
        "calls": lambda one: one.calls,
        "tokens": lambda one: one.input_tokens + one.output_tokens,
        "errors": lambda one: one.errors,
        "unpriced": lambda one: one.unpriced_calls,
        "repeats": lambda one: one.attempts - one.calls,
    }
)


def measure(order: str) -> Callable[[Sum], int]:
    """The number that a group is ranked by. Raises ConfigError for an order that is none."""
    found = ORDERS.get(order)
    if found is None:
        raise ConfigError(f"order {order!r} is not one of {', '.join(ORDERS)}")
    return found
