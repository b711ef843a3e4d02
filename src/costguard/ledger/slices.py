"""Slices: leases as the process sees that holds them."""

from __future__ import annotations

from threading import Event

from costguard.budgets import Limit
from costguard.errors import StoreUnavailable
from costguard.ledger.base import Lease, Refusal

NEVER_LOW = -(1 << 62)

_FEW = 16
"""A slice for fewer calls than this is low at a quarter: half of it is what two or three calls at once hold."""


class Slice:
    """A lease as its owner sees it: part of a limit that only this process spends, until it gives it back.

    left:    what its row in the store still has, by what this process settled; in the limit's unit
    free:    `left` less what running calls hold; below zero where calls cost more than they held
    low:     at this much the next slice is leased ahead
    alone:   what a call holds that is on this slice alone: its id
    running: calls that hold a part of it
    until:   wall clock, nanoseconds: past it no call starts on it, as others may have charged it
    exact:   taken for one call, near exhaustion: it goes back as soon as that call has ended
    dead:    found charged: after its last running call the rest of the charge goes back
    """

    __slots__ = (
        "alone", "dead", "exact", "extend_at", "free", "id", "idle_since", "key", "lease", "left", "low", "of",
        "running", "seen", "steady_until", "until", "uses",
    )  # fmt: skip

    def __init__(self, of: Slices, lease: Lease, *, exact: bool) -> None:
        self.of = of
        self.lease = lease
        self.id = lease.call.id
        self.alone = (self.id,)
        self.key = lease.limits[0].key
        self.left = self.free = lease.amount
        # The rest lasts while the keeper gets the next one.
        self.low = NEVER_LOW if exact else lease.amount // (4 if of.calls < _FEW else 2)
        self.running = self.uses = self.seen = 0
        self.until = 0
        self.steady_until = self.extend_at = self.idle_since = 0.0
        self.exact = exact
        self.dead = False

    def take(self, need: int) -> None:
        self.free -= need
        self.running += 1
        self.uses += 1


class Asking:
    """One thread asks the store for more of a limit; the others that need it wait for what it brings."""

    __slots__ = ("done", "error", "need", "refusal")

    def __init__(self, need: int) -> None:
        self.need = need
        self.done = Event()
        self.refusal: Refusal | None = None
        self.error: StoreUnavailable | None = None


class Slices:
    """All that this process has leased of one limit.

    most:       the limit as last seen; another amount means that it was changed
    current:    the slice that calls start on
    typical:    what calls of late held
    calls:      how many typical calls the last slice was for
    waiting:    what the calls want that wait for the one that asks
    remaining:  what the store had left for everybody when it was last looked at, `looked_at`
    """

    __slots__ = (
        "all", "asking", "calls", "current", "granted_at", "idle_since", "limit", "looked_at", "most", "remaining",
        "typical", "waiting",
    )  # fmt: skip

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.most = limit.most
        self.calls = 1
        self.current: Slice | None = None
        self.all: list[Slice] = []
        self.asking: Asking | None = None
        self.typical = self.remaining = self.waiting = 0
        self.looked_at = self.granted_at = float("-inf")
        self.idle_since = 0.0

    def find(self, need: int, now_ns: int) -> Slice | None:
        """A slice that a call of this size can start on."""
        for slice_ in self.all:
            if slice_.free >= (need or 1) and slice_.until > now_ns:
                return slice_
        return None

    def saw(self, need: int) -> None:
        """A call held so much. The first holds of a kind are far above its later ones: these count at once."""
        few = self.calls < _FEW and need < self.typical
        self.typical = need if few or not self.typical else (3 * self.typical + need) // 4

    def free(self) -> int:
        return sum([slice_.free for slice_ in self.all if slice_.free > 0])

    def drop(self, slice_: Slice) -> None:
        """No call starts on it any more."""
        if slice_ in self.all:
            self.all.remove(slice_)
        if self.current is slice_:
            self.current = None
