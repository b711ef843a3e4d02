"""Reads of the ledger in memory: a pass over all its entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from uuid import UUID

from costguard.adjustment import Adjustment
from costguard.budgets import Limit
from costguard.events import Entry
from costguard.ledger.base import LEASE, Refusal, is_lost_lease
from costguard.ledger.buckets import bucket
from costguard.ledger.figures import FACTS, MOMENTS, Order, Percentiles, Sum, Wanted, Where
from costguard.ledger.record import call_key
from costguard.ledger.room import reached
from costguard.ledger.totals import Spread, Totals


class MemoryReading:
    _lock: Lock
    _entries: dict[str, Entry]
    _balances: dict[str, list[int]]

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        with self._lock:
            return [(spent, held) for spent, held in [self._balances.get(limit.key, (0, 0)) for limit in limits]]

    def reached(self, limits: Sequence[Limit]) -> Refusal | None:
        return reached(limits, self.balances(limits))

    def entries(
        self,
        tags: Where,
        *,
        model: str | None = None,
        provider: str | None = None,
        call_id: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
        order: Order = "newest",
        before: Entry | None = None,
    ) -> list[Entry]:
        given = {name: value for name, value in (("model", model), ("provider", provider)) if value is not None}
        lines = [
            (_measure(entry, order), place, entry)
            for place, entry in self._matching(Wanted(tags, since_ns, until_ns, given))
        ]
        if call_id is not None:
            wanted = str(UUID(bytes=call_key(call_id)))
            lines = [line for line in lines if line[2].call_id == wanted]
        if before is not None:
            places = {entry.call_id: place for place, entry in enumerate(self._all())}
            last = _measure(before, order), places.get(before.call_id, -1)
            lines = [line for line in lines if line[:2] < last]
        lines.sort(key=lambda line: line[:2], reverse=True)
        return [entry for _, _, entry in lines[:limit]]

    def spent(self, tags: Where, *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        wanted = Wanted(tags, since_ns, until_ns)
        return sum(entry.nanos or 0 for _, entry in self._matching(wanted) if _counted((), wanted, entry))

    def sums(
        self, by: Sequence[str], tags: Where, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> list[Sum]:
        totals, wanted = Totals(by), Wanted(tags, since_ns, until_ns)
        for _, entry in self._matching(wanted):
            if _counted(by, wanted, entry):
                totals.add(tuple([_value(entry, name) for name in by]), _counts(entry))
        return totals.sums()

    def percentiles(
        self, by: Sequence[str], tags: Where, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> list[Percentiles]:
        spread, wanted = Spread(by), Wanted(tags, since_ns, until_ns)
        for _, entry in self._matching(wanted):
            if entry.status not in ANSWERED or not entry.attempts:
                continue
            group = tuple([_value(entry, name) for name in by])
            spread.add(group, cost=False, place=bucket(entry.duration_ns // 1000), count=1)
            if entry.nanos is not None and entry.status != "error":
                spread.add(group, cost=True, place=bucket(entry.nanos), count=1)
        return spread.percentiles()

    def _all(self) -> list[Entry]:
        with self._lock:
            return list(self._entries.values())

    def _matching(self, wanted: Wanted) -> Iterable[tuple[int, Entry]]:
        since, until = wanted.since, wanted.until
        asked = tuple({**wanted.tags, **wanted.facts}.items())
        for place, entry in enumerate(self._all()):
            at = entry.at_ns // 1000
            if (
                (since is None or at >= since)
                and (until is None or at < until)
                and all(_value(entry, name) in values for name, values in asked)
            ):
                yield place, entry


ANSWERED = ("ok", "error", "cancelled", "closed")
"""How long a call took is known of these."""


def _counted(by: Sequence[str], wanted: Wanted, entry: Entry) -> bool:
    if not is_lost_lease(entry):
        return True
    return "operation" in by or LEASE[1] in wanted.facts.get("operation", ())


def _measure(entry: Entry, order: Order) -> tuple[bool, int]:
    """What the order goes by, the greatest first; an unpriced entry after all that cost something, or nothing."""
    if order == "newest":
        return True, entry.at_ns // 1000
    if order == "slowest":
        return True, entry.duration_ns // 1000
    return entry.nanos is not None, entry.nanos or 0


def _value(entry: Entry, name: str) -> str:
    if name in FACTS:
        return str(getattr(entry, name))
    if name in MOMENTS:
        return entry.at.strftime("%Y-%m-%d" if name == "day" else "%Y-%m-%dT%H")
    return entry.tags.value(name)


def _counts(entry: Entry) -> tuple[int, ...]:
    if isinstance(entry, Adjustment):
        return _corrections(entry)
    usage = entry.usage
    cost, priced = entry.nanos or 0, entry.nanos is not None
    tokens = usage.input_tokens + usage.output_tokens
    return (
        int(entry.attempts > 0), cost, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
        int(not priced), 0 if priced else tokens, int(entry.estimated and entry.attempts > 0),
        cost if entry.estimated else 0, int(entry.status == "error"), entry.duration_ns // 1000 * 1000,
        usage.cache_write_tokens, usage.reasoning_tokens, entry.attempts,
    )  # fmt: skip


def _corrections(one: Adjustment) -> tuple[int, ...]:
    cost, estimated = one.nanos, one.nanos if one.estimated else 0
    unpriced, tokens = (0, 0) if one.covers is None else (-1, -one.covers)
    return 0, cost, 0, 0, 0, unpriced, tokens, 0, estimated, 0, 0, 0, 0, 0
