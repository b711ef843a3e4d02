"""The models without a price: how much was asked of them, and how they get one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from costguard.ledger.figures import Sum
from costguard.notice import price_for

_MOST_NEAR = 20
"""Models that near names are looked for: each costs some milliseconds."""


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Calls of a model without a price; `near` are names with one, the most alike first."""

    provider: str
    model: str
    calls: int
    tokens: int
    near: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def way_out(self) -> str:
        """What gives it a price, to be copied."""
        return price_for(self.name)

    def to_json(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "model": self.model,
            "calls": self.calls,
            "tokens": self.tokens,
            "near": list(self.near),
            "way_out": self.way_out,
        }


def unpriced(sums: Iterable[Sum]) -> tuple[Unpriced, ...]:
    """Of sums by provider and model: those without a price, the most used first."""
    lines = [one for one in sums if one.unpriced_calls > 0]
    if not lines:
        return ()
    from costguard.pricing.book import PriceBook

    book = PriceBook()
    lines.sort(key=lambda one: (-one.unpriced_calls, *one.group.values()))
    found = []
    for place, one in enumerate(lines):
        provider, model = one.group["provider"], one.group["model"]
        near = tuple(book.near(provider, model)) if place < _MOST_NEAR else ()
        found.append(Unpriced(provider, model, one.unpriced_calls, one.unpriced_tokens, near))
    return tuple(found)
