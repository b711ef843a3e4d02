"""Holds that have expired, charged by whoever looks next: the ledger decides, as it would of holds of its own."""

from __future__ import annotations

from collections.abc import Sequence

from costguard.budgets import Limit
from costguard.events import Entry, Hold
from costguard.ledger.audit import Expired
from costguard.ledger.base import Ledger, is_lease
from costguard.ledger.room import accounts, ordered
from costguard.ledger.valkey_balances import ValkeyBalances, new_epoch
from costguard.ledger.valkey_record import numbers, read_hold, unlimited
from costguard.ledger.valkey_refresh import PEEK
from costguard.ledger.valkey_server import Server
from costguard.ledger.valkey_settling import OPEN_ENDS, Plan, Settling

MOST = 500
"""Holds charged at once."""

_EVER = 1 << 62


class Charging:
    """Thread-safe."""

    def __init__(self, server: Server, balances: ValkeyBalances, inner: Ledger, settling: Settling) -> None:
        self._server = server
        self._balances = balances
        self._inner = inner
        self._settling = settling

    def due(self, now_ns: int, on: Sequence[Limit] | None = None) -> list[Entry]:
        """Charge the holds that expired by `now_ns`, only those on one of these limits; their entries."""
        ids = self._server.due(self._balances.expiries, now_ns // 1000)
        wanted = None if on is None else {limit.key for limit in on}
        lost: list[Entry] = []
        for first in range(0, len(ids), MOST):
            lost += self._some(ids[first : first + MOST], now_ns, wanted)
        return lost

    def count(self) -> int:
        """How many holds there are."""
        return len(self._server.due(self._balances.expiries, _EVER))

    def expired(self, now_ns: int) -> list[Expired]:
        """The holds that `due` would charge."""
        ids = self._server.due(self._balances.expiries, now_ns // 1000)
        found: list[Expired] = []
        for text, amounts, made, _ in self._peek(ids):
            if text and not made:
                hold = read_hold(text)
                leased = is_lease(hold.call)
                amount = numbers(amounts)[0] if leased else hold.amount
                keys = tuple(limit.key for limit in hold.limits)
                found.append(Expired(hold.call.id, dict(hold.call.tags), keys, amount, hold.expires_ns, leased))
        return found

    def _peek(self, ids: Sequence[str]) -> list[list[str]]:
        keys = [self._balances.epoch, *map(self._balances.hold, ids)]
        return list(self._server.run(PEEK, keys, new_epoch())[1:])

    def _some(self, ids: Sequence[str], now_ns: int, wanted: set[str] | None) -> list[Entry]:
        plans: list[Plan] = []
        for call_id, (text, amounts, made, entry_id) in zip(ids, self._peek(ids), strict=True):
            hold = read_hold(text) if text else None
            if wanted is not None and (hold is None or wanted.isdisjoint([limit.key for limit in hold.limits])):
                continue
            limits = [] if hold is None else accounts(ordered(hold.limits))
            plan = Plan(call_id, call_id, True, hold, limits, limits, due=now_ns // 1000)
            plan.costs = numbers(amounts or "")
            if made:
                self._recorded(plan, entry_id, hold)
            elif hold is not None and is_lease(hold.call):
                # What calls have drawn from it meanwhile is theirs.
                (hold.amount,) = plan.costs
            plans.append(plan)
        return self._charge(plans, now_ns) if plans else []

    def _recorded(self, plan: Plan, entry_id: str, hold: Hold | None) -> None:
        """A settlement that went no further. A hold of nothing was made for it, so nothing is charged for it."""
        plan.mode = "doubt"
        plan.entry_id = entry_id
        if hold is None or not hold.leases:
            return
        at = hold.call.started_ns // 1000 * 1000
        near = self._inner.entries(dict(hold.call.tags), since_ns=at, until_ns=at + 1000)
        entry = next((one for one in near if one.call_id == entry_id), None)
        if entry is None:
            plan.mode = "drop"
            return
        plan.mode = "count"
        plan.open = entry.status in OPEN_ENDS
        plan.costs = [entry.on(limit) for limit in plan.limits]
        leases = {limit.key: lease for limit, lease in zip(hold.limits, hold.leases, strict=True)}
        plan.leases = [leases[limit.key] for limit in plan.limits]

    def _charge(self, plans: list[Plan], now_ns: int) -> list[Entry]:
        states = self._settling.begin(plans)
        plans = [plan for plan, state in zip(plans, states, strict=True) if state != "gone"]
        asked = {plan.id for plan in plans if plan.mode == "count" and not plan.leases}
        lost: list[Entry] = []
        if asked:
            for plan in plans:
                if plan.id in asked and plan.hold is not None:
                    plan.hold.expires_ns = min(plan.hold.expires_ns, now_ns)
                    self._inner.reserve(unlimited(plan.hold), now_ns)
            lost = self._inner.expire(now_ns)
        charged = {entry.call_id for entry in lost}
        for plan in plans:
            if plan.id in asked and plan.id not in charged:
                # Recorded before: by its owner, whose balances nobody has told of it, or of whom all is told.
                plan.mode = "doubt"
        self._settling.finish(plans)
        if charged - asked:
            # Holds of the ledger's own, of a time before its balances were in Valkey.
            self._settling.rebuild()
        return lost
