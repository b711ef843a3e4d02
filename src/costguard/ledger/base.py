"""The protocol of a ledger: a few atomic verbs with the condition inside.

Every implementation passes `tests/ledger/test_conformance.py`. A verb is one transaction: it happens
wholly or not at all, whatever dies. Amounts are integers of the unit of their limit (nano-dollars, tokens
or calls: `hold.on(limit)`, `entry.on(limit)`), times nanoseconds since 1970.
A store that cannot be reached raises `StoreUnavailable`, naming itself and the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.call import Call
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.deeds import Adjusted, Deed
from costguard.ledger.figures import Order, Percentiles, Sum, Where
from costguard.notice import News


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a hold was not taken: the first limit, in key order, that it did not fit; in the limit's unit."""

    limit: Limit
    spent: int
    held: int


LEASE = ("costguard", "lease")
"""Provider and operation of the call that is made for a lease: nobody's call, nothing was asked of a provider."""


def is_lease(call: Call) -> bool:
    return call.operation == LEASE[1] and call.provider == LEASE[0]


def is_lost_lease(entry: Entry) -> bool:
    """The charge of a lease whose owner died: it counts on the lease's budget, and is no call's cost."""
    return (entry.provider, entry.operation) == LEASE


class Lease(Hold):
    """A slice of one limit, held by a worker for calls to come: `amount` is in the unit of the limit, whatever it is.

    Its call is made for it alone, see `LEASE`. Calls that are held out of it name that call's id in `Hold.leases`.
    """

    __slots__ = ()

    def on(self, limit: Limit) -> int:
        return self.amount


@dataclass(slots=True)
class Parcel:
    """An outbox row, claimed for delivery.

    key:       unique for the crossing: a second one is never made
    payload:   the crossing in plain JSON values (see `ledger.payload`)
    tries:     deliveries begun so far, this one included
    delivered: names of the channels that already took it
    """

    id: int
    key: str
    payload: dict[str, object]
    created_ns: int
    tries: int
    delivered: list[str] = field(default_factory=list)


