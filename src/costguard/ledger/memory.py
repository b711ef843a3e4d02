"""The ledger in memory: the readable specification of the protocol, and the fastest of the stores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from costguard.budgets import Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Parcel, Refusal, Sum, crossing_payload
from costguard.ledger.lost import lost_entry
from costguard.ledger.marks import crossed
from costguard.ledger.room import ordered, room
from costguard.ledger.totals import Totals

OPEN_ENDS = ("lost", "pending")
"""An entry of these statuses is replaced by the truth, once."""


class MemoryLedger:
    """For tests and trials: every entry is kept until the process ends, and lost with it.

    Nothing is shared with another process: workers that fork have a ledger, and budgets, each.
    """

    url = "memory://"

    def __init__(self) -> None:
        self._lock = Lock()
        self._balances: dict[str, list[int]] = {}
        self._holds: dict[str, Hold] = {}
        self._entries: dict[str, Entry] = {}
        self._charged: dict[str, tuple[Limit, ...]] = {}
        self._parcels: dict[str, _Kept] = {}

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close: what was recorded stays readable."""

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        amount = hold.amount
        balances = self._balances
        with self._lock:
            for limit in hold.limits:
                balance = balances.get(limit.key)
                if (amount if balance is None else balance[0] + balance[1] + amount) > limit.most:
                    break
            else:
                self._hold(hold)
                return None
            self._charge(now_ns, {limit.key for limit in hold.limits})
            found = room([self._standing(limit) for limit in ordered(hold.limits)], amount, alone=alone)
            if isinstance(found, Refusal):
                return found
            hold.amount = found
            self._hold(hold)
            return None

    def _hold(self, hold: Hold) -> None:
        if hold.call.id in self._holds:
            return
        self._holds[hold.call.id] = hold
        self._move(hold.limits, hold.amount, 0, 0)

    def _balance(self, limit: Limit) -> list[int]:
        balance = self._balances.get(limit.key)
        if balance is None:
            balance = self._balances[limit.key] = [0, 0]
        return balance

    def _standing(self, limit: Limit) -> tuple[Limit, int, int]:
        spent, held = self._balance(limit)
        return limit, spent, held

    def _move(self, limits: tuple[Limit, ...], held: int, spent: int, at_ns: int) -> list[Crossing]:
        """Change the balances of these limits, each once; the marks passed by it."""
        passed: list[Crossing] = []
        key = None
        for limit in ordered(limits):
            if limit.key != key:
                balance = self._balance(limit)
                balance[1] += held
                balance[0] += spent
                key = limit.key
            # Most spending is below the first mark.
            if spent > 0 and limit.marks and balance[0] >= limit.marks[0][0]:
                passed += crossed(limit, balance[0] - spent, balance[0], at_ns)
        return passed

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        with self._lock:
            known = self._entries.get(entry.call_id)
            if known is not None and (known.status not in OPEN_ENDS or entry.status in OPEN_ENDS):
                return None
            # A background response is entered under the provider's id, its hold under the call's.
            kept = self._holds.pop(entry.call_id if hold is None else hold.call.id, None)
            limits = () if hold is None and kept is None else (hold or kept).limits  # type: ignore[union-attr]
            cost = entry.nanos or 0
            if known is not None:
                charged = self._charged.pop(entry.call_id)
                if charged:
                    limits = charged
                    cost -= known.nanos or 0
            if entry.status in OPEN_ENDS:
                self._charged[entry.call_id] = limits
            self._entries[entry.call_id] = entry
            passed = self._move(limits, -kept.amount if kept else 0, cost, entry.at_ns + entry.duration_ns)
            return tuple([crossing for crossing in passed if self._tell(crossing)]) if passed else ()

    def release(self, hold: Hold) -> bool:
        with self._lock:
            kept = self._holds.pop(hold.call.id, None)
            if kept is None:
                return False
            self._move(kept.limits, -kept.amount, 0, 0)
            return True

    def tell(self, crossing: Crossing) -> bool:
        with self._lock:
            return self._tell(crossing)

    def _tell(self, crossing: Crossing) -> bool:
        if crossing.key in self._parcels:
            return False
        self._parcels[crossing.key] = _Kept(len(self._parcels) + 1, crossing)
        return True

    def expire(self, now_ns: int) -> list[Entry]:
        with self._lock:
            return self._charge(now_ns, None)

    def _charge(self, now_ns: int, keys: set[str] | None) -> list[Entry]:
        """Charge the expired holds, only those on one of `keys` if given."""
        now = now_ns // 1000
        expired = [
            hold
            for hold in self._holds.values()
            if hold.expires_ns // 1000 <= now and (keys is None or any(limit.key in keys for limit in hold.limits))
        ]
        lost = []
        for hold in sorted(expired, key=lambda hold: (hold.expires_ns // 1000, hold.call.id)):
            call = hold.call
            del self._holds[call.id]
            entry = lost_entry(
                call.id, call.started_ns, call.provider, call.model, call.operation,
                streamed=call.streamed, tags=call.tags, amount=hold.amount,
            )  # fmt: skip
            if call.id in self._entries:
                self._move(hold.limits, -hold.amount, 0, now_ns)
                continue
            self._entries[call.id] = entry
            self._charged[call.id] = hold.limits
            for crossing in self._move(hold.limits, -hold.amount, hold.amount, now_ns):
                self._tell(crossing)
            lost.append(entry)
        return lost

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        with self._lock:
            found = [self._balances.get(limit.key, (0, 0)) for limit in limits]
            return [(spent, held) for spent, held in found]

    def _matching(
        self, tags: Mapping[str, str], since_ns: int | None, until_ns: int | None
    ) -> Iterable[tuple[int, Entry]]:
        with self._lock:
            entries = list(self._entries.values())
        wanted = tuple(tags.items())
        for place, entry in enumerate(entries):
            at = entry.at_ns // 1000
            if (
                (since_ns is None or at >= since_ns // 1000)
                and (until_ns is None or at < until_ns // 1000)
                and all(entry.tags.value(name) == value for name, value in wanted)
            ):
                yield place, entry

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
        found = [
            (entry.at_ns // 1000, place, entry)
            for place, entry in self._matching(tags, since_ns, until_ns)
            if model in (None, entry.model) and provider in (None, entry.provider)
        ]
        found.sort(key=lambda line: line[:2], reverse=True)
        return [entry for _, _, entry in found[:limit]]

    def spent(self, tags: Mapping[str, str], *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        return sum(entry.nanos or 0 for _, entry in self._matching(tags, since_ns, until_ns))

    def sums(
        self,
        by: Sequence[str],
        tags: Mapping[str, str],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        totals = Totals(by)
        for _, entry in self._matching(tags, since_ns, until_ns):
            totals.add(tuple([_value(entry, name) for name in by]), _counts(entry))
        return totals.sums()

    def retain(self, before_ns: int) -> int:
        with self._lock:
            old = [key for key, entry in self._entries.items() if entry.at_ns // 1000 < before_ns // 1000]
            for key in old:
                del self._entries[key]
                self._charged.pop(key, None)
            return len(old)

    def claim(self, now_ns: int, *, lease_ns: int, most: int = 20) -> list[Parcel]:
        with self._lock:
            due = [kept for kept in self._parcels.values() if not kept.done and kept.due_ns <= now_ns][:most]
            for kept in due:
                kept.due_ns = now_ns + lease_ns
                kept.tries += 1
            return [kept.parcel() for kept in due]

    def delivered(self, parcel: Parcel, now_ns: int) -> None:
        with self._lock:
            kept = self._parcels[parcel.key]
            kept.done = True
            kept.delivered = list(parcel.delivered)

    def postpone(self, parcel: Parcel, until_ns: int, error: str) -> None:
        with self._lock:
            kept = self._parcels[parcel.key]
            # Claimed anew by another worker, after this one's lease had ended: its word counts.
            if kept.tries == parcel.tries and not kept.done:
                kept.due_ns = until_ns
                kept.delivered = list(parcel.delivered)
                kept.error = error

    def give_up(self, parcel: Parcel, now_ns: int, error: str) -> None:
        with self._lock:
            kept = self._parcels[parcel.key]
            if not kept.done:
                kept.done = True
                kept.delivered = list(parcel.delivered)
                kept.error = error

    def undelivered(self) -> int:
        with self._lock:
            return sum(not kept.done for kept in self._parcels.values())


class _Kept:
    """A row of the outbox."""

    def __init__(self, number: int, crossing: Crossing) -> None:
        self.id = number
        self.key = crossing.key
        self.payload = json.dumps(crossing_payload(crossing))
        self.created_ns = crossing.at_ns
        self.due_ns = 0
        self.tries = 0
        self.delivered: list[str] = []
        self.done = False
        self.error = ""

    def parcel(self) -> Parcel:
        return Parcel(self.id, self.key, json.loads(self.payload), self.created_ns, self.tries, list(self.delivered))


def _value(entry: Entry, name: str) -> str:
    if name in ("provider", "model", "operation", "status"):
        return str(getattr(entry, name))
    return entry.at.date().isoformat() if name == "day" else entry.tags.value(name)


def _counts(entry: Entry) -> tuple[int, ...]:
    usage = entry.usage
    cost, priced = entry.nanos or 0, entry.nanos is not None
    tokens = usage.input_tokens + usage.output_tokens
    return (
        1, cost, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
        not priced, 0 if priced else tokens, entry.estimated, cost if entry.estimated else 0,
        entry.status == "error", entry.duration_ns // 1000 * 1000,
    )  # fmt: skip
