"""One model of a price list: its prices under conditions, and the rates they come to at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from costguard.pricing import rules
from costguard.pricing.hours import Hours
from costguard.pricing.rates import EXACT, FOREVER, Rates
from costguard.pricing.standins import REASONING
from costguard.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS

Steps: TypeAlias = tuple[tuple[int, Decimal], ...]
"""(start, USD per unit), the first at -1: above `start` input tokens in all this price holds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOKENS = frozenset((*INPUT_BUCKETS, *OUTPUT_BUCKETS, REASONING))


class Terms(NamedTuple):
    """Prices by bucket, and when they hold.

    when:              the context they are for, e.g. {"service_tier": "flex"}; {}: standard processing
    from_ns, until_ns: the end excluded
    hours:             of the day; None: all
    """

    prices: Mapping[str, Steps]
    when: Mapping[str, str] = {}
    from_ns: int = -FOREVER
    until_ns: int = FOREVER
    hours: Hours | None = None

    def hold(self, at_ns: int) -> bool:
        return self.from_ns <= at_ns < self.until_ns and (self.hours is None or self.hours.holds(_moment(at_ns)))


class Listing(NamedTuple):
    """A model as a price list has it.

    provider:  as the list says, "" if it does not
    terms:     in the order of the list; later ones win
    factors:   what a fact of the context multiplies all token prices by: {("inference_geo", "us"): Decimal("1.1")}
    least:     bucket to the least count that is billed
    share:     prices are `share` times what they are; 9 for prices per hour
    """

    provider: str
    model: str
    terms: tuple[Terms, ...]
    factors: Mapping[tuple[str, str], Decimal] = {}
    least: Mapping[str, int] = {}
    share: int = 1
    context_window: int | None = None

    def rates(self, provider: str, at_ns: int, context: tuple[tuple[str, str], ...], source: str) -> Rates | None:
        """The rates at a moment; None where the list has none for it. What no price is known of is in `unknown`."""
        standard: Terms | None = None
        for terms in self.terms:
            if not terms.when and terms.hold(at_ns) and (standard is None or _rank(terms) >= _rank(standard)):
                standard = terms
        if standard is None:
            return None
        wanted = rules.asked(provider, context)
        prices: dict[str, Steps] = dict(standard.prices)
        factor, unknown = Decimal(1), []
        if wanted:
            known: set[str] = set()
            fitting = [
                terms
                for terms in self.terms
                if terms.when and terms.hold(at_ns) and all(wanted.get(key) == want for key, want in terms.when.items())
            ]
            for terms in sorted(fitting, key=lambda terms: (len(terms.when), *_rank(terms))):
                known.update(terms.when)
                prices.update(terms.prices)
            for name, value in wanted.items():
                if name not in known:
                    by = self.factors.get((name, value)) or rules.factor(provider, self.model, name, value)
                    if by is None:
                        unknown.append(f"{name}={value}")
                    else:
                        factor = EXACT.multiply(factor, by)
        if prices.get(REASONING) == prices.get("output"):
            prices.pop(REASONING, None)
        first, end = self.bounds(at_ns)
        return Rates.priced(
            self.provider or provider,
            self.model,
            source,
            _levels(prices, factor),
            share=self.share,
            least=self.least,
            unknown=unknown,
            valid_from_ns=None if first == -FOREVER else first,
            valid_until_ns=None if end == FOREVER else end,
            context_window=self.context_window,
        )

    def bounds(self, at_ns: int) -> tuple[int, int]:
        """Between which moments nothing of it changes."""
        edges = [edge for terms in self.terms for edge in (terms.from_ns, terms.until_ns)]
        for hours in {terms.hours for terms in self.terms if terms.hours is not None}:
            edges += [(edge - _EPOCH) // timedelta(microseconds=1) * 1_000 for edge in hours.edges(_moment(at_ns))]
        past, coming = [edge for edge in edges if edge <= at_ns], [edge for edge in edges if edge > at_ns]
        return max(past, default=-FOREVER), min(coming, default=FOREVER)


def _rank(terms: Terms) -> tuple[bool, int]:
    """Prices for hours of the day come before those for all of it, later dates before earlier ones."""
    return terms.hours is not None, terms.from_ns


def _levels(prices: Mapping[str, Steps], factor: Decimal) -> list[tuple[int, dict[str, Decimal]]]:
    starts = sorted({start for steps in prices.values() for start, _ in steps} | {-1})
    return [
        (
            start,
            {
                bucket: EXACT.multiply(price, factor) if bucket in _TOKENS else price
                for bucket, steps in prices.items()
                for price in [next(price for above, price in reversed(steps) if start >= above)]
            },
        )
        for start in starts
    ]


def _moment(at_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_ns // 1_000)
