"""Reads of the ledger in memory: a pass over all its entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from costguard.adjustment import Adjustment
from costguard.events import Entry
from costguard.ledger.base import Sum, is_lost_lease
from costguard.ledger.totals import Totals


class MemoryReading:
    _lock: Lock
    _entries: dict[str, Entry]

    def entries(
        self,
        tags: Mapping[str, str],
        *,
        model: str | None = None,
        provider: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        found = [
            (entry.at_ns // 1000, place, entry)
            for place, entry in self._matching(tags, since_ns, until_ns)
            if model in (None, entry.model) and provider in (None, entry.provider)
        ]
        found.sort(key=lambda line: line[:2], reverse=True)
        return [entry for _, _, entry in found[:limit]]

    def spent(self, tags: Mapping[str, str], *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        found = self._matching(tags, since_ns, until_ns)
        return sum(entry.nanos or 0 for _, entry in found if not is_lost_lease(entry))

    def sums(
        self,
        by: Sequence[str],
        tags: Mapping[str, str],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        totals = Totals(by)
        for _, entry in self._matching(tags, since_ns, until_ns):
            if "operation" not in by and is_lost_lease(entry):
                continue
            totals.add(tuple([_value(entry, name) for name in by]), _counts(entry))
        return totals.sums()

    def _matching(
        self, tags: Mapping[str, str], since_ns: int | None, until_ns: int | None
    ) -> Iterable[tuple[int, Entry]]:
        with self._lock:
            entries = list(self._entries.values())
        wanted = tuple(tags.items())
        for place, entry in enumerate(entries):
            at = entry.at_ns // 1000
            if (
                (since_ns is None or at >= since_ns // 1000)
                and (until_ns is None or at < until_ns // 1000)
                and all(entry.tags.value(name) == value for name, value in wanted)
            ):
                yield place, entry


def _value(entry: Entry, name: str) -> str:
    if name in ("provider", "model", "operation", "status"):
        return str(getattr(entry, name))
    return entry.at.date().isoformat() if name == "day" else entry.tags.value(name)


def _counts(entry: Entry) -> tuple[int, ...]:
    if isinstance(entry, Adjustment):
        return _corrections(entry)
    usage = entry.usage
    cost, priced = entry.nanos or 0, entry.nanos is not None
    tokens = usage.input_tokens + usage.output_tokens
    return (
        entry.attempts > 0, cost, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
        not priced, 0 if priced else tokens, entry.estimated, cost if entry.estimated else 0,
        entry.status == "error", entry.duration_ns // 1000 * 1000,
    )  # fmt: skip


def _corrections(one: Adjustment) -> tuple[int, ...]:
    cost, estimated = one.nanos, one.nanos if one.estimated else 0
    unpriced, tokens = (0, 0) if one.covers is None else (-1, -one.covers)
    return 0, cost, 0, 0, 0, unpriced, tokens, 0, estimated, 0, 0
