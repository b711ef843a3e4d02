"""Who was right? A ledger that notes when each hold and settlement began and ended, and a judge who reads the notes.

The judge knows nothing of the stores. All processes of a machine share the monotonic clock, so that their notes can be
laid side by side. An instant inside a verb belongs to both sides of it: the judge believes what favours the library's
accuser only where no order of events could excuse it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger, Refusal

Note = tuple[str, str, int, int, int]
"""What happened (held, refused, settled, released), call id, begun and ended (monotonic ns), nano-dollars."""


class Witness:
    """Passes everything on to a ledger; the notes of one process, one budget."""

    def __init__(self, inner: Ledger) -> None:
        self._inner = inner
        self.notes: list[Note] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def reserve(self, hold: Hold, now_ns: int, **options: Any) -> Refusal | None:
        begun = time.monotonic_ns()
        refusal = self._inner.reserve(hold, now_ns, **options)
        what = "held" if refusal is None else "refused"
        self.notes.append((what, hold.call.id, begun, time.monotonic_ns(), hold.amount))
        return refusal

    def settle(self, entry: Entry, hold: Hold | None) -> Any:
        begun = time.monotonic_ns()
        crossings = self._inner.settle(entry, hold)
        if crossings is not None:
            held_as = entry.call_id if hold is None else hold.call.id
            self.notes.append(("settled", held_as, begun, time.monotonic_ns(), entry.nanos or 0))
        return crossings

    def release(self, hold: Hold) -> bool:
        begun = time.monotonic_ns()
        released = self._inner.release(hold)
        self.notes.append(("released", hold.call.id, begun, time.monotonic_ns(), 0))
        return released


@dataclass(frozen=True)
class Verdict:
    """wrongly: calls whose last attempt was refused though, all the time it took, its hold would have fitted
    peak:    the most that was certainly spent or held at one instant, nano-dollars
    """

    wrongly: int
    peak: int


def judge(notes: Iterable[Note], most: int) -> Verdict:
    held: dict[str, tuple[int, int, int]] = {}
    refused: dict[str, tuple[int, int, int]] = {}
    ends: list[tuple[str, int, int, int]] = []
    for what, call, begun, ended, nanos in notes:
        if what == "held":
            held[call] = (begun, ended, nanos)
        elif what == "refused":
            refused[call] = max(refused.get(call, (0, 0, 0)), (begun, ended, nanos))
        else:
            ends.append((call, begun, ended, nanos))
    # (moment, order, change): where two moments are one, the order takes the accused's side.
    at_most: list[tuple[int, int]] = [(begun, nanos) for begun, _, nanos in held.values()]
    at_least: list[tuple[int, int]] = [(ended, nanos) for _, ended, nanos in held.values()]
    for call, begun, ended, cost in ends:
        amount = held.get(call, (0, 0, 0))[2]
        at_most += [(begun, cost), (ended, -amount)]
        at_least += [(begun, -amount), (ended, cost)]
    line = sorted(at_most, key=lambda change: (change[0], -change[1]))
    wrongly = 0
    for call, (begun, ended, nanos) in refused.items():
        if call not in held and _highest(line, begun, ended) + nanos <= most:
            wrongly += 1
    peak = now = 0
    for _, change in sorted(at_least):
        now += change
        peak = max(peak, now)
    return Verdict(wrongly, peak)


def _highest(line: list[tuple[int, int]], since: int, until: int) -> int:
    """The highest level of this line of changes between two moments."""
    level = 0
    highest: int | None = None
    for moment, change in line:
        if moment > until:
            break
        if moment >= since and highest is None:
            highest = level
        level += change
        if highest is not None:
            highest = max(highest, level)
    return level if highest is None else highest
