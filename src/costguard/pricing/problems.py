"""What is wrong with a price list: all of it, told at once."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from costguard.errors import ConfigError
from costguard.money import usd

MOST_SHOWN = 50
MOST_PLACES = 60
"""Decimal places of a price: with as many as somebody likes, its integers would be as long as they like."""


class Problems:
    """Bad lines of one list; `name` says which."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []

    def add(self, entry: str, field: str, value: Any, way_out: str) -> None:
        shown = repr(value)
        self.lines.append(f"{entry}: {field} is {shown if len(shown) <= 80 else shown[:77] + '...'}; {way_out}")

    def price(self, entry: str, field: str, value: Any, unit: str) -> Decimal | None:
        """An exact amount of USD; None, and a line here, where it is none."""
        if isinstance(value, (Decimal, int, str)) and not isinstance(value, bool):
            try:
                amount = usd(value, what=field)
            except ConfigError:
                pass
            else:
                exponent = amount.as_tuple().exponent
                if not amount:
                    return Decimal(0)
                if isinstance(exponent, int) and exponent >= -MOST_PLACES:
                    return amount
        self.add(entry, field, value, f'write USD per {unit}, zero or more, such as "2.50"')
        return None

    def check(self) -> None:
        """Raise ConfigError with every line, if there is one."""
        if self.lines:
            many = len(self.lines)
            raise ConfigError(
                f"the prices of {self.name} have {many} bad line{'s' if many > 1 else ''}, and none of them is used:\n"
                + "\n".join(f"  {self.name}, {line}" for line in self._shown())
            )

    def _shown(self) -> Iterator[str]:
        yield from self.lines[:MOST_SHOWN]
        if len(self.lines) > MOST_SHOWN:
            yield f"and {len(self.lines) - MOST_SHOWN} more"
