"""How a worker gets leases: how much it asks the store for, and when.

Nothing here is done under the lock of the holdings: a thread asks, and the calls that have what they need go on.

The first slice of a limit is what the call needs, as the worker may die in its first second, or make no other call.
Each that follows is for twice as many calls, while slices are used up quickly. None is more than an eighth of what is
left; where that is less than two calls, it is exactly what one call needs. Near exhaustion nobody therefore keeps
money that no call runs on, and what is left decides alone whether the next call fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from costguard.budgets import Limit
from costguard.call import Call
from costguard.errors import StoreUnavailable
from costguard.ledger.base import LEASE, Lease, Ledger, Refusal
from costguard.ledger.holdings import Holdings
from costguard.ledger.slices import Asking, Slice, Slices
from costguard.ledger.tenure import Tenure
from costguard.tags import UNATTRIBUTED, Tags

SHARE = 8
"""A slice is at most this part of what is left."""

_QUICK, _SLOW = 0.1, 2.0
"""Seconds: a slice that lasts less than the one is followed by a larger one, more than the other, by a smaller one."""

_FRESH = 0.2
"""Seconds for which the last look at what is left is good enough to size a slice; the store decides on it anyway."""


class Lender:
    """Leases for one process.

    inner:     the store that is asked
    far:       where balances are read: below a journal, which would bring itself up to date first
    calls, most_calls: how many typical calls a slice is for: where they come one after the other, and at most
    """

    def __init__(
        self,
        inner: Ledger,
        far: Ledger,
        holdings: Holdings,
        tenure: Tenure,
        *,
        calls: int,
        most_calls: int,
        clock: Callable[[], int],
        steady: Callable[[], float],
        leased: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._far = far
        self._holdings = holdings
        self._tenure = tenure
        self._calls = calls
        self._most_calls = most_calls
        self._clock = clock
        self._steady = steady
        self._leased = leased

    # -- for a call

    def place(self, limit: Limit, need: int, now_ns: int) -> Slice | Refusal:
        """Take a call's part out of a slice, leased now if none has it."""
        holdings = self._holdings
        while True:
            with holdings.lock:
                slices = holdings.of(limit)
                if slices.most == limit.most:
                    found = slices.find(need, now_ns)
                    if found is not None:
                        found.take(need)
                        slices.current = found
                        return found
                asking = slices.asking
                if asking is None:
                    mine = slices.asking = Asking(need)
                else:
                    slices.waiting += need
            if asking is None:
                return self._ask(mine, slices, limit, need, now_ns)
            asking.done.wait()
            with holdings.lock:
                slices.waiting -= need
            if asking.error is not None:
                raise StoreUnavailable(str(asking.error), retry_after=asking.error.retry_after)
            refusal = asking.refusal
            if refusal is not None and need >= asking.need and limit.most <= refusal.limit.most:
                return Refusal(limit, refusal.spent, refusal.held)

    def _ask(self, asking: Asking, slices: Slices, limit: Limit, need: int, now_ns: int) -> Slice | Refusal:
        try:
            found = self._find_or_lease(slices, limit, need, max(now_ns, self._clock()))
            if isinstance(found, Refusal):
                asking.refusal = found
            return found
        except StoreUnavailable as error:
            asking.error = error
            raise
        finally:
            with self._holdings.lock:
                slices.asking = None
            asking.done.set()

    def _find_or_lease(self, slices: Slices, limit: Limit, need: int, now_ns: int) -> Slice | Refusal:
        changed = slices.most != limit.most
        if changed:
            self._change(slices, limit)
        late = [slice_ for slice_ in slices.all if slice_.until <= now_ns]
        if late:
            # This process was stopped, or its keeper could not reach the store: nobody may have charged them yet.
            self._tenure.extend(late, now_ns)
        if changed or late:
            with self._holdings.lock:
                found = slices.find(need, now_ns)
                if found is not None:
                    found.take(need)
                    slices.current = found
                    return found
        slices.saw(need)
        if self._steady() - slices.looked_at > _FRESH:
            self._look(slices)
        amount, exact = self._size(slices, need)
        version = self._holdings.version
        answer = self._lease(slices, amount, now_ns, need=need, exact=exact)
        if isinstance(answer, Slice):
            return answer
        self._learn(slices, answer)
        # What is left over in several slices of this process may be enough together, or be on its way back.
        gave = self._tenure.give_back(slices) + self._tenure.end_all()
        for _ in range(3):
            if not gave and need > slices.remaining and version == self._holdings.version:
                break
            gave, version = 0, self._holdings.version
            answer = self._lease(slices, need, now_ns, need=need, exact=True)
            if isinstance(answer, Slice):
                return answer
            self._learn(slices, answer)
        # What is still on its way is held by no call.
        (own,) = self._holdings.free((limit.key,))
        return Refusal(limit, answer.spent, max(0, answer.held - own))

    def _change(self, slices: Slices, limit: Limit) -> None:
        """Another limit, or a grant: what is leased beyond a lower one goes back."""
        lower = limit.most < slices.most
        slices.limit = limit
        self._look(slices)
        if lower and slices.remaining < 0:
            self._tenure.give_back(slices, most=-slices.remaining)
        with self._holdings.lock:
            slices.most = limit.most

    def _look(self, slices: Slices) -> None:
        ((spent, held),) = self._far.balances((slices.limit,))
        self._learn(slices, Refusal(slices.limit, spent, held))

    def _learn(self, slices: Slices, refusal: Refusal) -> None:
        slices.remaining = refusal.limit.most - refusal.spent - refusal.held
        slices.looked_at = self._steady()

    def _size(self, slices: Slices, need: int) -> tuple[int, bool]:
        """How much the next slice is, and whether it is for one call alone, as little is left."""
        lasted = self._steady() - slices.granted_at
        if lasted > _SLOW:
            slices.calls = max(slices.calls // 2, 1)
        elif lasted < _QUICK or slices.calls < self._calls:
            slices.calls = min(2 * slices.calls, self._most_calls)
        share = slices.remaining // SHARE
        if share < max(1, 2 * need):
            return need, True
        return min(max(slices.calls * slices.typical, need + slices.waiting, 1), share), False

    def _lease(self, slices: Slices, amount: int, now_ns: int, *, need: int | None, exact: bool) -> Slice | Refusal:
        """One more slice, with the part of the call that asks taken out of it."""
        limit = slices.limit
        lease = new_lease(limit, amount, now_ns, self._tenure.lifetime_ns)
        try:
            refusal = self._inner.reserve(lease, now_ns)
        except StoreUnavailable:
            # It may be there all the same. Given back, for else it would be charged.
            self._tenure.doubt(lease)
            raise
        if refusal is not None:
            return refusal
        slice_ = Slice(slices, lease, exact=exact)
        self._tenure.begin(slice_, lease.expires_ns)
        slices.granted_at = self._steady()
        slices.remaining -= amount
        with self._holdings.lock:
            if need is not None:
                slice_.take(need)
                slices.current = slice_
            slices.all.append(slice_)
            self._holdings.by_id[slice_.id] = slice_
        self._leased()
        return slice_

    # -- for the keeper

    def refill(self, slices: Slices) -> None:
        """Lease ahead, where the slice that calls run on is low: not near exhaustion."""
        holdings = self._holdings
        with holdings.lock:
            current = slices.current
            spare = slices.free() - (max(0, current.free) if current is not None else 0)
            if slices.asking is not None or not slices.typical or spare >= slices.calls * slices.typical // 2:
                return
            mine = slices.asking = Asking(0)
        try:
            now_ns = self._clock()
            limit = slices.limit
            if limit.end is not None and limit.end <= now_ns:
                return
            if self._steady() - slices.looked_at > _FRESH:
                self._look(slices)
            amount, last = self._size(slices, slices.typical)
            if not last:
                answer = self._lease(slices, amount, now_ns, need=None, exact=False)
                if isinstance(answer, Refusal):
                    self._learn(slices, answer)
        finally:
            with holdings.lock:
                slices.asking = None
            mine.done.set()

    def look(self, many: Sequence[Slices]) -> None:
        """See what is left of these limits, and give back what is more than a worker should keep of it.

        Nobody says that money is wanted: whoever is refused was refused because little is left, and that everyone
        can see. In the last eighth of a limit nobody keeps what no call holds for longer than from one look to the
        next: others may have larger calls.
        """
        balances = self._far.balances([slices.limit for slices in many])
        for slices, (spent, held) in zip(many, balances, strict=True):
            self._learn(slices, Refusal(slices.limit, spent, held))
            if slices.remaining < max(2 * SHARE * slices.typical, 2 * slices.free(), slices.most // SHARE):
                self._tenure.give_back(slices)


def new_lease(limit: Limit, amount: int, now_ns: int, lifetime_ns: int) -> Lease:
    """A lease of this limit, for its payer: were it charged, its entry would count for that payer."""
    provider, operation = LEASE
    tags = {name: value for name, value in limit.payer if value != UNATTRIBUTED}
    call = Call(provider, "lease", operation, tags=Tags({**dict(limit.budget.where), **tags}))
    # Not those of the request that happens to need it: a lease outlives it.
    call.frame = None
    call.started_ns = now_ns
    return Lease(call, (limit,), amount, now_ns + lifetime_ns)
