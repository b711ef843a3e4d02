"""The outbox of the ledger in memory: crossings to tell people, each delivered once."""

from __future__ import annotations

import json
from itertools import count

from costguard.ledger.base import Parcel
from costguard.ledger.payload import crossing_payload, is_over, settled_before
from costguard.notice import News


class MemoryOutbox:
    """Under the lock of its ledger."""

    def __init__(self) -> None:
        self._parcels: dict[str, _Kept] = {}
        self._number = count(1)

    def add(self, crossing: News) -> bool:
        """False if there ever was one with this key."""
        if crossing.key in self._parcels:
            return False
        self._parcels[crossing.key] = _Kept(next(self._number), crossing)
        return True

    def claim(self, now_ns: int, *, lease_ns: int, most: int = 20) -> list[Parcel]:
        due = [kept for kept in self._parcels.values() if not kept.done and kept.due_ns <= now_ns][:most]
        for kept in due:
            kept.due_ns = now_ns + lease_ns
            kept.tries += 1
        return [kept.parcel() for kept in due]

    def delivered(self, parcel: Parcel, now_ns: int) -> None:
        kept = self._parcels[parcel.key]
        kept.done = kept.told = True
        kept.finished_ns = now_ns
        kept.error = ""
        kept.delivered = list(parcel.delivered)

    def postpone(self, parcel: Parcel, until_ns: int, error: str) -> None:
        kept = self._parcels[parcel.key]
        # Claimed anew by another worker, after this one's lease had ended: its word counts.
        if kept.tries == parcel.tries and not kept.done:
            kept.due_ns = until_ns
            kept.delivered = list(parcel.delivered)
            kept.error = error

    def give_up(self, parcel: Parcel, now_ns: int, error: str) -> None:
        kept = self._parcels[parcel.key]
        if not kept.done:
            kept.done = True
            kept.finished_ns = now_ns
            kept.delivered = list(parcel.delivered)
            kept.error = error

    def forget(self, before_ns: int) -> None:
        """As `Outbox.forget` does."""
        before_ns = settled_before(before_ns)
        for key, kept in list(self._parcels.items()):
            over = is_over(json.loads(kept.payload), before_ns)
            if over and kept.finished_ns is not None and kept.finished_ns < before_ns:
                del self._parcels[key]

    def undelivered(self) -> int:
        return sum(not kept.done for kept in self._parcels.values())


class _Kept:
    """A row of the outbox."""

    def __init__(self, number: int, crossing: News) -> None:
        self.id = number
        self.key = crossing.key
        self.payload = json.dumps(crossing_payload(crossing))
        self.created_ns = crossing.at_ns
        self.due_ns = 0
        self.tries = 0
        self.delivered: list[str] = []
        self.done = self.told = False
        self.finished_ns: int | None = None
        self.error = ""

    def parcel(self) -> Parcel:
        return Parcel(self.id, self.key, json.loads(self.payload), self.created_ns, self.tries, list(self.delivered))
