"""Leases over any store: a worker takes slices of budgets and lets calls run on them without asking the store.

A budget that everybody counts on is one row that everybody writes. With leases it is written once for twenty calls,
or a thousand, and a call takes its part in memory. The rules stay those of the store: what is leased is held there,
so spent + held never passes a limit, and what a dead worker leaves is charged when its lease expires.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Lock

from costguard.budgets import Limit
from costguard.errors import StoreUnavailable
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Lease, Ledger, Refusal
from costguard.ledger.holdings import Holdings
from costguard.ledger.journal import JournalLedger
from costguard.ledger.keeper import Keeper
from costguard.ledger.leaving import at_exit, in_a_child
from costguard.ledger.lender import Lender
from costguard.ledger.lost import lost_call
from costguard.ledger.process import mark
from costguard.ledger.room import accounts, ordered
from costguard.ledger.slices import Slice
from costguard.ledger.tenure import Tenure
from costguard.ledger.wrapper import Wrapper

log = logging.getLogger("costguard")


class LeaseLedger(Wrapper):
    """A ledger whose `reserve` is mostly answered by this process. Thread-safe; a forked child begins without leases.

    inner:          the store, or a journal over it
    want_calls:     calls that a slice is for, once a worker makes several: the first is for one call, each one that
                    follows soon for twice as many
    most_calls:     and at most, while slices are used up within a tenth of a second
    lease_lifetime: seconds after which the leases of a worker that died are charged; kept alive at a third of it
    idle:           seconds after which a slice that nobody uses goes back
    clock, steady:  wall clock in nanoseconds, and one that nobody sets, in seconds; for tests
    background:     run the keeper's thread; without it call `tick` now and then

    A worker that ends without `close` (killed, or by a signal that Python does not handle) leaves its leases to be
    charged as `lost`: what it had leased and not spent is then missing from the budgets until their windows end.

    `balances` and what is made of them show as held what calls hold, and what other workers have leased: what this
    process has leased and no call holds is free for its next calls.
    """

    def __init__(
        self,
        inner: Ledger,
        *,
        want_calls: int = 20,
        most_calls: int = 1000,
        lease_lifetime: float = 60.0,
        idle: float = 1.0,
        clock: Callable[[], int] = time.time_ns,
        steady: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        super().__init__(inner)
        self._calls = want_calls
        self._most_calls = max(want_calls, most_calls)
        self._lifetime = lease_lifetime
        self._idle = idle
        self._clock = clock
        self._steady = steady
        self._background = background
        self._beginning = Lock()
        self.start_without_leases()
        in_a_child(self)

    def start_without_leases(self) -> None:
        """As a forked child begins: its parent's leases are not its own."""
        self._at_exit = False
        self._keeper = Keeper(
            idle=self._idle, clock=self._clock, steady=self._steady, charge=self._charge_overdue,
            background=self._background,
        )  # fmt: skip
        self._holdings = Holdings(self._keeper.low, self._keeper.ended)
        # As they are, for every call asks them.
        self._take, self._draw = self._holdings.take, self._holdings.settled
        self._tenure = Tenure(self.inner, self._holdings, lifetime=self._lifetime, steady=self._steady)
        # A journal brings itself up to date before it reads; what is left of a limit does not depend on that.
        far = self.inner.inner if isinstance(self.inner, JournalLedger) else self.inner
        self._lender = Lender(
            self.inner, far, self._holdings, self._tenure, calls=self._calls, most_calls=self._most_calls,
            clock=self._clock, steady=self._steady, leased=self._leased,
        )  # fmt: skip
        self._keeper.keep(self._holdings, self._lender, self._tenure)
        # Last: another thread of the child must not run on its parent's leases meanwhile.
        self._here = mark()

    @property
    def overshoot(self) -> int:
        """Nano-dollars that calls of this process cost beyond what was leased for them: no limit can have been
        passed by more."""
        return self._holdings.overshoot

    @property
    def overshoots(self) -> dict[str, tuple[Limit, int]]:
        """The same by the title of the budget: a limit of it, and how much in the unit of that."""
        with self._holdings.lock:
            return dict(self._holdings.overshoots)

    def tick(self) -> None:
        """What the keeper does ten times a second. Raises StoreUnavailable."""
        self._keeper.tick()

    # -- the verbs of a call

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        if not self._here[0]:
            # A server in C may fork without running Python's hooks: the parent's leases are not this child's.
            with self._beginning:
                if not self._here[0]:
                    self.start_without_leases()
        if not hold.limits or isinstance(hold, Lease):
            return self.inner.reserve(hold, now_ns, alone=alone)
        if self._take(hold, now_ns):
            return None
        return self._lease_and_reserve(hold, now_ns, alone=alone)

    def _lease_and_reserve(self, hold: Hold, now_ns: int, *, alone: bool) -> Refusal | None:
        if len(hold.limits) > 1:
            # Two that share a balance hold on it once: the tighter.
            hold.limits = tuple(accounts(ordered(hold.limits)))
        limits = hold.limits
        refusal = self._reserve(hold, now_ns)
        if refusal is not None and self._charge_overdue(now_ns, {limit.key for limit in limits}):
            refusal = self._reserve(hold, now_ns)
        if refusal is None or not alone:
            return refusal
        for limit in limits:
            slices = self._holdings.by_key.get(limit.key)
            if slices is not None:
                self._tenure.give_back(slices)
        return self.inner.reserve(hold, now_ns, alone=True)

    def _reserve(self, hold: Hold, now_ns: int) -> Refusal | None:
        taken: list[Slice] = []
        refusal: Refusal | None = None
        try:
            for limit in hold.limits:
                found = self._lender.place(limit, hold.on(limit), now_ns)
                if isinstance(found, Refusal):
                    refusal = found
                    break
                taken.append(found)
            else:
                self._holdings.run(hold, taken)
                taken = []
        finally:
            for limit, slice_ in zip(hold.limits, taken, strict=False):
                self._holdings.put_back(slice_, hold.on(limit))
        return refusal

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        if hold is None or not hold.leases:
            hold = self._held(entry, hold)
        crossings = self.inner.settle(entry, hold)
        if hold is None:
            return crossings
        if hold.leases:
            self._draw(entry, hold, crossings is not None)
        else:
            self._settled(entry, hold, crossings is not None)
        return crossings

    def _settled(self, entry: Entry, hold: Hold, recorded: bool) -> None:
        if hold.leases:
            self._holdings.settled(entry, hold, recorded)
        elif recorded:
            self._holdings.held_in_store(entry, hold)

    def _held(self, entry: Entry, hold: Hold | None) -> Hold | None:
        """The hold as it was taken: settled by one who does not know it, a call draws from its leases all the same."""
        if hold is not None and hold.leases:
            return hold
        return self._holdings.running.get(entry.call_id if hold is None else hold.call.id, hold)

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        settlements = [(entry, self._held(entry, hold)) for entry, hold in settlements]
        answers = self.inner.settle_all(settlements)
        for (entry, hold), crossings in zip(settlements, answers, strict=True):
            if hold is not None:
                self._settled(entry, hold, crossings is not None)
        return answers

    def release(self, hold: Hold) -> bool:
        return self._holdings.release(hold) or self.inner.release(hold)

    def local(self, hold: Hold) -> bool:
        return self.inner.local(hold) or self._holdings.has(hold, self._clock())

    def extend(self, hold_ids: Sequence[str], expires_ns: int) -> set[str]:
        running = self._holdings.running
        mine: set[str] = set()
        for call_id in hold_ids:
            hold = running.get(call_id)
            if hold is not None:
                hold.expires_ns = expires_ns
                mine.add(call_id)
        others = [call_id for call_id in hold_ids if call_id not in mine]
        return mine | self.inner.extend(others, expires_ns) if others else mine

    # -- what others ask

    def reached(self, limits: Sequence[Limit]) -> Refusal | None:
        now_ns = self._clock()
        for limit in limits:
            slices = self._holdings.by_key.get(limit.key)
            current = None if slices is None or slices.most != limit.most else slices.current
            if current is None or current.free <= 0 or current.until <= now_ns:
                return self.inner.reached(limits)
        return None

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        holdings = self._holdings
        for _ in range(3):
            version = holdings.version
            balances = self.inner.balances(limits)
            free = holdings.free([limit.key for limit in limits])
            if holdings.version == version:
                break
        return [(spent, max(0, held - mine)) for (spent, held), mine in zip(balances, free, strict=True)]

    def expire(self, now_ns: int) -> list[Entry]:
        lost = self._charge_overdue(now_ns)
        late = [slice_ for slice_ in list(self._holdings.by_id.values()) if slice_.until <= now_ns and not slice_.dead]
        if late:
            self._tenure.extend(late, now_ns)
            self._tenure.release()
        return lost + self.inner.expire(now_ns)

    def _charge_overdue(self, now_ns: int | None = None, keys: set[str] | None = None) -> list[Entry]:
        """Charge the calls of this process that never ended. The money is leased: nobody else can."""
        lost = []
        for hold in self._holdings.overdue(self._clock() if now_ns is None else now_ns, keys):
            entry = lost_call(hold)
            try:
                if self.settle(entry, hold) is not None:
                    lost.append(entry)
            finally:
                self._holdings.charged(hold)
        return lost

    def flush(self, timeout: float = 10.0) -> int:
        """Entries that are not in the store yet, after at most so many seconds."""
        flush = getattr(self.inner, "flush", None)
        return 0 if flush is None else int(flush(timeout))

    def rest(self) -> None:
        """Give all leases back but what running calls hold; the next call leases anew."""
        self._keeper.stop()
        self._give_all_back()

    def end(self, seconds: float) -> None:
        self._keeper.stop()
        given = self._give_all_back()
        super().end(seconds)
        if not given:
            # They are charged when they expire. Given back at exit, they could be spent again by others, while
            # what this process spent of them still waits in the journal.
            self.start_without_leases()

    def _leased(self) -> None:
        self._keeper.start()
        if not self._at_exit:
            self._at_exit = True
            at_exit(self)

    def _give_all_back(self) -> bool:
        """All but what running calls hold: that is charged when it expires, unless they end before.

        False if the store could not be reached.
        """
        if not self._here[0]:
            return True
        try:
            for slice_ in list(self._holdings.by_id.values()):
                self._tenure.give_back_from(slice_)
                self._tenure.end(slice_)
            self._tenure.release()
        except StoreUnavailable as error:
            log.warning("leases could not be given back and will be charged when they expire: %s", error)
            return False
        return True
