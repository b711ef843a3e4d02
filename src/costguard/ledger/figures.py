"""What a ledger answers when it is asked how much: sums and percentiles of groups, and which entries are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal

Where = Mapping[str, str | Sequence[str]]
"""The entries that are asked for: values of tags, or of `FACTS`; of several values any will do."""

FACTS = ("provider", "model", "operation", "status")
"""What can be asked for, and grouped by, beside tags. A tag of such a name cannot."""

MOMENTS = ("day", "hour")
"""Only grouped by: "2026-11-22" and "2026-11-22T13", UTC."""

Order = Literal["newest", "dearest", "slowest"]


@dataclass(frozen=True, slots=True)
class Sum:
    """What the entries of one group add up to. `group` has a value for each name asked for.

    cost:       nano-dollars of the priced entries; `estimated_cost` of it was estimated
    input_tokens, output_tokens: totals; cached reads and writes are part of the input, reasoning of the output
    unpriced_calls, unpriced_tokens: never counted as free: shown beside the cost
    errors:     calls that the provider refused or failed
    duration_ns: sum of the durations
    attempts:   requests made of the provider, repeated ones included
    """

    group: Mapping[str, str]
    calls: int
    cost: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    unpriced_calls: int
    unpriced_tokens: int
    estimated_calls: int
    estimated_cost: int
    errors: int
    duration_ns: int
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Half of the calls of one group took, or cost, at most so much (p50), and 95 of 100 (p95); at most 5 % off.

    calls:   that were counted for the latency: requests that a provider answered or failed
    latency: nanoseconds; None where nothing is counted
    cost:    nano-dollars of the priced calls, corrections left out; None where none is priced
    """

    group: Mapping[str, str]
    calls: int
    latency_p50_ns: int | None
    latency_p95_ns: int | None
    cost_p50: int | None
    cost_p95: int | None


def _storable(value: str) -> bool:
    """No store has NUL or lone surrogates in a value, and no database can be asked for them."""
    if value.isascii():
        return "\0" not in value
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" for each in value)


def any_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """The values of which any will do."""
    return (value,) if isinstance(value, str) else tuple(value)


class Wanted:
    """Which entries are asked for.

    tags, facts: names to the values of which one will do; the facts are `FACTS`
    since, until: microseconds since 1970; None: no bound
    sets: the numbers of the tag sets that have these tags; None where nobody has looked them up
    """

    __slots__ = ("facts", "sets", "since", "tags", "until")

    def __init__(
        self, where: Where, since_ns: int | None = None, until_ns: int | None = None, also: Where | None = None
    ) -> None:
        self.tags: dict[str, frozenset[str]] = {}
        self.facts: dict[str, frozenset[str]] = {}
        for given in (where, also or {}):
            for name, value in given.items():
                values = frozenset(filter(_storable, any_of(value)))
                known = self.facts if name in FACTS else self.tags
                known[name] = values & known.get(name, values)
        self.since = None if since_ns is None else since_ns // 1000
        self.until = None if until_ns is None else until_ns // 1000
        self.sets: list[int] | None = None

    def of_sets(self, sets: list[int]) -> Wanted:
        """The same, of these tag sets."""
        found = copy(self)
        found.sets = sets
        return found
