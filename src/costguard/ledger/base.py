"""The protocol of a ledger: a few atomic verbs with the condition inside.

Every implementation passes `tests/ledger/test_conformance.py`. A verb is one transaction: it happens
wholly or not at all, whatever dies. Amounts are integer nano-dollars, times nanoseconds since 1970.
A store that cannot be reached raises `StoreUnavailable`, naming itself and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from costguard.budgets import Limit
from costguard.events import Crossing, Entry, Hold


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a hold was not taken: the first limit, in key order, that it did not fit; nano-dollars."""

    limit: Limit
    spent: int
    held: int


@dataclass(frozen=True, slots=True)
class Sum:
    """What the entries of one group add up to. `group` has a value for each name asked for.

    cost:       nano-dollars of the priced entries; `estimated_cost` of it was estimated
    input_tokens, output_tokens, cache_read_tokens: totals, cached reads part of the input
    unpriced_calls, unpriced_tokens: never counted as free: shown beside the cost
    errors:     calls that the provider refused or failed
    duration_ns: sum of the durations
    """

    group: Mapping[str, str]
    calls: int
    cost: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    unpriced_calls: int
    unpriced_tokens: int
    estimated_calls: int
    estimated_cost: int
    errors: int
    duration_ns: int


@dataclass(slots=True)
class Parcel:
    """An outbox row, claimed for delivery.

    key:       unique for the crossing: a second one is never made
    payload:   the crossing in plain JSON values (see `crossing_payload`)
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

        alone: on a limit where nothing else is held, the amount may shrink to what is left (at least 1);
            `hold.amount` is lowered to what was taken. For a first call of unknown cost, which then
            has the limit to itself instead of being refused while money is left.
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
        """
        ...

    def release(self, hold: Hold) -> bool:
        """Give a hold back without an entry; False if it is gone already."""
        ...

    def tell(self, crossing: Crossing) -> bool:
        """Put a crossing into the outbox unless its key was there ever before; True if it was new."""
        ...

    def expire(self, now_ns: int) -> list[Entry]:
        """Charge every hold that expired by `now_ns` as an entry of status `lost`; return these entries."""
        ...

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        """(spent, held) of each limit, zeros for one never seen."""
        ...

    def entries(
        self,
        tags: Mapping[str, str],
        *,
        model: str | None = None,
        provider: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        """Newest first; those that have all these tag values ("unattributed": no such tag).

        `since_ns` is included, `until_ns` is not.
        """
        ...

    def spent(self, tags: Mapping[str, str], *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        """Nano-dollars of the priced entries with these tag values."""
        ...

    def sums(
        self,
        by: Sequence[str],
        tags: Mapping[str, str],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        """Entries added up by tag names, or by "provider", "model", "operation", "status", "day" (UTC date).

        Dearest first. A tag that an entry lacks has the value "unattributed".
        """
        ...

    def retain(self, before_ns: int) -> int:
        """Forget the entries made before this time, for good; how many. Balances stay as they are.

        A store that keeps entries by month (UTC) forgets whole months: the one that `before_ns` is in stays. An
        entry that is settled anew after it was forgotten counts anew: keep entries for longer than any call, or any
        journal that waits for the store.
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


def crossing_payload(crossing: Crossing) -> dict[str, object]:
    """A crossing as plain JSON values: amounts are integer nano-dollars, times nanoseconds."""
    limit = crossing.limit
    return {
        "budget": str(limit.budget),
        "name": limit.budget.name,
        "payer": dict(limit.payer),
        "where": dict(limit.budget.where),
        "window": limit.budget.window,
        "fraction": str(crossing.fraction),
        "limit": limit.most,
        "spent": crossing.spent,
        "start": limit.start,
        "end": limit.end,
        "at": crossing.at_ns,
        "refused": crossing.refused,
    }
