"""What entries add up to, kept beside them: changed in the transaction that changes the entries, and at its end.

`days` has a line for each day, tag set, model, status and price. `hours` and `spreads` know of the tags in `COARSE`
only, of which a ledger has few values: by hour the full sets would be nearly as many as the calls. Everything is UTC.
"""

from __future__ import annotations

from bisect import bisect_right as bucket
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from costguard.ledger.buckets import BORDERS
from costguard.ledger.record import COLUMNS, NUMBER_OF

COARSE = ("environment", "feature", "route")
"""The tags of a group: what `hours` and `spreads` tell apart. Sorted."""

COUNTS = (
    "entries", "calls", "cost", "input_tokens", "output_tokens", "cache_read_tokens", "unpriced_calls",
    "unpriced_tokens", "estimated_calls", "estimated_cost", "duration", "cache_write_tokens", "reasoning_tokens",
    "attempts",
)  # fmt: skip
"""Columns of `days` and `hours`; a duration in microseconds. A line with no entries says nothing."""

ROLLED = (
    "at", "model_id", "tags_id", "cost", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "reasoning_tokens", "status", "estimated", "attempts", "duration", "price_id", "covers",
)  # fmt: skip
"""Columns of an entry that its lines follow from."""

WIDTH = 8
"""Neighbouring buckets (`costguard.ledger.buckets`) in one row of `spreads`."""

COST_PARTS = 64
"""A row of `spreads` has latencies in its part below this, in microseconds; from it on nano-dollars."""

DAY, HOUR = 86_400_000_000, 3_600_000_000
"""Microseconds."""

NO_COST, NO_RATES = 0, -1
"""The price, in `days`, of entries without a cost, and of those with one that no rates say; else a number of
`costguard_prices`."""

ADJUSTED, ERROR = NUMBER_OF["adjusted"], NUMBER_OF["error"]
ANSWERED = frozenset([NUMBER_OF[status] for status in ("ok", "error", "cancelled", "closed")])
"""How long a call took is known of these; what it cost, of those that are no error."""

Line = tuple[int, ...]


_OF_ROW = itemgetter(*[COLUMNS.index(name) for name in ROLLED[:-1]])
"""`ROLLED` of the row of a call, which covers nothing."""


class Rolls:
    """The changes of one transaction. `group_of` gives the id of a tag set's group."""

    __slots__ = ("_covers", "_gone", "_group_of", "_groups", "_new")

    def __init__(self, group_of: Callable[[int], int]) -> None:
        self._group_of = group_of
        self._groups: dict[int, int] = {}
        self._new: list[tuple[Any, ...]] = []
        self._gone: list[tuple[Any, ...]] = []
        self._covers: list[tuple[tuple[Any, ...], int, int]] = []

    def written(self, row: Sequence[Any]) -> None:
        """An entry of a call that is new; `row` as `costguard.ledger.record.write_entry` gives it."""
        self._new.append(_OF_ROW(row))

    def come(self, values: Sequence[Any]) -> None:
        """An entry that is new; the values of `ROLLED`."""
        self._change(self._new, 1, values)

    def gone(self, values: Sequence[Any]) -> None:
        """An entry that is no more, or not as it was; the values of `ROLLED`."""
        self._change(self._gone, -1, values)

    def _change(self, rows: list[tuple[Any, ...]], by: int, values: Sequence[Any]) -> None:
        *row, covers = values
        rows.append(tuple(row))
        if covers is not None:
            self._covers.append((rows[-1], covers, by))

    def lines(self) -> tuple[list[Line], list[Line], list[Line]]:
        """Of days, hours and spreads: a key and its changes, in the order in which the rows are locked."""
        found: dict[Line, list[int]] = {}
        buckets: dict[Line, int] = {}
        self._count(found, buckets, self._new, 1)
        self._count(found, buckets, self._gone, -1)
        for (at, model_id, tags_id, cost, _, _, _, _, _, status, _, _, _, price_id), covers, by in self._covers:
            # It gave a call its first price: that is no longer one without.
            line = found[at // HOUR, tags_id, model_id, status, NO_COST if cost is None else price_id or NO_RATES]
            line[6] -= by
            line[7] -= covers * by
        days: dict[Line, list[int]] = {}
        hours: dict[Line, list[int]] = {}
        groups = self._groups
        for (hour, tags_id, model_id, status, price), counts in found.items():
            _add(days, (hour // 24, tags_id, model_id, status, price), counts)
            _add(hours, (hour, groups[tags_id], model_id, status), counts)
        spreads: dict[Line, list[int]] = {}
        for (day, group_id, model_id, first, place), count in buckets.items():
            part = (day, group_id, model_id, first + (place >> 3))
            if part not in spreads:
                spreads[part] = [0] * WIDTH
            spreads[part][place & 7] += count
        return _sorted(days), _sorted(hours), _sorted(spreads)

    def _count(
        self, lines: dict[Line, list[int]], buckets: dict[Line, int], rows: Sequence[tuple[Any, ...]], by: int
    ) -> None:
        """The hot path of every batch: what a row counts in `COUNTS`, by their places."""
        groups, line_of, count_of = self._groups, lines.get, buckets.get
        for (
            at, model_id, tags_id, cost, tokens_in, tokens_out, read, write, reasoning, status, estimated, attempts,
            duration, price_id,
        ) in rows:  # fmt: skip
            key = (at // HOUR, tags_id, model_id, status, NO_COST if cost is None else price_id or NO_RATES)
            line = line_of(key)
            if line is None:
                line = lines[key] = [0] * len(COUNTS)
                if tags_id not in groups:
                    groups[tags_id] = self._group_of(tags_id)
            line[0] += by
            line[3] += tokens_in * by
            line[4] += tokens_out * by
            line[10] += duration * by
            if cost is None:
                line[6] += by
                line[7] += (tokens_in + tokens_out) * by
            else:
                line[2] += cost * by
                if estimated:
                    line[9] += cost * by
            if read:
                line[5] += read * by
            if write:
                line[11] += write * by
            if reasoning:
                line[12] += reasoning * by
            if not attempts or status == ADJUSTED:
                continue
            line[1] += by
            line[13] += attempts * by
            if estimated:
                line[8] += by
            if status in ANSWERED:
                day, group_id = at // DAY, groups[tags_id]
                place = (day, group_id, model_id, 0, bucket(BORDERS, duration))
                buckets[place] = count_of(place, 0) + by
                if cost is not None and status != ERROR:
                    place = (day, group_id, model_id, COST_PARTS, bucket(BORDERS, cost))
                    buckets[place] = count_of(place, 0) + by


def _add(lines: dict[Line, list[int]], key: Line, counts: list[int]) -> None:
    known = lines.get(key)
    if known is None:
        lines[key] = counts[:]
    else:
        lines[key] = [one + more for one, more in zip(known, counts, strict=True)]


def _sorted(lines: dict[Any, list[int]]) -> list[Line]:
    return [(*key, *counts) for key, counts in sorted(lines.items()) if any(counts)]
