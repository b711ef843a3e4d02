"""The prices of one model at one time, compiled to integers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

from costguard.pricing.receipt import Line, Receipt
from costguard.pricing.standins import REASONING, complete
from costguard.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS, Usage

FOREVER = 2**63 - 1

# The default context keeps 28 digits, and an app may have set it to fewer.
EXACT = Context(prec=200)

_FIELDS = (
    "provider", "model", "source", "rates", "scale", "share", "tiers", "least", "unknown", "context",
    "valid_from_ns", "valid_until_ns", "context_window",
)  # fmt: skip
_TEXT_INPUT = ("input", "cache_read", "cache_write_5m", "cache_write_1h")


class Rates:
    """What one model costs in one context, until `valid_until_ns`: a rate for each bucket, in integers.

    provider, model:  the price-list entry that was matched
    source:           "genai-prices 0.2.3", "override", ...
    scale, share:     a rate of 1 is 10**-scale / share USD; share is 9 where a price is per hour of
                      audio (a second of $0.04 an hour has no finite decimal), else 1
    rates:            bucket to rate, own prices only
    tiers:            ((start, rates), ...): above `start` input tokens in all, these rates hold for every
                      token of the call, as OpenAI, Anthropic, Google and xAI charge; others stay
    least:            bucket to the least count that is billed, e.g. {"seconds": 10}
    unknown:          what else should change the price and is in no list, e.g. ("service_tier=scale",)
    context:          what they were looked up with beside the model, e.g. (("service_tier", "flex"),): with it an
                      entry can be priced anew
    valid_from_ns, valid_until_ns: when these rates hold, the end excluded; None without bound
    context_window:   tokens the model can take, None if not known

    A price per request is charged once for a call whose usage has no bucket `requests`.
    """

    __slots__ = (
        "_bare", "_bounds", "_divisor", "_fee", "_lacking", "_odd", "_reasons", "_table", "_text", "_tiers",
        "context", "context_window", "least", "model", "provider", "rates", "scale", "share", "source", "tiers",
        "unknown", "valid_from_ns", "valid_until_ns",
    )  # fmt: skip

    def __init__(
        self,
        provider: str,
        model: str,
        source: str,
        rates: Mapping[str, int],
        *,
        scale: int = 9,
        share: int = 1,
        tiers: Iterable[tuple[int, Mapping[str, int]]] = (),
        least: Mapping[str, int] | None = None,
        unknown: Iterable[str] = (),
        context: Iterable[Iterable[str]] = (),
        valid_from_ns: int | None = None,
        valid_until_ns: int | None = None,
        context_window: int | None = None,
    ) -> None:
        self.provider = provider
        self.model = model
        self.source = source
        self.scale = max(scale, 9)
        self.share = share
        lift: int = 10 ** (self.scale - scale)
        self.rates = {name: rate * lift for name, rate in rates.items()}
        self.tiers = tuple(
            (start, {name: rate * lift for name, rate in level.items()}) for start, level in sorted(tiers)
        )
        self.least = dict(least or {})
        self.unknown = tuple(unknown)
        self.context = tuple([(name, value) for name, value in context])
        self.valid_from_ns = valid_from_ns
        self.valid_until_ns = valid_until_ns
        self.context_window = context_window
        self._text: str | None = None
        self._divisor: int = 10 ** (self.scale - 9) * share
        self._table, self._lacking, self._bare = complete(self.rates)
        above: list[tuple[int, dict[str, int]]] = []
        for start, level in self.tiers:
            table, lacking, bare = complete({**self.rates, **level})
            above.append((start, table))
            self._lacking |= lacking
            self._bare &= bare
        self._tiers = tuple(above)
        self._fee = self.rates.get("requests", 0)
        self._reasons = REASONING in self.rates
        self._odd = bool(self._fee or self._reasons or self.least)
        self._bounds = self._ceilings()

    @classmethod
    def priced(
        cls,
        provider: str,
        model: str,
        source: str,
        levels: Iterable[tuple[int, Mapping[str, Decimal]]],
        *,
        share: int = 1,
        **more: Any,
    ) -> Rates:
        """Compile exact prices: `levels` are (start, bucket to USD per unit, times `share`), the first at -1."""
        given = sorted(levels, key=lambda level: level[0])
        scale = max([9, *(-_exponent(price) for _, prices in given for price in prices.values())])
        compiled = [
            (start, {name: int(EXACT.scaleb(price, scale)) for name, price in prices.items()})
            for start, prices in given
        ]
        return cls(provider, model, source, compiled[0][1], scale=scale, share=share, tiers=compiled[1:], **more)

    def nanos(self, usage: Usage) -> int:
        """The cost in nano-dollars: summed exactly, rounded once, half to even.

        Buckets without any rate add nothing; `missing` names them, and `priced_any` tells when none has one.
        """
        total = 0
        if self._odd:
            for _, count, rate in self._parts(usage):
                total += count * rate
        else:
            buckets = usage.buckets
            table = self._at_size(buckets) if self._tiers else self._table
            for name, count in buckets.items():
                total += count * table[name]
        divisor = self._divisor
        if divisor == 1:
            return total
        whole = total // divisor
        twice = (total - whole * divisor) * 2
        return whole + 1 if twice > divisor or (twice == divisor and whole & 1) else whole

    def bound(self, input_tokens: int, output_tokens: int, *, media: bool = False) -> int:
        """The most that so many tokens can cost, in nano-dollars, rounded up: what a strict hold is.

        Any split of the input into plain, read and written (5 minutes or 1 hour) tokens costs no more,
        nor does a shorter input or output. Tokens are text unless `media`: then the dearest of audio, image
        and video counts. Fees per search or second are not in it, a fee per request is.
        """
        return self.bounds(input_tokens, output_tokens, media=media)[1]

    def bounds(self, input_tokens: int, output_tokens: int, *, media: bool = False) -> tuple[int, int]:
        """`bound` of the input alone, and of both."""
        dearest_in = dearest_out = 0
        for start, text_in, text_out, any_in, any_out in self._bounds:
            if input_tokens > start:
                dearest_in, dearest_out = (any_in, any_out) if media else (text_in, text_out)
        taken = input_tokens * dearest_in + self._fee
        divisor = self._divisor
        return -(-taken // divisor), -(-(taken + output_tokens * dearest_out) // divisor)

    def missing(self, usage: Usage) -> tuple[str, ...]:
        """What the cost leaves out or underrates: used buckets without a price, and `unknown`.

        Audio tokens (and generated media, and cache writes kept for an hour) of a model without such
        rates count at the text rate, the least they can cost, and are named here.
        """
        buckets = usage.buckets
        if self._lacking.isdisjoint(buckets):
            return self.unknown if buckets else ()
        return (*(name for name in buckets if name in self._lacking), *self.unknown)

    def priced_any(self, usage: Usage) -> bool:
        """False when not one of the used buckets has a rate: such a cost is unknown, not zero."""
        buckets = usage.buckets
        reasoned = self._reasons and usage.reasoning_tokens and "output" in buckets
        return bool(not buckets or self._fee or reasoned or not all(name in self._bare for name in buckets))

    def receipt(self, usage: Usage) -> Receipt:
        """The arithmetic of `nanos`, exact and unrounded."""
        lines = tuple(
            Line(name, count, self._usd(rate), self._usd(count * rate))
            for name, count, rate in self._parts(usage)
            if name not in self._bare
        )
        known = self.priced_any(usage)
        return Receipt(
            provider=self.provider,
            model=self.model,
            lines=lines,
            cost=self._usd(sum(count * rate for _, count, rate in self._parts(usage))) if known else None,
            source=self.source,
            unpriced=self.missing(usage),
            reason=None if known else f"{self.provider}/{self.model} has no price for {', '.join(usage.buckets)}",
        )

    def dump(self) -> str:
        """These rates as compact JSON, the same text for the same arithmetic: what a ledger keeps.

        The time they were valid is left out, so that a price that comes back every night is one row.
        """
        if self._text is None:
            given: dict[str, Any] = {
                "provider": self.provider,
                "model": self.model,
                "source": self.source,
                "scale": self.scale,
                "share": self.share,
                "rates": self.rates,
                "tiers": self.tiers,
                "least": self.least,
                "unknown": self.unknown,
                "context": self.context,
            }
            kept = {name: value for name, value in given.items() if value or name == "rates"}
            self._text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        return self._text

    @classmethod
    def load(cls, text: str) -> Rates:
        """Rates from `dump`. Raises ValueError, showing the text, for anything else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"these are not rates written by Rates.dump(): {text[:200]!r} ({error})") from None

    def changed(self, **fields: Any) -> Rates:
        """These rates with other fields (those of `Rates`)."""
        return Rates(**{**{name: getattr(self, name) for name in _FIELDS}, **fields})

    def __eq__(self, other: object) -> bool:
        return self.dump() == other.dump() if isinstance(other, Rates) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.dump())

    def __repr__(self) -> str:
        return f"Rates({self.provider}/{self.model}, {self.source}, {self.rates} at 1e-{self.scale} USD)"

    def _parts(self, usage: Usage) -> list[tuple[str, int, int]]:
        """(bucket, billed count, rate) of a usage: the lines of its receipt."""
        buckets = usage.buckets
        table = self._at_size(buckets)
        parts = [(name, count, table[name]) for name, count in buckets.items()]
        if self.least:
            parts = [(name, max(count, self.least.get(name, 0)), rate) for name, count, rate in parts]
        if self._reasons and usage.reasoning_tokens and "output" in buckets:
            reasoning = min(usage.reasoning_tokens, buckets["output"])
            parts = [
                (name, count - reasoning if name == "output" else count, rate)
                for name, count, rate in parts
                if name != "output" or count > reasoning
            ]
            parts.append((REASONING, reasoning, table[REASONING]))
        if self._fee and buckets and "requests" not in buckets:
            parts.append(("requests", 1, self._fee))
        return parts

    def _at_size(self, buckets: Mapping[str, int]) -> dict[str, int]:
        """The rates that hold for a call of this size."""
        table = self._table
        # Most calls are below the first threshold even with their output counted in.
        if self._tiers and sum(buckets.values()) > self._tiers[0][0]:
            size = sum(buckets.get(name, 0) for name in INPUT_BUCKETS)
            for start, level in self._tiers:
                if size > start:
                    table = level
        return table

    def _ceilings(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """(start, text input, text output, any input, any output): the dearest rates up to each tier."""
        ceilings: list[tuple[int, int, int, int, int]] = []
        so_far = (0, 0, 0, 0)
        for start, table in ((-1, self._table), *self._tiers):
            here = (
                max(table[name] for name in _TEXT_INPUT),
                max(table["output"], table[REASONING]),
                max(table[name] for name in INPUT_BUCKETS),
                max(table[name] for name in (*OUTPUT_BUCKETS, REASONING)),
            )
            so_far = (
                max(so_far[0], here[0]), max(so_far[1], here[1]), max(so_far[2], here[2]), max(so_far[3], here[3]),
            )  # fmt: skip
            ceilings.append((start, *so_far))
        return tuple(ceilings)

    def _usd(self, units: int) -> Decimal:
        amount = EXACT.divide(EXACT.scaleb(Decimal(units), -self.scale), Decimal(self.share))
        amount = amount.normalize(EXACT)
        # 1E+1 is the same amount and reads badly.
        return amount if _exponent(amount) <= 0 else amount.quantize(Decimal(1), ROUND_CEILING, EXACT)


def _exponent(value: Decimal) -> int:
    exponent = value.normalize(EXACT).as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not a price")
    return exponent
