"""A ledger over a ledger: every verb goes to the one inside, until somebody gives it another meaning."""

from __future__ import annotations

from collections.abc import Sequence

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Lease, Ledger, Parcel, Refusal
from costguard.ledger.deeds import Adjusted, Deed
from costguard.ledger.figures import Order, Percentiles, Sum, Where
from costguard.ledger.told import Told
from costguard.notice import News

CLOSING = 5.0
"""Seconds that closing waits at most for what is on its way to the store, where nobody says how many."""


class Wrapper:
    """`inner` is the ledger inside."""

    def __init__(self, inner: Ledger) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def told(self) -> Told:
        """Who hears that there may be something in the outbox."""
        found = getattr(self.inner, "told", None)
        return found if isinstance(found, Told) else Told()

    def before_reading(self) -> None:
        """What has to be done before anything is asked of the ledger inside."""

    def open(self) -> None:
        self.inner.open()

    def close(self) -> None:
        self.end(CLOSING)

    def end(self, seconds: float) -> None:
        """Close, without waiting longer than so many seconds for what is on its way to the store."""
        end = getattr(self.inner, "end", None)
        if end is None:
            self.inner.close()
        else:
            end(seconds)

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        return self.inner.reserve(hold, now_ns, alone=alone)

    def local(self, hold: Hold) -> bool:
        return self.inner.local(hold)

    def extend(self, hold_ids: Sequence[str], expires_ns: int) -> set[str]:
        return self.inner.extend(hold_ids, expires_ns)

    def shrink(self, lease: Lease, by: int) -> int:
        return self.inner.shrink(lease, by)

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        return self.inner.settle(entry, hold)

    def note(self, entry: Entry, hold: Hold) -> bool:
        """Keep an entry of status `lost` for a call that is made though the store could not be asked: it counts if
        its process dies before it settles the call. False if there is no journal for it. Never asks the store."""
        note = getattr(self.inner, "note", None)
        return note is not None and bool(note(entry, hold))

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        return self.inner.settle_all(settlements)

    def adjust(self, adjustments: Sequence[Adjustment], deed: Deed, budgets: Sequence[Budget] = ()) -> Adjusted:
        self.before_reading()
        return self.inner.adjust(adjustments, deed, budgets)

    def deeds(self, *, most: int = 100) -> list[Deed]:
        return self.inner.deeds(most=most)

    def release(self, hold: Hold) -> bool:
        return self.inner.release(hold)

    def tell(self, crossing: News) -> bool:
        return self.inner.tell(crossing)

    def expire(self, now_ns: int) -> list[Entry]:
        self.before_reading()
        return self.inner.expire(now_ns)

    def reached(self, limits: Sequence[Limit]) -> Refusal | None:
        self.before_reading()
        return self.inner.reached(limits)

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        self.before_reading()
        return self.inner.balances(limits)

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
        self.before_reading()
        return self.inner.entries(
            tags, model=model, provider=provider, call_id=call_id, since_ns=since_ns, until_ns=until_ns, limit=limit,
            order=order, before=before,
        )  # fmt: skip

    def spent(self, tags: Where, *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        self.before_reading()
        return self.inner.spent(tags, since_ns=since_ns, until_ns=until_ns)

    def sums(
        self,
        by: Sequence[str],
        tags: Where,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        self.before_reading()
        return self.inner.sums(by, tags, since_ns=since_ns, until_ns=until_ns)

    def percentiles(
        self,
        by: Sequence[str],
        tags: Where,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Percentiles]:
        self.before_reading()
        return self.inner.percentiles(by, tags, since_ns=since_ns, until_ns=until_ns)

    def retain(self, before_ns: int) -> int:
        self.before_reading()
        return self.inner.retain(before_ns)

    def claim(self, now_ns: int, *, lease_ns: int, most: int = 20) -> list[Parcel]:
        return self.inner.claim(now_ns, lease_ns=lease_ns, most=most)

    def delivered(self, parcel: Parcel, now_ns: int) -> None:
        self.inner.delivered(parcel, now_ns)

    def postpone(self, parcel: Parcel, until_ns: int, error: str) -> None:
        self.inner.postpone(parcel, until_ns, error)

    def give_up(self, parcel: Parcel, now_ns: int, error: str) -> None:
        self.inner.give_up(parcel, now_ns, error)

    def undelivered(self) -> int:
        self.before_reading()
        return self.inner.undelivered()
