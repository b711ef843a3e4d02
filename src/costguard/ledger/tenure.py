"""How long leases last: extended while their worker lives, given back when it needs them no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from costguard.errors import StoreUnavailable
from costguard.ledger.base import Lease, Ledger
from costguard.ledger.holdings import Holdings
from costguard.ledger.slices import Slice, Slices


class Tenure:
    """The leases of one process, in the store.

    lifetime: seconds after which a lease that nobody extended is charged
    ended:    slices that are done with, to be given back by whoever is next
    """

    def __init__(self, inner: Ledger, holdings: Holdings, *, lifetime: float, steady: Callable[[], float]) -> None:
        self._inner = inner
        self._holdings = holdings
        self._lifetime = lifetime
        self.lifetime_ns = int(lifetime * 10**9)
        self._steady = steady
        self.ended: deque[Slice] = deque()
        self._done_with: deque[tuple[Lease, int]] = deque()
        self._releasing = Lock()

    def begin(self, slice_: Slice, expires_ns: int) -> None:
        """It lasts from now on, for a lifetime."""
        steady = slice_.idle_since = self._steady()
        self._lasts(slice_, expires_ns, steady)

    def _lasts(self, slice_: Slice, expires_ns: int, steady: float) -> None:
        # A margin, because the clocks of those who would charge it may be ahead.
        slice_.until = expires_ns - self.lifetime_ns // 6
        slice_.steady_until = steady + self._lifetime * 5 / 6
        slice_.extend_at = steady + self._lifetime / 3

    def extend(self, slices: Sequence[Slice], now_ns: int) -> None:
        """More time for these; those that were charged meanwhile are not used any more."""
        expires_ns = now_ns + self.lifetime_ns
        steady = self._steady()
        alive = self._inner.extend([slice_.id for slice_ in slices], expires_ns)
        for slice_ in slices:
            if slice_.id in alive:
                self._lasts(slice_, expires_ns, steady)
            else:
                self._lost(slice_)

    def give_back(self, slices: Slices, most: int | None = None) -> int:
        """Give back what no call holds of these slices, at most `most`; how much the store took."""
        gave = 0
        for slice_ in list(slices.all):
            gave += self.give_back_from(slice_, None if most is None else most - gave)
        return gave

    def give_back_from(self, slice_: Slice, most: int | None = None) -> int:
        with self._holdings.lock:
            by = slice_.free if most is None else min(slice_.free, most)
            if by <= 0:
                return 0
            slice_.free -= by
            slice_.left -= by
            self._holdings.going(slice_.key, by)
        # If the store cannot be reached now, this part is used by nobody until the lease ends: it may be gone.
        try:
            given = self._inner.shrink(slice_.lease, by)
        finally:
            self._holdings.gone(slice_.key, by)
        if not given:
            self._lost(slice_)
        return given

    def end_all(self) -> int:
        """Give back the slices that have ended; how many, those included that another thread was at."""
        before = self._holdings.version
        for _ in range(len(self.ended)):
            self.end_next()
        self.release()
        return self._holdings.version - before

    def end_next(self) -> bool:
        """Give back one of the slices that have ended; False if there is none."""
        try:
            slice_ = self.ended.popleft()
        except IndexError:
            return False
        self.end(slice_)
        return True

    def end(self, slice_: Slice) -> None:
        """Give a slice back whole, with what is left of a charge, unless calls run on it."""
        if self._set_aside(slice_):
            self.release()

    def _set_aside(self, slice_: Slice) -> bool:
        """Done with, unless calls run on it: to be released."""
        with self._holdings.lock:
            if slice_.running or self._holdings.by_id.pop(slice_.id, None) is None:
                return False
            slice_.of.drop(slice_)
            left = 0 if slice_.dead else slice_.left
            self._holdings.going(slice_.key, left)
        self._done_with.append((slice_.lease, left))
        return True

    @property
    def owes(self) -> bool:
        """There are leases that the store has not taken back yet."""
        return bool(self._done_with)

    def doubt(self, lease: Lease) -> None:
        """Nobody knows whether it was taken: it is given back, for else it would be charged."""
        with self._holdings.lock:
            self._holdings.going(lease.limits[0].key, 0)
        self._done_with.append((lease, 0))

    def release(self) -> None:
        """Release the leases that are done with, the doubtful ones included."""
        # Who comes here before it has to refuse a call waits for what is on its way.
        with self._releasing:
            while self._done_with:
                lease, left = self._done_with.popleft()
                try:
                    self._inner.release(lease)
                except StoreUnavailable:
                    self._done_with.append((lease, left))
                    raise
                self._holdings.gone(lease.limits[0].key, left)

    def _lost(self, slice_: Slice) -> None:
        with self._holdings.lock:
            slice_.dead = True
            slice_.until = 0
            slice_.of.drop(slice_)
        # Released by the keeper, or by who would have to refuse a call without it: the call that found it lost leases
        # anew, and must not fail because the store did not take this back.
        self._set_aside(slice_)
