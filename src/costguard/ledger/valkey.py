"""Balances and holds in Valkey or Redis, over a ledger that keeps the entries, the outbox and what is spent.

A hold is one round trip to Valkey. A settlement is two, around the transaction of the ledger: it is said before, so
that it is known what a crash has cut in two, and counted after (`valkey_settling` has the crash points).

Valkey is a copy: what is spent is in the ledger too, and only what is held is in Valkey alone. A server that has lost
all (restarted empty, FLUSHALL) is noticed by the epoch, a key that every script looks at, and each balance is read
from the ledger at its first touch (`valkey_balances`). The holds of calls that ran at that moment are lost: the calls
are counted when they settle, so a budget may be passed by what they cost, and by no more.

A replica that takes over without the last writes has the epoch, so nothing is noticed, and nothing need be: a
settlement whose hold it lacks has its balances read anew, and a hold whose settlement it lacks stays held until it
expires, which has them read anew too. Holds that it lacks are as after a loss. Valkey must not evict keys
(`maxmemory-policy noeviction`, its default).

All keys of a ledger are in one slot of a cluster, as the balances of a call change together: another node serves
another ledger, with another `name` in the URL, never a part of this one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.audit import Audit, audit
from costguard.ledger.base import Lease, Ledger, Refusal
from costguard.ledger.deeds import Adjusted, Deed
from costguard.ledger.room import accounts, amounts, lower, ordered, reached, room
from costguard.ledger.valkey_balances import IDLE_MS, ValkeyBalances, new_epoch
from costguard.ledger.valkey_charging import Charging
from costguard.ledger.valkey_record import Records, keys_of
from costguard.ledger.valkey_refresh import PEEK
from costguard.ledger.valkey_scripts import EXTEND, RELEASE, RESERVE, SHRINK
from costguard.ledger.valkey_server import Server
from costguard.ledger.valkey_settling import Plan, Settling
from costguard.ledger.wrapper import Wrapper

log = logging.getLogger("costguard")

_TRIES = 20


class ValkeyLedger(Wrapper):
    """`inner` is the ledger of all processes, in SQL; `url` the server that they share.

    ``valkey://user:password@host:6379/0``, ``valkeys://`` with TLS, ``redis://`` and ``rediss://`` mean the same.
    Options: ``name`` (of the ledger, where several share a server; default "costguard"), ``patience`` (seconds that a
    call waits for the server, default 2), ``pool_size`` (connections of a process, default 32), ``cluster=on``, and
    redis-py's ``ssl_*``.

    Raises ConfigError for a URL it cannot mean, MissingExtra without redis-py.
    """

    def __init__(self, inner: Ledger, url: str) -> None:
        super().__init__(inner)
        self._server = Server(url)
        self._records = Records()
        self._balances = ValkeyBalances(self._server, inner)
        self._settling = Settling(self._server, self._balances, inner, self._records)
        self._charging = Charging(self._server, self._balances, inner, self._settling)

    @property
    def url(self) -> str:
        return f"{self.inner.url} with balances in {self._server.url}"

    def open(self) -> None:
        self.inner.open()
        policy = self._server.policy()
        if policy not in ("", "noeviction"):
            log.warning(
                "the balances in %s may be evicted: its maxmemory-policy is %s; a budget could be passed by what was "
                "held on them. Set it to noeviction",
                self._server.url,
                policy,
            )

    def close(self) -> None:
        self.inner.close()
        self._server.close()

    def end(self, seconds: float) -> None:
        self.close()

    def local(self, hold: Hold) -> bool:
        return False

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        limits = accounts(ordered(hold.limits))
        answer = self._take(hold, limits)
        if answer is not None and self._charging.due(now_ns, limits):
            answer = self._take(hold, limits)
        for tries_left in reversed(range(_TRIES)):
            if answer is None:
                return None
            standings = [(limit, *balance) for limit, balance in zip(limits, answer, strict=True)]
            found = room(standings, amounts(hold), alone=alone and tries_left > 0)
            if isinstance(found, Refusal):
                return found
            wanted = hold.amount, hold.tokens
            lower(hold, found)
            answer = self._take(hold, limits)
            if answer is not None:
                # Others were faster: it shrinks to what they left, if they left anything.
                hold.amount, hold.tokens = wanted
        raise AssertionError  # what does not fit is refused at the last try

    def _take(self, hold: Hold, limits: Sequence[Limit]) -> list[tuple[int, int]] | None:
        """Hold what it wants on all; where it does not fit, the balances."""
        call, balances = hold.call, self._balances
        keys = [balances.epoch, balances.expiries, balances.hold(call.id), *map(balances.balance, limits)]
        life = max(0, hold.expires_ns - call.started_ns) // 1_000_000
        values: list[str | int] = [
            new_epoch(), call.id, hold.expires_ns // 1000, life + IDLE_MS,
            self._records.write(hold, limits), f"{hold.amount},{hold.tokens}",
        ]  # fmt: skip
        for limit in limits:
            values += hold.on(limit), limit.most
        state, *found = balances.on(limits, RESERVE, keys, *values)
        if state == "full":
            numbers = list(map(int, found))
            return list(zip(numbers[::2], numbers[1::2], strict=True))
        if state == "known":
            hold.amount, hold.tokens = map(int, found[0].split(","))
        return None

    def extend(self, hold_ids: Sequence[str], expires_ns: int) -> set[str]:
        if not hold_ids:
            return set()
        balances = self._balances
        holds = list(map(balances.hold, hold_ids))
        _, *found = self._server.run(PEEK, [balances.epoch, *holds], new_epoch())
        touched = {key: None for text, *_ in found if text for key in keys_of(text)}
        keys = [balances.expiries, *holds, *map(balances.balance_of, touched)]
        ids = json.dumps(list(hold_ids))
        # More than a day ahead: whoever extends a hold does so again before it expires.
        return set(self._server.run(EXTEND, keys, expires_ns // 1000, 2 * IDLE_MS, ids))

    def shrink(self, lease: Lease, by: int) -> int:
        if by <= 0:
            return 0
        keys = [self._balances.hold(lease.call.id), self._balances.balance(lease.limits[0])]
        return int(self._server.run(SHRINK, keys, by))

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        return self._settling.settle([(entry, hold)])[0]

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        return self._settling.settle(settlements) if settlements else []

    def release(self, hold: Hold) -> bool:
        call_id, balances = hold.call.id, self._balances
        limits = accounts(ordered(hold.limits))
        keys = [balances.epoch, balances.expiries, balances.hold(call_id), *map(balances.balance, limits)]
        if self._server.run(RELEASE, keys, new_epoch(), IDLE_MS, call_id):
            return True
        # It may have been charged: only the ledger knows what is left of that.
        plan = Plan(call_id, call_id, False, hold, limits, limits, costs=[0] * len(limits))
        self._settling.begin([plan])
        given = self.inner.release(hold)
        plan.mode = "doubt" if given else "drop"
        self._settling.finish([plan])
        return given

    def expire(self, now_ns: int) -> list[Entry]:
        return self._charging.due(now_ns)

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        return self._balances.read(limits)

    def reached(self, limits: Sequence[Limit]) -> Refusal | None:
        return reached(limits, self._balances.read(limits))

    def adjust(self, adjustments: Sequence[Adjustment], deed: Deed, budgets: Sequence[Budget] = ()) -> Adjusted:
        """Where Valkey is away nothing is adjusted. Balances are then read from the ledger when they are needed, also
        if there was nothing to adjust."""
        self.rebuild()
        adjusted = self.inner.adjust(adjustments, deed, budgets)
        self.rebuild()
        return adjusted

    def rebuild(self) -> None:
        """Have every balance read from the ledger when it is next needed, as after a repair of the ledger's own."""
        self._settling.rebuild()

    def audit(self, now_ns: int, *, repair: bool) -> Audit:
        """The ledger's own audit, with the holds that are here; once repaired, every balance is read from it anew."""
        found = audit(self.inner, repair=repair, now_ns=now_ns)
        if repair:
            self.rebuild()
        expired = self._charging.expired(now_ns)
        return replace(found, holds=found.holds + self._charging.count(), expired=found.expired + expired)
