"""Everything a process has leased, and the calls that run on it: accounting under one lock, with no store in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock

from costguard.budgets import Limit
from costguard.events import Entry, Hold
from costguard.ledger.slices import NEVER_LOW, Slice, Slices

_OPEN_ENDS = ("lost", "pending")
_MOST_OPEN = 10_000


class Holdings:
    """Everything this process has leased, and the calls that run on it. What the hot path touches, in memory only.

    lock:     guards all of this, the slices included; never held while a store is asked
    running:  the holds taken out of leases and not settled, by call id
    version:  changes when something goes back to the store
    low:      called, under the lock, with the slices that run low
    ended:    called, under the lock, with a slice that is done with
    """

    def __init__(self, calls: int, low: Callable[[Slices], None], ended: Callable[[Slice], None]) -> None:
        self.lock = Lock()
        self.by_key: dict[str, Slices] = {}
        self.by_id: dict[str, Slice] = {}
        self.running: dict[str, Hold] = {}
        self.overshoot = 0
        self.version = 0
        self._going: dict[str, int] = {}
        self._charging: set[str] = set()
        self._open_ends: dict[str, tuple[int, ...]] = {}
        self._calls = calls
        self._low = low
        self._ended = ended

    def of(self, limit: Limit) -> Slices:
        """To be called under the lock."""
        found = self.by_key.get(limit.key)
        if found is None:
            found = self.by_key[limit.key] = Slices(limit, self._calls)
        return found

    def take(self, hold: Hold, now_ns: int) -> bool:
        """Hold on all its limits out of what is at hand, or on none."""
        by_key, amount, call_id = self.by_key, hold.amount, hold.call.id
        taken: list[str] = []
        last: Slice | None = None
        with self.lock:
            if call_id in self.running:
                return True
            for limit in hold.limits:
                slices = by_key.get(limit.key)
                if slices is None or slices.most != limit.most:
                    break
                slice_ = slices.current
                # Two limits that share a balance come one after the other: not here.
                if slice_ is None or slice_ is last or slice_.until <= now_ns:
                    break
                need = amount if limit.unit == "usd" else hold.on(limit)
                free = slice_.free - need
                # A hold of nothing needs room as well: where nothing is left, the store says whether there is.
                if free < 0 or not slice_.free:
                    break
                slice_.free = free
                slice_.running += 1
                slice_.uses += 1
                taken.append(slice_.id)
                if free < slice_.low:
                    slice_.low = NEVER_LOW
                    slices.typical = (3 * slices.typical + need) // 4
                    self._low(slices)
                last = slice_
            else:
                hold.leases = tuple(taken)
                self.running[call_id] = hold
                return True
            for limit, lease_id in zip(hold.limits, taken, strict=False):
                self._free(self.by_id[lease_id], hold.on(limit))
        return False

    def has(self, hold: Hold, now_ns: int) -> bool:
        """Whether `take` would do now; without the lock, so it may be wrong a moment later."""
        for limit in hold.limits:
            slices = self.by_key.get(limit.key)
            if slices is None or slices.most != limit.most or slices.find(hold.on(limit), now_ns) is None:
                return False
        return True

    def run(self, hold: Hold, taken: Iterable[Slice]) -> bool:
        """A call starts on these slices, of which it has its parts. False if it runs already: these go back."""
        slices = list(taken)
        with self.lock:
            if hold.call.id in self.running:
                for limit, slice_ in zip(hold.limits, slices, strict=True):
                    self._free(slice_, hold.on(limit))
                return False
            hold.leases = tuple([slice_.id for slice_ in slices])
            self.running[hold.call.id] = hold
        return True

    def put_back(self, slice_: Slice, amount: int) -> None:
        """A part that was taken for a call that is not made."""
        with self.lock:
            self._free(slice_, amount)

    def _free(self, slice_: Slice, amount: int) -> None:
        slice_.free += amount
        slice_.running -= 1
        if not slice_.running and (slice_.exact or slice_.dead or slice_.left <= 0):
            self._ended(slice_)

    def release(self, hold: Hold) -> bool:
        """Give back what a call holds; False if it does not run on leases."""
        with self.lock:
            if self.running.pop(hold.call.id, None) is None:
                return False
            for limit, lease_id in zip(hold.limits, hold.leases, strict=True):
                slice_ = self.by_id.get(lease_id)
                if slice_ is not None:
                    self._free(slice_, hold.on(limit))
            hold.leases = ()
        return True

    def settled(self, entry: Entry, hold: Hold, *, recorded: bool) -> None:
        """A call has ended: its part is free again, less what it cost.

        recorded: now, and not before. The first end of a call counts here in any case: it may have been recorded by
            an attempt of which nobody heard.
        """
        over = 0
        with self.lock:
            ran = self.running.pop(hold.call.id, None) is not None
            if not ran and entry.call_id in self._open_ends:
                # What it was charged with was drawn; the rest, or the difference, is the store's.
                charged = self._open_ends.pop(entry.call_id)
                for limit, part in zip(hold.limits, charged, strict=True):
                    if limit.unit == "usd":
                        over = max(over, (entry.nanos or 0) - part)
                self.overshoot += over
                return
            if entry.status in _OPEN_ENDS:
                if len(self._open_ends) >= _MOST_OPEN:
                    self._open_ends.clear()
                self._open_ends[entry.call_id] = tuple([entry.on(limit) for limit in hold.limits])
            for limit, lease_id in zip(hold.limits, hold.leases, strict=True):
                usd = limit.unit == "usd"
                cost = 0
                if recorded or ran:
                    cost = (entry.nanos or 0) if usd else entry.on(limit)
                slice_ = self.by_id.get(lease_id)
                if slice_ is None:
                    drawn = 0
                else:
                    drawn = cost if cost <= slice_.left else slice_.left
                    slice_.left -= drawn
                    slice_.free -= drawn
                    if ran:
                        slice_.free += hold.amount if usd else hold.on(limit)
                        slice_.running -= 1
                    if not slice_.running and (slice_.exact or slice_.dead or slice_.left <= 0):
                        self._ended(slice_)
                if usd and cost - drawn > over:
                    over = cost - drawn
            self.overshoot += over

    def held_in_store(self, entry: Entry, hold: Hold) -> None:
        """A call has ended that ran on no lease: what it cost beyond its own hold."""
        over = max((entry.on(limit) - hold.on(limit) for limit in hold.limits if limit.unit == "usd"), default=0)
        if over > 0:
            with self.lock:
                self.overshoot += over

    def going(self, key: str, amount: int) -> None:
        """So much is on its way back to the store. To be called under the lock."""
        self._going[key] = self._going.get(key, 0) + amount

    def gone(self, key: str, amount: int) -> None:
        with self.lock:
            self.version += 1
            self._going[key] = self._going.get(key, 0) - amount
            if not self._going[key]:
                del self._going[key]

    def free(self, keys: Iterable[str]) -> list[int]:
        """What is leased of these limits and held by no call."""
        with self.lock:
            return [self._going.get(key, 0) + (self.by_key[key].free() if key in self.by_key else 0) for key in keys]

    def overdue(self, now_ns: int, keys: set[str] | None) -> list[Hold]:
        """The holds of calls that never ended, past their expiry; only those on one of `keys` if given.

        They are for whoever asked to charge, and for nobody else until `charged`.
        """
        with self.lock:
            found = [
                hold
                for call_id, hold in self.running.items()
                if hold.expires_ns // 1000 <= now_ns // 1000
                and (keys is None or any(limit.key in keys for limit in hold.limits))
                and call_id not in self._charging
            ]
            self._charging.update([hold.call.id for hold in found])
        return found

    def charged(self, hold: Hold) -> None:
        """It was charged, or could not be."""
        with self.lock:
            self._charging.discard(hold.call.id)
