"""The arithmetic of one cost, in exact decimals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """One bucket of a receipt: `count` units at `price` USD each make `subtotal` USD, unrounded."""

    bucket: str
    count: int
    price: Decimal
    subtotal: Decimal


@dataclass(frozen=True, slots=True)
class Receipt:
    """Bucket x price = subtotal, and where the prices came from.

    provider, model:  the price-list entry that was matched, which may be a family's name
    cost:             exact sum of the lines in USD; None when nothing is known of the model
    source:           for example "genai-prices 0.2.3" or "override"
    unpriced:         buckets that were used and have no price, so that the cost is partial
    reason:           why there is no cost, None when there is one
    """

    provider: str
    model: str
    lines: tuple[Line, ...]
    cost: Decimal | None
    source: str
    unpriced: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def partial(self) -> bool:
        return bool(self.unpriced)
