"""What a group of calls adds up to, as a value: one row of every report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from itertools import repeat
from operator import attrgetter
from typing import Any

from costguard.ledger.columnar import from_rows
from costguard.ledger.figures import Percentiles, Sum
from costguard.money import exact_difference, exact_sum, from_nanos
from costguard.reports.plain import plain_share, plain_usd, plain_usd_or_none, seconds

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Spend:
    """What a group of calls adds up to; amounts in USD.

    cost:            of the calls that have a price; `estimated_cost` of it was estimated, over `estimated_calls`
    unpriced_calls, unpriced_tokens: have no price, and are in no cost: they are not free
    errors:          calls that the provider refused or failed, counted in `calls`
    cache_read_tokens, cache_write_tokens: part of the input tokens; `reasoning_tokens` of the output
    attempts:        requests made for the calls, those that the SDK repeated included
    duration_ns:     of all calls together
    refused:         calls that a budget refused, in no other number; None where they are not counted by this group
    spread:          half of the calls took and cost at most so much, and 95 of 100; None where it was not asked for
    before:          the same group in the period before; None where it was not asked for
    """

    group: Mapping[str, str]
    calls: int = 0
    cost: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    estimated_calls: int = 0
    estimated_cost: Decimal = Decimal(0)
    errors: int = 0
    attempts: int = 0
    duration_ns: int = 0
    refused: int | None = None
    spread: Percentiles | None = None
    before: Spend | None = field(default=None)

    @classmethod
    def of(cls, group: Mapping[str, str], sums: Iterable[Sum]) -> Spend:
        """The groups of the ledger added up to one."""
        if not isinstance(sums, Sequence):
            sums = list(sums)
        if len(sums) == 1:
            return cls.of_one(sums[0], group)
        return cls(
            group=dict(group),
            cost=from_nanos(sum(map(attrgetter("cost"), sums))),
            estimated_cost=from_nanos(sum(map(attrgetter("estimated_cost"), sums))),
            **{name: sum(map(attrgetter(name), sums)) for name in COUNTS},
        )

    @classmethod
    def of_one(cls, one: Sum, group: Mapping[str, str] | None = None, refused: int | None = None) -> Spend:
        return cls(
            one.group if group is None else group, one.calls, from_nanos(one.cost) if one.cost else _ZERO,
            one.input_tokens, one.output_tokens, one.cache_read_tokens, one.cache_write_tokens, one.reasoning_tokens,
            one.unpriced_calls, one.unpriced_tokens, one.estimated_calls,
            from_nanos(one.estimated_cost) if one.estimated_cost else _ZERO, one.errors, one.attempts,
            one.duration_ns, refused,
        )  # fmt: skip

    @classmethod
    def of_each(cls, sums: Sequence[Sum], refused: Callable[[Sum], int | None]) -> tuple[list[Spend], Spend]:
        """`of_one` of each, and `of` all: a report may have a hundred thousand of them."""
        added = dict.fromkeys(ADDED, 0)

        def columns(some: Sequence[Sum]) -> Iterator[Iterable[Any]]:
            for one in fields(cls):
                name = one.name
                if name == "refused":
                    yield map(refused, some)
                elif name in ("spread", "before"):
                    yield repeat(None)
                else:
                    values = list(map(attrgetter(name), some))
                    if name in added:
                        added[name] += sum(values)
                    yield map(_usd, values) if name in AMOUNTS else values

        rows = from_rows(cls, sums, columns)
        totals: dict[str, Any] = {name: _usd(value) if name in AMOUNTS else value for name, value in added.items()}
        return rows, cls({}, **totals)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def cache_share(self) -> Decimal | None:
        """Of the input tokens those that were read from a cache, 0 to 1; None without any."""
        return _part(self.cache_read_tokens, self.input_tokens)

    @property
    def error_share(self) -> Decimal | None:
        return _part(self.errors, self.calls)

    @property
    def repeats(self) -> int:
        """Requests beyond the first of each call."""
        return max(0, self.attempts - self.calls)

    @property
    def cost_per_call(self) -> Decimal | None:
        """USD, of the priced calls; None without any."""
        priced = self.calls - self.unpriced_calls
        return self.cost / priced if priced > 0 else None

    @property
    def latency_ns(self) -> int | None:
        """The mean; None without a call."""
        return self.duration_ns // self.calls if self.calls else None

    @property
    def change(self) -> Decimal | None:
        """USD more than in the period before."""
        return None if self.before is None else exact_difference(self.cost, self.before.cost)

    @property
    def change_share(self) -> Decimal | None:
        """0.1 for a tenth more; None where nothing was spent before."""
        if self.before is None or not self.before.cost:
            return None
        return exact_difference(self.cost, self.before.cost) / self.before.cost

    def without(self, others: Iterable[Spend]) -> Spend:
        """What is left when these groups are taken out of it."""
        rest: dict[str, Any] = {name: getattr(self, name) for name in ADDED}
        for other in others:
            for name in ADDED:
                value = getattr(other, name)
                rest[name] = exact_difference(rest[name], value) if name in AMOUNTS else rest[name] - value
        return Spend({}, **rest)

    def beside(self, before: Spend | None) -> Spend:
        """With the period before."""
        return replace(self, before=before or Spend(self.group))

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts as strings, times in seconds."""
        told: dict[str, Any] = {
            "calls": self.calls,
            "cost": plain_usd(self.cost),
            **{name: getattr(self, name) for name in COUNTS if name not in ("calls", "duration_ns")},
            "estimated_cost": plain_usd(self.estimated_cost),
            "cache_share": plain_share(self.cache_share),
            "latency": seconds(self.latency_ns),
            "refused": self.refused,
        }
        if self.spread is not None:
            told["latency_p50"] = seconds(self.spread.latency_p50_ns)
            told["latency_p95"] = seconds(self.spread.latency_p95_ns)
            told["cost_p50"] = plain_usd_or_none(usd_or_none(self.spread.cost_p50))
            told["cost_p95"] = plain_usd_or_none(usd_or_none(self.spread.cost_p95))
        if self.before is not None:
            told["before"] = self.before.to_json()
            told["change"] = plain_usd_or_none(self.change)
            told["change_share"] = plain_share(self.change_share)
        return told


COUNTS = tuple(one.name for one in fields(Spend) if one.type == "int")
"""The whole numbers of a row that add up."""

AMOUNTS = ("cost", "estimated_cost")
ADDED = (*COUNTS, *AMOUNTS)


def total(rows: Iterable[Spend], group: Mapping[str, str] | None = None) -> Spend:
    """Rows added up."""
    several = list(rows)
    add: dict[str, Callable[[Iterable[Any]], Any]] = {name: exact_sum if name in AMOUNTS else sum for name in ADDED}
    return Spend(group or {}, **{name: add[name](getattr(row, name) for row in several) for name in ADDED})


def _usd(nanos: int) -> Decimal:
    return from_nanos(nanos) if nanos else _ZERO


def usd_or_none(nanos: int | None) -> Decimal | None:
    return None if nanos is None else from_nanos(nanos)


def _part(part: int, whole: int) -> Decimal | None:
    return Decimal(part) / whole if whole else None
