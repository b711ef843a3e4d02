"""Which values of a tag get a series of their own: the first ones, those that cost the most, and no more."""

from __future__ import annotations

import threading

from costguard.telemetry.forks import in_child
from costguard.telemetry.text import sendable

OTHER = "other"

_EVERY = 100


class HeavyHitters:
    """`name(value, amount)` gives the value (as it is `sendable`) if it has a name of its own, else "other".

    most:  values with a name of their own. A name that was given is kept: a series that came and went, and moved
           into "other" and out of it, would make rates of both wrong
    first: so many of these go to whoever comes first. An app with few values has them all told

    The others are named when they have cost one part in 2 x `most` of everything so far; a place opens every 100 calls,
    as at first everyone has a large part. What is counted of those that are not named yet is bounded (Misra and Gries):
    whoever can make up values can not fill the memory.
    """

    def __init__(self, most: int, *, first: int = 0) -> None:
        self._most = most
        self._first = first
        self._named: set[str] = set()
        self._seen: dict[str, int] = {}
        self._total = 0
        self._calls = 0
        self.forked()
        in_child(self)

    def forked(self) -> None:
        """A new lock: the names stay."""
        self._lock = threading.Lock()

    def name(self, value: str, amount: int) -> str:
        """amount: nano-dollars, zero or more"""
        value = sendable(value)
        # Without the lock: what two threads lose here of a share does not matter.
        self._calls += 1
        if value in self._named:
            self._total += amount
            return value
        with self._lock:
            self._total += amount
            if len(self._named) >= self._most and value not in self._named:
                return OTHER
            mine = self._seen.get(value, 0) + amount
            named = len(self._named)
            heavy = named < self._first + self._calls // _EVERY and mine * 2 * self._most >= self._total > 0
            if named < self._first or (heavy and amount):
                self._seen.pop(value, None)
                self._named.add(value)
                return value
            self._seen[value] = mine
            if len(self._seen) > 10 * self._most:
                least = min(self._seen.values())
                self._seen = {name: sum_ - least for name, sum_ in self._seen.items() if sum_ > least}
            return OTHER
