"""Everything a process has leased, and the calls that run on it: accounting under one lock, with no store in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from time import sleep

from costguard.budgets import Limit
from costguard.events import Entry, Hold
from costguard.ledger.slices import NEVER_LOW, Slice, Slices

_OPEN_ENDS = ("lost", "pending")
_MOST_OPEN = 10_000


class Holdings:
    """Everything this process has leased, and the calls that run on it. What the hot path touches, in memory only.

    lock:     guards all of this, the slices included; never held while a store is asked
    running:  the holds taken out of leases and not settled, by call id
    overshoot: nano-dollars that calls cost beyond what was leased for them; of several limits, the most
    overshoots: the same by the title of the budget, in the unit of the limit it comes with
    version:  changes when something goes back to the store
    low:      called, under the lock, with the slices that run low; says whether there is hurry
    ended:    called, under the lock, with a slice that is done with
    """

    def __init__(self, low: Callable[[Slices], bool], ended: Callable[[Slice], None]) -> None:
        self.lock = Lock()
        self.by_key: dict[str, Slices] = {}
        self.by_id: dict[str, Slice] = {}
        self.running: dict[str, Hold] = {}
        self.overshoot = 0
        self.overshoots: dict[str, tuple[Limit, int]] = {}
        self.version = 0
        self._going: dict[str, int] = {}
        self._charging: set[str] = set()
        self._open_ends: dict[str, tuple[int, ...]] = {}
        self._low = low
        self._ended = ended

    def of(self, limit: Limit) -> Slices:
        """To be called under the lock."""
        found = self.by_key.get(limit.key)
        if found is None:
            found = self.by_key[limit.key] = Slices(limit)
        return found

    def take(self, hold: Hold, now_ns: int) -> bool:
        """Hold on all its limits out of what is at hand, or on none."""
        by_key, amount, running = self.by_key, hold.amount, self.running
        call_id = hold.call.id
        taken: tuple[str, ...] = ()
        last: Slice | None = None
        low = fits = False
        with self.lock:
            if call_id in running:
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
                free = slice_.free
                # A hold of nothing needs room as well: where nothing is left, the store says whether there is.
                if free < need or not free:
                    break
                slice_.free = free = free - need
                slice_.running += 1
                slice_.uses += 1
                taken = taken + slice_.alone if taken else slice_.alone
                if free < slice_.low:
                    slice_.low = NEVER_LOW
                    slices.saw(need)
                    low = self._low(slices) or low
                last = slice_
            else:
                hold.leases = taken
                running[call_id] = hold
                if not low:
                    return True
                taken, fits = (), True
            for limit, lease_id in zip(hold.limits, taken, strict=False):
                self._free(self.by_id[lease_id], hold.on(limit))
        if low:
            # Python would let the keeper in only after 5 ms of these: too late for it to lease ahead.
            sleep(1e-6)
        return fits

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

    def settled(self, entry: Entry, hold: Hold, recorded: bool) -> None:
        """A call has ended: its part is free again, less what it cost.

        recorded: now, and not before. The first end of a call counts here in any case: it may have been recorded by
            an attempt of which nobody heard.
        """
        over = 0
        call_id = hold.call.id
        with self.lock:
            ran = self.running.pop(call_id, None) is not None
            if not ran and entry.call_id in self._open_ends:
                # What it was charged with was drawn; the rest, or the difference, is the store's.
                charged = self._open_ends.pop(entry.call_id)
                for limit, part in zip(hold.limits, charged, strict=True):
                    over = max(over, self._beyond(limit, entry.on(limit) - part))
                self.overshoot += over
                return
            if entry.status in _OPEN_ENDS:
                if len(self._open_ends) >= _MOST_OPEN:
                    self._open_ends.clear()
                self._open_ends[entry.call_id] = tuple([entry.on(limit) for limit in hold.limits])
            counts = recorded or ran
            by_id, leases = self.by_id, hold.leases
            for place, limit in enumerate(hold.limits):
                usd = limit.unit == "usd"
                cost = 0 if not counts else (entry.nanos or 0) if usd else entry.on(limit)
                slice_ = by_id.get(leases[place])
                if slice_ is None:
                    drawn = 0
                else:
                    left = slice_.left
                    drawn = cost if cost <= left else left
                    slice_.left = left = left - drawn
                    if ran:
                        slice_.free += (hold.amount if usd else hold.on(limit)) - drawn
                        slice_.running -= 1
                    else:
                        slice_.free -= drawn
                    if not slice_.running and (left <= 0 or slice_.exact or slice_.dead):
                        self._ended(slice_)
                if cost > drawn:
                    over = max(over, self._beyond(limit, cost - drawn))
            if over:
                self.overshoot += over

    def _beyond(self, limit: Limit, more: int) -> int:
        """A call has drawn so much more than there was for it; the part of it that is money."""
        if more <= 0 or not limit.refuses:
            return 0
        title = limit.budget.title
        self.overshoots[title] = limit, more + self.overshoots.get(title, (limit, 0))[1]
        return more if limit.unit == "usd" else 0

    def held_in_store(self, entry: Entry, hold: Hold) -> None:
        """A call has ended that ran on no lease: what it cost beyond its own hold."""
        with self.lock:
            beyond = [self._beyond(limit, entry.on(limit) - hold.on(limit)) for limit in hold.limits]
            self.overshoot += max(beyond, default=0)

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
