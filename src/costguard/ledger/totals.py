"""Entries added up in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from costguard.ledger.buckets import percentile
from costguard.ledger.figures import Percentiles, Sum

COUNTS = tuple(field.name for field in fields(Sum) if field.name != "group")
"""The names of a sum's counts, in the order in which they are added up."""


class Totals:
    """Groups (values in the order of `by`) to their counts (in the order of `COUNTS`)."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = tuple(by)
        self._groups: dict[tuple[str, ...], list[int]] = {}

    def add(self, group: tuple[str, ...], counts: Sequence[int]) -> None:
        known = self._groups.get(group)
        if known is None:
            self._groups[group] = list(counts)
        else:
            for place, count in enumerate(counts):
                known[place] += count

    def sums(self) -> list[Sum]:
        """Dearest first; groups of one cost in the order of their names."""
        by = self._by
        lines = [
            Sum(dict(zip(by, group, strict=True)), *counts)
            for group, counts in sorted(self._groups.items(), key=lambda line: (-line[1][1], line[0]))
        ]
        return lines


class Spread:
    """Groups to how many of their calls took, and cost, how much: counts by bucket (`costguard.ledger.buckets`)."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = tuple(by)
        self._groups: dict[tuple[str, ...], tuple[dict[int, int], dict[int, int]]] = {}

    def add(self, group: tuple[str, ...], *, cost: bool, place: int, count: int) -> None:
        known = self._groups.get(group)
        if known is None:
            known = self._groups[group] = ({}, {})
        counts = known[cost]
        counts[place] = counts.get(place, 0) + count

    def percentiles(self) -> list[Percentiles]:
        """Most calls first; groups of as many in the order of their names. Latencies are counted in microseconds."""
        found = []
        for group, (took, cost) in sorted(self._groups.items()):
            calls = sum(took.values())
            if not calls and not any(cost.values()):
                continue
            group_of = dict(zip(self._by, group, strict=True))
            half, most = [
                None if each is None else each * 1000 for each in (percentile(took, 50), percentile(took, 95))
            ]
            found.append(Percentiles(group_of, calls, half, most, percentile(cost, 50), percentile(cost, 95)))
        return sorted(found, key=lambda line: -line.calls)
