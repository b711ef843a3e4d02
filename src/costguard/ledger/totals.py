"""Entries added up in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from costguard.ledger.base import Sum

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
        lines = [
            Sum(dict(zip(self._by, group, strict=True)), **dict(zip(COUNTS, counts, strict=True)))
            for group, counts in sorted(self._groups.items())
        ]
        return sorted(lines, key=lambda line: -line.cost)
