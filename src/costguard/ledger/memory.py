"""The ledger in memory: the readable specification of the protocol, and the fastest of the stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from threading import Lock

from costguard.budgets import Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Lease, Parcel, Refusal
from costguard.ledger.lost import lost_entry
from costguard.ledger.marks import crossed
from costguard.ledger.memory_adjusting import MemoryAdjusting
from costguard.ledger.memory_audit import MemoryAudit
from costguard.ledger.memory_holds import Held
from costguard.ledger.memory_outbox import MemoryOutbox
from costguard.ledger.memory_reading import MemoryReading
from costguard.ledger.room import accounts, amounts, lower, ordered, room
from costguard.ledger.told import Told
from costguard.notice import News

OPEN_ENDS = ("lost", "pending")
"""An entry of these statuses is replaced by the truth, once."""


class MemoryLedger(MemoryReading, MemoryAudit, MemoryAdjusting):
    """For tests and trials: every entry is kept until the process ends, and lost with it.

    Nothing is shared with another process: workers that fork have a ledger, and budgets, each.
    """

    url = "memory://"

    def __init__(self) -> None:
        self._lock = Lock()
        self._balances: dict[str, list[int]] = {}
        self._holds: dict[str, Held] = {}
        self._entries: dict[str, Entry] = {}
        # What an open end was charged with on each balance.
        self._charged: dict[str, list[tuple[Limit, int]]] = {}
        self._outbox = MemoryOutbox()
        # As they were last seen.
        self._limits: dict[str, Limit] = {}
        self._kept_from: int | None = None
        self.told = Told()
        self._deeds = {}

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close: what was recorded stays readable."""

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        balances = self._balances
        with self._lock:
            if hold.call.id in self._holds:
                return None
            for limit in hold.limits:
                balance = balances.get(limit.key)
                if (0 if balance is None else balance[0] + balance[1]) + hold.on(limit) > limit.most:
                    break
            else:
                self._hold(hold)
                return None
            self._charge(now_ns, {limit.key for limit in hold.limits})
            self._limits.update([(limit.key, limit) for limit in accounts(ordered(hold.limits))])
            found = room([self._standing(limit) for limit in ordered(hold.limits)], amounts(hold), alone=alone)
            if isinstance(found, Refusal):
                return found
            lower(hold, found)
            self._hold(hold)
            return None

    def _hold(self, hold: Hold) -> None:
        held = self._holds[hold.call.id] = Held(hold)
        for limit, amount in held.parts:
            (self._balances.get(limit.key) or self._balance(limit))[1] += amount
            self._limits[limit.key] = limit

    def _seen(self, parts: Iterable[tuple[Limit, int]]) -> list[tuple[Limit, int]]:
        """The same with each limit as it was last seen: it may have been changed since."""
        return [(self._limits[limit.key], amount) for limit, amount in parts]

    def _free(self, held: Held) -> None:
        for limit, amount in held.parts:
            self._balances[limit.key][1] -= amount

    def _balance(self, limit: Limit) -> list[int]:
        balance = self._balances.get(limit.key)
        if balance is None:
            balance = self._balances[limit.key] = [0, 0]
            self._limits[limit.key] = limit
        return balance

    def _standing(self, limit: Limit) -> tuple[Limit, int, int]:
        spent, held = self._balance(limit)
        return limit, spent, held

    def _spend(self, costs: Iterable[tuple[Limit, int]], at_ns: int) -> list[Crossing]:
        """Spend on these limits, each balance once; the marks passed by it, of all the limits that share it."""
        passed: list[Crossing] = []
        key = None
        for limit, cost in costs:
            balance = self._balance(limit)
            if limit.key != key:
                balance[0] += cost
                key = limit.key
            # Most spending is below the first mark.
            if cost > 0 and limit.marks and balance[0] >= limit.marks[0][0]:
                passed += crossed(limit, balance[0] - cost, balance[0], at_ns)
        return [crossing for crossing in passed if self._outbox.add(crossing)] if passed else passed

    def local(self, hold: Hold) -> bool:
        return True

    def extend(self, hold_ids: Sequence[str], expires_ns: int) -> set[str]:
        with self._lock:
            found = {hold_id for hold_id in hold_ids if hold_id in self._holds}
            for hold_id in found:
                self._holds[hold_id].expires_ns = expires_ns
            return found

    def shrink(self, lease: Lease, by: int) -> int:
        with self._lock:
            held = self._holds.get(lease.call.id)
            if held is None:
                return 0
            given = min(held.left, by)
            self._take_from(held, given)
            return given

    def _take_from(self, lease: Held, amount: int) -> None:
        ((limit, left),) = lease.parts
        lease.parts = [(limit, left - amount)]
        self._balance(limit)[1] -= amount

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        with self._lock:
            call_id = entry.call_id
            held = self._holds.get(call_id)
            if held is not None and hold is not None and len(hold.limits) == 1 and entry.status == "ok":
                # What nearly every call is, to the same effect: a new entry on the limit it holds on, below its marks.
                (limit,) = hold.limits
                balance = self._balances[limit.key]
                spent = balance[0] + entry.on(limit)
                below = not limit.marks or spent < limit.marks[0][0]
                if below and held.only == limit.key and call_id not in self._entries:
                    balance[0] = spent
                    balance[1] -= held.parts[0][1]
                    del self._holds[call_id]
                    self._entries[call_id] = entry
                    return ()
            return self._settle(entry, hold)

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        with self._lock:
            return [self._settle(entry, hold) for entry, hold in settlements]

    def _settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        open_end = entry.status in OPEN_ENDS
        known = self._entries.get(entry.call_id)
        if known is not None and (open_end or known.status not in OPEN_ENDS):
            return None
        limits: Sequence[Limit] = () if hold is None else ordered(hold.limits)
        leases = () if hold is None else hold.leases
        if not leases:
            # A background response is entered under the provider's id, its hold under the call's.
            held = self._holds.pop(entry.call_id if hold is None else hold.call.id, None)
            if held is not None:
                self._free(held)
                if hold is None:
                    limits = [limit for limit, _ in self._seen(held.parts)]
        charged = None if known is None else self._charged.pop(entry.call_id)
        if charged:
            # All that share the balance: each may have a mark to tell of.
            sharing = [one for one in self._seen(charged) if one[0].key not in {limit.key for limit in limits}]
            charges = {limit.key: charge for limit, charge in charged}
            sharing += [(limit, charges[limit.key]) for limit in limits if limit.key in charges]
            costs = [(limit, entry.on(limit) - charge) for limit, charge in sharing]
        elif leases and hold is not None:
            costs = self._draw(entry, hold)
        else:
            costs = [(limit, entry.on(limit)) for limit in limits]
        if open_end:
            self._charged[entry.call_id] = [(limit, entry.on(limit)) for limit in accounts(limits)]
        self._entries[entry.call_id] = entry
        return tuple(self._spend(costs, entry.at_ns + entry.duration_ns))

    def _draw(self, entry: Entry, hold: Hold) -> list[tuple[Limit, int]]:
        """What the entry adds to the spending on each limit, once it was drawn from the leases."""
        lease_on = {limit.key: lease for limit, lease in zip(hold.limits, hold.leases, strict=True)}
        costs: list[tuple[Limit, int]] = []
        for limit in ordered(hold.limits):
            if costs and costs[-1][0].key == limit.key:
                costs.append((limit, costs[-1][1]))
                continue
            cost = entry.on(limit)
            lease = self._holds.get(lease_on[limit.key])
            if lease is None:
                costs.append((limit, cost - self._lower(lease_on[limit.key], cost)))
                continue
            self._take_from(lease, min(lease.left, cost))
            costs.append((limit, cost))
        return costs

    def _lower(self, lease: str, cost: int) -> int:
        """How much of this cost was charged already, when the lease was lost."""
        entry = self._entries.get(lease)
        if entry is None or entry.status != "lost":
            return 0
        ((limit, left),) = self._charged[lease]
        drawn = min(left, cost)
        if drawn == left:
            del self._entries[lease], self._charged[lease]
        elif drawn:
            self._charged[lease] = [(limit, left - drawn)]
            lower = self._entries[lease] = copy(entry)
            lower.nanos = None if entry.nanos is None else entry.nanos - drawn
        return drawn

    def release(self, hold: Hold) -> bool:
        call_id = hold.call.id
        with self._lock:
            held = self._holds.pop(call_id, None)
            if held is not None:
                self._free(held)
                return True
            entry = self._entries.get(call_id)
            if entry is None or entry.status != "lost":
                return False
            del self._entries[call_id]
            self._spend([(limit, -charge) for limit, charge in self._charged.pop(call_id)], 0)
            return True

    def tell(self, crossing: News) -> bool:
        with self._lock:
            return self._outbox.add(crossing)

    def expire(self, now_ns: int) -> list[Entry]:
        with self._lock:
            return self._charge(now_ns, None)

    def _charge(self, now_ns: int, keys: set[str] | None) -> list[Entry]:
        """Charge the expired holds, only those on one of `keys` if given."""
        now = now_ns // 1000
        expired = [
            (held.expires_ns // 1000, call_id)
            for call_id, held in self._holds.items()
            if held.expires_ns // 1000 <= now and (keys is None or any(limit.key in keys for limit, _ in held.parts))
        ]
        lost = []
        for _, call_id in sorted(expired):
            held = self._holds.pop(call_id)
            self._free(held)
            if call_id in self._entries or (held.lease and not held.left):
                continue
            call = held.call
            entry = self._entries[call_id] = lost_entry(
                call_id, call.started_ns, call.provider, call.model, call.operation,
                streamed=call.streamed, tags=call.tags, amount=held.money,
            )  # fmt: skip
            self._charged[call_id] = held.parts
            if self._spend(self._seen(held.parts), now_ns):
                self.told()
            lost.append(entry)
        return lost

    def retain(self, before_ns: int) -> int:
        with self._lock:
            self._kept_from = max(before_ns, self._kept_from or 0)
            old = [key for key, entry in self._entries.items() if entry.at_ns // 1000 < before_ns // 1000]
            for key in old:
                del self._entries[key]
                self._charged.pop(key, None)
            self._outbox.forget(before_ns)
            return len(old)

    def claim(self, now_ns: int, *, lease_ns: int, most: int = 20) -> list[Parcel]:
        with self._lock:
            return self._outbox.claim(now_ns, lease_ns=lease_ns, most=most)

    def delivered(self, parcel: Parcel, now_ns: int) -> None:
        with self._lock:
            self._outbox.delivered(parcel, now_ns)

    def postpone(self, parcel: Parcel, until_ns: int, error: str) -> None:
        with self._lock:
            self._outbox.postpone(parcel, until_ns, error)

    def give_up(self, parcel: Parcel, now_ns: int, error: str) -> None:
        with self._lock:
            self._outbox.give_up(parcel, now_ns, error)

    def undelivered(self) -> int:
        with self._lock:
            return self._outbox.undelivered()
