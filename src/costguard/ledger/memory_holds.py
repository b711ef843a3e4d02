"""The rows of the holds of the ledger in memory."""

from __future__ import annotations

from costguard.budgets import Limit
from costguard.events import Hold
from costguard.ledger.base import is_lease
from costguard.ledger.room import ordered


class Held:
    """What was set aside when a hold was taken, whatever becomes of the hold itself.

    parts: what it holds on each balance, in the order of the limits
    only:  the key of its balance, if it is but one
    """

    __slots__ = ("_nanos", "call", "expires_ns", "only", "parts")

    def __init__(self, hold: Hold) -> None:
        self.call = hold.call
        self.expires_ns = hold.expires_ns
        self.parts: list[tuple[Limit, int]]
        self._nanos = hold.amount
        if len(hold.limits) == 1:
            (only,) = hold.limits
            self.only = only.key
            self.parts = [(only, hold.on(only))]
            return
        self.parts = []
        self.only = key = ""
        for limit in ordered(hold.limits):
            if limit.key != key:
                key = limit.key
                self.parts.append((limit, hold.on(limit)))

    @property
    def lease(self) -> bool:
        return is_lease(self.call)

    @property
    def left(self) -> int:
        """Of a lease, which is on one limit."""
        return self.parts[0][1]

    @property
    def money(self) -> int:
        """What it costs if it is lost, in nano-dollars."""
        if not self.lease:
            return self._nanos
        return self.left if self.parts[0][0].unit == "usd" else 0
