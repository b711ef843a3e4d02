"""A ledger over a ledger: every verb goes to the one inside, until somebody gives it another meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costguard.budgets import Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Lease, Ledger, Parcel, Refusal, Sum


class Wrapper:
    """`inner` is the ledger inside."""

    def __init__(self, inner: Ledger) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    def before_reading(self) -> None:
        """What has to be done before anything is asked of the ledger inside."""

    def open(self) -> None:
        self.inner.open()

    def close(self) -> None:
        self.inner.close()

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

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        return self.inner.settle_all(settlements)

    def release(self, hold: Hold) -> bool:
        return self.inner.release(hold)

    def tell(self, crossing: Crossing) -> bool:
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
        tags: Mapping[str, str],
        *,
        model: str | None = None,
        provider: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        self.before_reading()
        return self.inner.entries(
            tags, model=model, provider=provider, since_ns=since_ns, until_ns=until_ns, limit=limit
        )

    def spent(self, tags: Mapping[str, str], *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        self.before_reading()
        return self.inner.spent(tags, since_ns=since_ns, until_ns=until_ns)

    def sums(
        self,
        by: Sequence[str],
        tags: Mapping[str, str],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        self.before_reading()
        return self.inner.sums(by, tags, since_ns=since_ns, until_ns=until_ns)

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
