"""Settlements over two systems: said in Valkey, written in the ledger, counted in Valkey.

What a crash leaves, and who mends it:
before the ledger is written   the hold, marked; it expires and is charged as any other
between the ledger and Valkey  the same; who charges it finds the entry written, takes the hold away and makes its
                               balances stale, so that they are read anew
Two who settle the same call at once do no harm either: the second finds no hold, and makes its balances stale.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from costguard.budgets import Limit
from costguard.errors import StoreUnavailable
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Ledger
from costguard.ledger.room import accounts, ordered
from costguard.ledger.valkey_balances import IDLE_MS, ValkeyBalances, began_ns, new_epoch
from costguard.ledger.valkey_record import Records, commas, read_hold, read_limits
from costguard.ledger.valkey_refresh import PEEK
from costguard.ledger.valkey_scripts import BEGIN, FINISH
from costguard.ledger.valkey_server import Server

log = logging.getLogger("costguard")

OPEN_ENDS = ("lost", "pending")

CHARGE_DAYS = 30
"""How long Valkey knows what a `lost` or `pending` entry was charged with. A truth that comes later makes all
balances stale."""

_SETTLING_NS = 600 * 10**9
_MOST_UNFINISHED = 10_000
_MOST_AT_ONCE = 500


@dataclass(slots=True)
class Plan:
    """One settlement.

    id:      what the hold is known by; entry_id: what the entry is
    limits:  what it counts on, one for each balance; frees: what the hold is on
    costs:   on each of `limits`, set when it is known
    leases:  one for each of `limits`, or none
    unknown: the ledger may know a charge of it that Valkey does not
    """

    id: str
    entry_id: str
    open: bool
    hold: Hold | None
    limits: list[Limit]
    frees: list[Limit]
    costs: list[int] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)
    unknown: bool = False
    due: int | None = None
    mode: str = "count"


class Settling:
    """Thread-safe."""

    def __init__(self, server: Server, balances: ValkeyBalances, inner: Ledger, records: Records) -> None:
        self._server = server
        self._balances = balances
        self._inner = inner
        self._records = records
        self._unfinished: deque[Plan] = deque(maxlen=_MOST_UNFINISHED)

    def settle(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        plans = self._plans(settlements)
        # What neither holds nor counts anything is the ledger's alone.
        here = [plan for plan in plans if plan.hold is not None or plan.limits]
        states = self.begin(here) if here else []
        inner = self._inner
        given = [(entry, plan.hold) for (entry, _), plan in zip(settlements, plans, strict=True)]
        told = [inner.settle(*given[0])] if len(given) == 1 else inner.settle_all(given)
        answers = dict(zip(map(id, plans), told, strict=True))
        for plan, state in zip(here, states, strict=True):
            if answers[id(plan)] is None:
                # It was recorded before. A hold that nobody was settling is not touched, as in any ledger.
                plan.mode = "keep" if state == "held" else "doubt"
        if here:
            self.finish(here)
        if any(plan.unknown and answer is not None for plan, answer in zip(plans, told, strict=True)):
            self.rebuild()
        return told

    def rebuild(self) -> None:
        """Have every balance read anew when it is next needed; holds stay."""
        self._server.run("#!lua\nredis.call('SET', KEYS[1], ARGV[1])", [self._balances.epoch], new_epoch())

    def _plans(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[Plan]:
        charged_before, kept, epoch = self._ask(settlements)
        plans = []
        for entry, hold in settlements:
            charged = charged_before.get(entry.call_id)
            known = hold or kept.get(entry.call_id)
            frees = [] if known is None else accounts(ordered(known.limits))
            limits = frees if charged is None else accounts(ordered(tuple(charged)))
            plan = Plan(
                entry.call_id if known is None else known.call.id,
                entry.call_id, entry.status in OPEN_ENDS, known, limits, frees,
            )  # fmt: skip
            plan.costs = [entry.on(limit) for limit in limits]
            if known is not None and known.leases and charged is None:
                leases = {limit.key: lease for limit, lease in zip(known.limits, known.leases, strict=True)}
                plan.leases = [leases[limit.key] for limit in limits]
            plan.unknown = charged is None and self._may_be_charged(entry, known, epoch)
            plans.append(plan)
        return plans

    def _ask(
        self, settlements: Sequence[tuple[Entry, Hold | None]]
    ) -> tuple[dict[str, list[Limit]], dict[str, Hold], str]:
        """What was charged for these entries, and their holds, where they do not bring them; and the epoch."""
        asked = [entry.call_id for entry, hold in settlements if hold is None or hold.call.id != entry.call_id]
        charged: dict[str, list[Limit]] = {}
        kept: dict[str, Hold] = {}
        epoch = ""
        if asked:
            keys = [key for call_id in asked for key in (self._balances.hold(call_id), self._balances.charge(call_id))]
            epoch, *found = self._server.run(PEEK, [self._balances.epoch, *keys], new_epoch())
            for call_id, (held, *_), (charge, *_) in zip(asked, found[::2], found[1::2], strict=True):
                if held is not None:
                    kept[call_id] = read_hold(held)
                if charge is not None:
                    charged[call_id] = read_limits(charge)
        return charged, kept, epoch

    def _may_be_charged(self, entry: Entry, known: Hold | None, epoch: str) -> bool:
        """Whether the ledger may have an open end of this entry, which this epoch of Valkey never knew of."""
        if known is not None and known.call.id == entry.call_id:
            # Its own balances are read anew where nothing is known of it.
            return False
        if entry.call_id[14:15] != "7":
            # Known by a provider's id: its first entry may be of any time. A price beside another has no such id.
            return entry.response_id is not None and entry.status not in OPEN_ENDS
        if known is not None or entry.at_ns > max(began_ns(epoch), time.time_ns() - CHARGE_DAYS * 86_400 * 10**9):
            return False
        at = entry.at_ns // 1000 * 1000
        near = self._inner.entries(dict(entry.tags), since_ns=at, until_ns=at + 1000)
        return any(one.call_id == entry.call_id and one.status in OPEN_ENDS for one in near)

    def begin(self, plans: Sequence[Plan]) -> list[str]:
        """Say that these are being settled: "held", "new" (nothing was held), "1" and "void" (it was said before),
        or, of those that must be due, "gone"."""
        self._finish_late()
        keys = _Keys([self._balances.epoch, self._balances.expiries])
        limits = {limit.key: limit for plan in plans for limit in plan.limits}
        for limit in limits.values():
            keys.place(self._balances.balance(limit))
        expires = (time.time_ns() + _SETTLING_NS) // 1000
        items = []
        for plan in plans:
            item = self._item(plan, keys)
            item["n"] = plan.entry_id
            if plan.due is None:
                nothing = commas([0] * len(plan.limits))
                item |= {"a": nothing, "x": str(expires), "drawn": bool(plan.leases)}
                item["r"] = "" if plan.hold is None else self._records.write(plan.hold, plan.limits)
            else:
                item["due"] = plan.due
            items.append(item)
        answer = self._balances.on(list(limits.values()), BEGIN, keys.keys, new_epoch(), len(limits), json.dumps(items))
        return list(answer[2:])

    def finish(self, plans: Sequence[Plan]) -> None:
        """Count what the ledger has taken. A failure is not the caller's: the cost is recorded, and Valkey follows."""
        try:
            self._finish(plans)
        except StoreUnavailable as error:
            self._unfinished.extend(plans)
            log.warning("what was just recorded is counted in Valkey later: %s", error)

    def _finish_late(self) -> None:
        while self._unfinished:
            plans: list[Plan] = []
            # Another thread may be at it as well.
            with suppress(IndexError):
                while len(plans) < _MOST_AT_ONCE:
                    plans.append(self._unfinished.popleft())
            try:
                self._finish(plans)
            except StoreUnavailable:
                self._unfinished.extendleft(reversed(plans))
                raise

    def _finish(self, plans: Sequence[Plan]) -> None:
        keys = _Keys([self._balances.epoch, self._balances.expiries])
        items = []
        for plan in plans:
            item = self._item(plan, keys)
            item |= {"mode": plan.mode, "open": plan.open, "cost": list(map(str, plan.costs))}
            if plan.frees is not plan.limits:
                item["f"] = [keys.place(self._balances.balance(limit)) for limit in plan.frees]
            if plan.leases:
                item["l"] = [
                    [keys.place(self._balances.hold(lease)), keys.place(self._balances.charge(lease))]
                    for lease in plan.leases
                ]
            if plan.open:
                item |= {"r": self._records.write_limits(plan.limits), "keep": CHARGE_DAYS * 86_400_000}
            items.append(item)
        self._server.run(FINISH, keys.keys, new_epoch(), IDLE_MS, json.dumps(items))

    def _item(self, plan: Plan, keys: _Keys) -> dict[str, Any]:
        return {
            "id": plan.id,
            "h": keys.place(self._balances.hold(plan.id)),
            "c": keys.place(self._balances.charge(plan.entry_id)),
            "b": [keys.place(self._balances.balance(limit)) for limit in plan.limits],
        }


class _Keys:
    """The keys of a script, each once, and their places, counted from one as in Lua."""

    def __init__(self, first: list[str]) -> None:
        self.keys = first
        self._places = {key: place for place, key in enumerate(first, 1)}

    def place(self, key: str) -> int:
        place = self._places.get(key)
        if place is None:
            self.keys.append(key)
            place = self._places[key] = len(self.keys)
        return place
