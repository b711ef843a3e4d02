"""The balances in Valkey, and how a stale one is read anew from the ledger.

A balance is stale when it is not there (never seen, idle for a day, lost by the server), or when something happened
of which nobody can tell whether the last reading had it. Nothing is reserved and no settlement begins on a stale
balance, so once those that had begun have ended, what the ledger says is spent is exact: it is read and installed,
unless another settlement ended meanwhile. Of several who do so at once one installs it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from random import uniform
from typing import Any

from costguard.budgets import Limit
from costguard.errors import StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.valkey_refresh import INSTALL, LOOK, READ, VOID
from costguard.ledger.valkey_server import Server

IDLE_MS = 86_400_000
"""A balance that nobody has held anything on for a day goes, and is read from the ledger when it is needed again."""

_NAP = 0.002
_SLOW = 0.5
"""Seconds that a reading waits for settlements in progress; those that take longer make it read once more."""


class ValkeyBalances:
    """Thread-safe. `patience` of the server bounds how long it insists."""

    def __init__(self, server: Server, inner: Ledger) -> None:
        self._server = server
        self._inner = inner
        # The braces make a cluster keep all keys of a ledger in one slot: a script changes several at once.
        prefix = f"costguard:{{{server.name}}}:"
        self.epoch = f"{prefix}epoch"
        self.expiries = f"{prefix}expiries"
        self._balance = f"{prefix}b:"
        self._hold = f"{prefix}h:"
        self._charge = f"{prefix}c:"

    def balance(self, limit: Limit) -> str:
        return self._balance + limit.key

    def balance_of(self, key: str) -> str:
        return self._balance + key

    def hold(self, call_id: str) -> str:
        return self._hold + call_id

    def charge(self, call_id: str) -> str:
        return self._charge + call_id

    def on(self, limits: Sequence[Limit], script: str, keys: Sequence[str], *values: str | int) -> Any:
        """Run a script that wants these balances fresh: what it said when they were."""
        deadline = 0.0
        while True:
            answer = self._server.run(script, keys, *values)
            if answer[0] != "stale":
                return answer
            now = time.monotonic()
            deadline = deadline or now + _SLOW + 2 * self._server.patience
            if now > deadline:
                raise StoreUnavailable(
                    f"the balances in {self._server.url} become stale faster than the ledger {self._inner.url} can be "
                    f"read; see what flushes or evicts its keys (maxmemory-policy must be noeviction)"
                )
            for place in answer[1:]:
                self._refresh(limits[int(place)], deadline)

    def read(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        if not limits:
            return []
        keys = [self.epoch, *[self.balance(limit) for limit in limits]]
        answer = self.on(limits, READ, keys, new_epoch())
        found = list(map(int, answer[1:]))
        return list(zip(found[::2], found[1::2], strict=True))

    def _refresh(self, limit: Limit, deadline: float) -> None:
        """Read what is spent from the ledger, unless somebody else just did."""
        run, key = self._server.run, self.balance(limit)
        begun = time.monotonic()
        while time.monotonic() <= deadline:
            state, *seen = run(LOOK, [self.epoch, key], new_epoch())
            if state == "fresh":
                return
            epoch, version, *settling = seen
            if settling:
                if time.monotonic() - begun > _SLOW:
                    run(VOID, [key, *map(self.hold, settling)], *settling)
                else:
                    time.sleep(uniform(0, _NAP))
                continue
            ((spent, _),) = self._inner.balances([limit])
            values = (epoch, version, spent, os.urandom(6).hex(), IDLE_MS)
            if run(INSTALL, [self.epoch, key], new_epoch(), *values) == "fresh":
                return


def new_epoch() -> str:
    """A word that no other epoch has, with the time it may begin: what is older may have been forgotten before."""
    return f"{os.urandom(8).hex()}@{time.time_ns()}"


def began_ns(epoch: str) -> int:
    return int(epoch.partition("@")[2])
