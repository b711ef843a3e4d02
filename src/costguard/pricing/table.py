"""A price list in memory, whatever shape its file had."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol, TypeAlias

from costguard.pricing.listing import Listing
from costguard.pricing.naming import undated
from costguard.pricing.rates import FOREVER, Rates

Context: TypeAlias = tuple[tuple[str, str], ...]


class Found(NamedTuple):
    """What a price list says of a model at a moment, and between which moments it says so.

    rates:  None where it has no price
    """

    rates: Rates | None
    from_ns: int = -FOREVER
    until_ns: int = FOREVER


class PriceList(Protocol):
    """What a book looks into."""

    def __len__(self) -> int:
        """How many entries it has."""
        ...

    def find(self, providers: Sequence[str], names: Sequence[str], at_ns: int, context: Context) -> Found:
        """The rates under the first of `names` that it has; `providers` are all names of one provider."""
        ...

    def names(self) -> list[str]:
        """The models it has, without providers."""
        ...

    def of_provider(self, providers: Sequence[str], at_ns: int) -> Iterator[Rates]:
        """The standard rates of all models that are listed under one of these names."""
        ...


NO_LIST = Found(None)


class Table:
    """Listings by name.

    exact:     "provider/model" or "model", lower case, to a listing, or to what makes it when it is asked for
    starts:    beginnings of such names
    patterns:  regular expressions of model names, the first that matches counts
    updated:   when the list says that it was written
    undated:   "gpt-4o" prices "gpt-4o-2024-08-06" too, as in the prices that a user wrote down
    """

    def __init__(
        self,
        exact: Mapping[str, Listing | Callable[[], Listing]],
        *,
        starts: Mapping[str, Listing] | None = None,
        patterns: Sequence[tuple[re.Pattern[str], Listing]] = (),
        updated: datetime | None = None,
        undated: bool = False,
    ) -> None:
        self._exact = dict(exact)
        self._starts = sorted((starts or {}).items(), key=lambda start: -len(start[0]))
        self._patterns = tuple(patterns)
        self._undated = undated
        self.updated = updated
        self.source = "price list"

    def __len__(self) -> int:
        return len(self._exact) + len(self._starts) + len(self._patterns)

    def find(self, providers: Sequence[str], names: Sequence[str], at_ns: int, context: Context) -> Found:
        first, end = -FOREVER, FOREVER
        # One that holds at another time leaves it to the next, until then.
        for listing in self._listings(providers, names):
            starts, ends = listing.bounds(at_ns)
            first, end = max(first, starts), min(end, ends)
            rates = listing.rates(providers[-1], at_ns, context, self.source)
            if rates is not None:
                return Found(rates, first, end)
        return Found(None, first, end)

    def names(self) -> list[str]:
        return [name.partition("/")[2] or name for name in self._exact] + [
            listing.model for _, listing in self._patterns
        ]

    def names_of(self, provider: str) -> list[str]:
        """The models that are listed under this provider."""
        start = f"{provider}/"
        return [name.removeprefix(start) for name in self._exact if name.startswith(start)]

    def of_provider(self, providers: Sequence[str], at_ns: int) -> Iterator[Rates]:
        for name, given in (*self._exact.items(), *self._starts):
            provider, slash, _ = name.partition("/")
            if slash and provider in providers:
                rates = self._made(name, given).rates(provider, at_ns, (), self.source)
                if rates is not None:
                    yield rates

    def _listings(self, providers: Sequence[str], names: Sequence[str]) -> Iterator[Listing]:
        wanted = [name.lower() for name in names]
        if self._undated:
            wanted += [undated(name) for name in wanted if not name.startswith("ft:")]
        for name in dict.fromkeys(wanted):
            for full in (*(f"{provider}/{name}" for provider in providers), name):
                given = self._exact.get(full)
                if given is not None:
                    yield self._made(full, given)
        wholes = [whole for name in wanted for whole in (*(f"{each}/{name}" for each in providers), name)]
        for start, listing in self._starts:
            if any(whole.startswith(start) for whole in wholes):
                yield listing
        for pattern, listing in self._patterns:
            if any(pattern.search(name) for name in names):
                yield listing

    def _made(self, name: str, given: Listing | Callable[[], Listing]) -> Listing:
        if isinstance(given, Listing):
            return given
        listing = self._exact[name] = given()
        return listing


def flat(price: Decimal) -> tuple[tuple[int, Decimal], ...]:
    """One price for calls of any size."""
    return ((-1, price),)