class Ledger(Protocol):
    """Thread-safe. Safe over fork: a child opens its own connection at first use."""

    @property
    def url(self) -> str:
        """The store, for messages; without a password."""
        ...

    def open(self) -> None:
        """Connect, and bring the schema up to date. Idempotent; several processes may open at once."""
        ...

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        """Hold `hold.amount` on all of `hold.limits`, or on none and say which one refused.

        A limit has room if spent + held + amount <= limit. Limits are taken in the order of their keys.
        Before it refuses, the holds on these limits that expired by `now_ns` are charged as `lost`.
        A hold that is there already, by its call's id, is taken once, whatever it is now said to be.

        A `Lease` is taken like any hold.

        alone: on a limit where nothing else is held, the amount may shrink to what is left (at least 1);
            `hold.amount`, or `hold.tokens`, is lowered to what was taken. For a first call of unknown cost, which
            then has the limit to itself instead of being refused while money is left.
        """
        ...

    def local(self, hold: Hold) -> bool:
        """Whether `reserve(hold)` would now do without a network. Where it would not, async code leaves it to a
        thread. Never asks the store."""
        ...

    def extend(self, hold_ids: Sequence[str], expires_ns: int) -> set[str]:
        """Move the expiry of these holds; those that still are holds, and were neither charged nor released."""
        ...

    def shrink(self, lease: Lease, by: int) -> int:
        """Give back a part of a lease and keep the rest; how much of `by` it was, which is what its row still has at
        most. 0 if it is no hold any more: a lease that was charged stays charged until it is released.

        Never done twice: if it raises StoreUnavailable nobody knows whether it was done, and the owner, who must not
        spend that part, has to take it as given.
        """
        ...

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        """Replace the hold by the entry: held to spent on the hold's limits, and the row appended.

        The hold is known by `hold.call.id`. One that was never taken, or is gone, frees nothing: the cost
        still counts on its limits.

        Idempotent by `entry.call_id`: if it is recorded already, nothing changes and None is returned,
        except that an entry of status `lost` or `pending` is replaced by a final one and the balances
        get the difference, once. Crossings of `limit.marks` are put into the outbox in the same
        transaction and returned. An entry without a price (`nanos` None) only frees the hold.

        A call that was held out of leases (`hold.leases`, one for each of `hold.limits`) has no hold of its own.
        What it counts is drawn from them: it is spent, and the lease, with what its balance holds, gets smaller by
        as much of it as the lease still has. A lease that was charged as `lost` is the same money: the charge
        gets smaller instead, and only the rest adds to what is spent; an entry of which nothing is left is gone.
        An entry that is recorded already draws nothing.
        """
        ...

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        """Several times `settle`, in this order and in one transaction: what each of them would have answered.

        All are recorded or none. An entry that no store takes (a call id that is no UUID) raises before anything
        is recorded: then settle them one by one.
        """
        ...

    def adjust(self, adjustments: Sequence[Adjustment], deed: Deed, budgets: Sequence[Budget] = ()) -> Adjusted:
        """Record corrections, each once by its call id, and who made them, in one transaction.

        Each is spent, which may be less than nothing, on all balances of its tags and time. Of `budgets` a balance is
        made where there is none, in windows that are not over. Marks that are passed in these go to the outbox.
        """
        ...

    def deeds(self, *, most: int = 100) -> list[Deed]:
        """Who has adjusted what, the latest first."""
        ...

    def release(self, hold: Hold) -> bool:
        """Give back what the store's row of a hold still holds, without an entry; False if there is nothing to give.

        Where it was charged as `lost` meanwhile, what is left of the charge is given back, and its entry is gone:
        its owner lives, and says that nothing more was spent.
        """
        ...

    def tell(self, crossing: News) -> bool:
        """Put a crossing, or a notice, into the outbox unless its key was there ever before; True if it was new."""
        ...

    def expire(self, now_ns: int) -> list[Entry]:
        """Charge every hold that expired by `now_ns` as an entry of status `lost`; return these entries.

        What it held on a limit is spent on it. The entry's cost is the hold's money; unknown for a lease of tokens
        or calls. A lease of which nothing is left only goes.
        """
        ...

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        """(spent, held) of each limit, in its unit; zeros for one never seen."""
        ...

    def reached(self, limits: Sequence[Limit]) -> Refusal | None:
        """The first of these limits, in key order, that is spent (`spent >= limit.most`): the check at the door."""
        ...

    def entries(
        self,
        tags: Where,
        *,
        model: str | None = None,
        provider: str | None = None,
        call_id: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
        order: Order = "newest",
        before: Entry | None = None,
    ) -> list[Entry]:
        """Those that have all these values of tags ("unattributed": no such tag) and `FACTS`; newest first.

        `since_ns` is included, `until_ns` is not. `before` is the last entry of the page before, in the same order:
        those after it come next. Of the dearest, the unpriced come last.
        """
        ...

    def spent(self, tags: Where, *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        """Nano-dollars of the priced entries with these tag values; lost leases are left out, as in `sums`."""
        ...

    def sums(
        self,
        by: Sequence[str],
        tags: Where,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        """Entries added up by tag names, by `FACTS`, or by "day" and "hour" (UTC: "2026-11-22", "2026-11-22T13").

        Dearest first. A tag that an entry lacks has the value "unattributed". What was charged for lost leases is
        no call's cost, and would count once for each budget: it is only added up, as "lease", by "operation", or
        where that is asked for.
        """
        ...

    def percentiles(
        self,
        by: Sequence[str],
        tags: Where,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Percentiles]:
        """What calls took and cost, for the groups of `sums`, most calls first."""
        ...

    def retain(self, before_ns: int) -> int:
        """Forget the entries made before this time, for good; how many. Balances stay as they are.

        A store that keeps entries by month (UTC) forgets whole months: the one that `before_ns` is in stays. An
        entry that is settled anew after it was forgotten counts anew: keep entries for longer than any call, or any
        journal that waits for the store.

        Alerts that were told, or given up, before that month go with it, once the windows they are of have ended.
        """
        ...

    def claim(self, now_ns: int, *, lease_ns: int, most: int = 20) -> list[Parcel]:
        """Take undelivered parcels that are due, oldest first; no other worker gets them for `lease_ns`."""
        ...

    def delivered(self, parcel: Parcel, now_ns: int) -> None:
        """Every channel took it: it is never claimed again."""
        ...

    def postpone(self, parcel: Parcel, until_ns: int, error: str) -> None:
        """Not delivered (to all): due again at `until_ns`. `parcel.delivered` is kept, with the error."""
        ...

    def give_up(self, parcel: Parcel, now_ns: int, error: str) -> None:
        """Never claimed again, kept and visible with its error."""
        ...

    def undelivered(self) -> int:
        """Parcels neither delivered nor given up."""
        ...

    def close(self) -> None:
        """Let go of the store. Idempotent; a later verb opens it again."""
        ...
