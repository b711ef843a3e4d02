"""The thread that looks after a worker's leases: leases ahead, gives idle ones back, and keeps the others alive.

Nothing depends on it but time: without it calls lease what they need themselves, and what a dead worker leaves
expires and is charged by whoever looks next.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Event, Lock, Thread
from weakref import WeakMethod

from costguard.errors import StoreUnavailable
from costguard.ledger.holdings import Holdings
from costguard.ledger.lender import Lender
from costguard.ledger.slices import Slice, Slices
from costguard.ledger.tenure import Tenure

log = logging.getLogger("costguard")

TICK = 0.1
"""Seconds between two looks at the leases, while there are any."""

_REST = 0.5
"""The same while the store cannot be reached."""

_HURRY = 0.02
"""Seconds: who has used up so much of a slice in less than this, may have used up the rest before the keeper runs."""

_IDLE_TICKS = 50
"""Without leases for so many ticks, the thread ends; the next lease starts it again."""

MOST_LOOKED_AT = 200
"""Limits whose balances are read at one tick; where there are more, they take turns."""

_FORGOTTEN = 10.0
"""Seconds without a slice after which what is known of a limit's use is forgotten."""


class Keeper:
    """What is due at each tick. `tick` can be called by hand; `start` calls it in a thread.

    idle:   seconds after which a slice that nobody uses goes back
    charge: called now and then: charges the calls of this process that never ended
    """

    def __init__(
        self,
        *,
        idle: float,
        clock: Callable[[], int],
        steady: Callable[[], float],
        charge: Callable[[], object],
        background: bool,
    ) -> None:
        self._idle = idle
        self._clock = clock
        self._steady = steady
        self._charge = WeakMethod(charge)  # the ledger is not kept alive
        self._background = background
        self._low: deque[Slices] = deque()
        self._wake = Event()
        self._starting = Lock()
        self._thread: Thread | None = None
        self._stopped = False
        self._turn = 0
        self._failing = False

    def keep(self, holdings: Holdings, lender: Lender, tenure: Tenure) -> None:
        self._holdings = holdings
        self._lender = lender
        self._tenure = tenure

    def low(self, slices: Slices) -> bool:
        """Lease more of this soon; whether it may be used up before this is let in."""
        self._low.append(slices)
        self._wake.set()
        return self._background and self._steady() - slices.granted_at < _HURRY

    def ended(self, slice_: Slice) -> None:
        """Give this back soon."""
        self._tenure.ended.append(slice_)
        if self._thread is None:
            self.start()
        self._wake.set()

    def start(self) -> None:
        """There are leases: run, if this does not run already."""
        if not self._background or self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                self._stopped = False
                thread = Thread(target=self._run, name="costguard leases", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is ending: what is left goes back at its exit
                    return
                self._thread = thread

    def stop(self) -> None:
        with self._starting:
            thread, self._stopped = self._thread, True
        self._wake.set()
        if thread is not None:
            thread.join(5)

    def _run(self) -> None:
        due = self._steady() + TICK
        without = 0
        while not self._stopped and without < _IDLE_TICKS:
            self._wake.wait(max(0.0, due - self._steady()))
            self._wake.clear()
            if self._steady() >= due:
                self._try(self.tick)
                due = self._steady() + (_REST if self._failing else TICK)
                without = 0 if self._has_leases() else without + 1
            elif not self._failing:
                self._try(self.serve)
        with self._starting:
            self._thread = None
        if self._has_leases() and not self._stopped:
            self.start()

    def _has_leases(self) -> bool:
        return bool(self._holdings.by_id) or self._tenure.owes

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
            self._failing = False
        except StoreUnavailable as error:
            if not self._failing:
                self._failing = True
                log.warning("leases cannot be renewed or given back for now: %s", error)
        except Exception:
            # Whatever it is, the next tick may do: calls lease for themselves meanwhile.
            log.exception("costguard's keeper of leases failed; it goes on")

    def serve(self) -> None:
        """What was asked for until now: lease ahead first, as calls of this process are about to need it."""
        # Calls may end slices faster than a far store takes them back, and what time brings is not to wait for that.
        for _ in range(len(self._tenure.ended) + 1):
            for _ in range(len(self._low)):
                self._lender.refill(self._low.popleft())
            if not self._tenure.end_next():
                break
        self._tenure.release()

    def tick(self) -> None:
        """What time brings: expiries, idle slices, ended windows, others who need what is left."""
        holdings, now_ns, now = self._holdings, self._clock(), self._steady()
        self._turn += 1
        with holdings.lock:
            everything = list(holdings.by_id.values())
            in_use = [slices for slices in holdings.by_key.values() if slices.all]
        # First, as nothing that fails or takes long may keep leases from being extended.
        self._extend([slice_ for slice_ in everything if now >= slice_.extend_at and not slice_.dead], now_ns, now)
        self.serve()
        for slice_ in everything:
            self._look_at(slice_, now_ns, now)
        loose = [slices for slices in in_use if slices.free() > 0]
        if len(loose) > MOST_LOOKED_AT:
            start = self._turn * MOST_LOOKED_AT % len(loose)
            loose = (loose + loose)[start : start + MOST_LOOKED_AT]
        if loose:
            self._lender.look(loose)
        if self._turn % 20 == 0:
            self._forget(now)
            charge = self._charge()
            if charge is not None:
                charge()

    def _extend(self, due: list[Slice], now_ns: int, now: float) -> None:
        if not due:
            return
        try:
            self._tenure.extend(due, now_ns)
        except StoreUnavailable:
            for slice_ in due:
                if now >= slice_.steady_until:
                    slice_.until = 0
            raise

    def _look_at(self, slice_: Slice, now_ns: int, now: float) -> None:
        slices = slice_.of
        slices.idle_since = now
        over = slices.limit.end is not None and slices.limit.end <= now_ns
        if slice_.uses != slice_.seen and not over:
            slice_.seen = slice_.uses
            slice_.idle_since = now
        left_behind = slice_.left <= 0 or (slice_ is not slices.current and slice_.free < slices.typical)
        if not slice_.running:
            if slice_.dead or over or left_behind or now - slice_.idle_since >= self._idle:
                self._tenure.end(slice_)
        elif over or now - slice_.idle_since >= self._idle:
            self._tenure.give_back_from(slice_)

    def _forget(self, now: float) -> None:
        with self._holdings.lock:
            for key, slices in list(self._holdings.by_key.items()):
                if not slices.all and slices.asking is None and now - slices.idle_since > _FORGOTTEN:
                    del self._holdings.by_key[key]
