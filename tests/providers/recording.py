"""A policy that answers like a guard's and remembers what it was asked and told."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from threading import Condition

from costguard.call import Call
from costguard.errors import BudgetExceeded
from costguard.events import Outcome


@dataclass(frozen=True)
class Spent:
    budget: object = "$1/day per user"
    payer: str = "alice"
    limit: Decimal = Decimal(1)
    spent: Decimal = Decimal(1)
    held: Decimal = Decimal(0)
    remaining: Decimal = Decimal(0)
    resets_at: datetime | None = None


class Recording:
    def __init__(self, *, refuse: bool = False) -> None:
        self.refuse = refuse
        self.reserved: list[Call] = []
        self.settled: list[tuple[Call, Outcome]] = []
        self._changed = Condition()

    def reserve(self, call: Call) -> None:
        self.reserved.append(call)
        if self.refuse:
            raise BudgetExceeded("alice has spent $1.00 of $1.00", standing=Spent(), retry_after=60)

    async def reserve_async(self, call: Call) -> None:
        self.reserve(call)

    def settle(self, call: Call, outcome: Outcome) -> None:
        with self._changed:
            self.settled.append((call, outcome))
            self._changed.notify_all()

    def settling(self, call: Call, outcome: Outcome) -> None:
        self.settle(call, outcome)

    def wait(self, count: int, timeout: float = 10) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.settled) >= count, timeout), self.settled

    async def told(self, count: int, timeout: float = 10) -> None:
        """The same where it may need the event loop to come to that, and what was let go of to be collected."""
        until = time.monotonic() + timeout
        while len(self.settled) < count:
            assert time.monotonic() < until, self.settled
            gc.collect()
            await asyncio.sleep(0.01)

    def only(self) -> tuple[Call, Outcome]:
        """The one call that was made: reserved once, settled once."""
        assert len(self.reserved) == len(self.settled) == 1, (self.reserved, self.settled)
        assert self.reserved[0] is self.settled[0][0]
        return self.settled[0]
