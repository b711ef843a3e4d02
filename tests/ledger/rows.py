"""Leases, and calls held out of them, with few words."""

from __future__ import annotations

from costguard.budgets import Limit
from costguard.call import Call, new_call_id
from costguard.events import Hold
from costguard.ledger.base import LEASE, Lease
from tests.ledger.values import ALICE, NOW, SECOND, hold


def lease(on: Limit, amount: int, seconds: int = 60, at_ns: int = NOW) -> Lease:
    call = Call(*LEASE[:1], "lease", operation=LEASE[1], tags=ALICE)
    call.started_ns = at_ns
    call.id = new_call_id(at_ns)
    return Lease(call, (on,), amount, at_ns + seconds * SECOND)


def drawing(*leases: Lease, cents: float = 10) -> Hold:
    """A call held out of leases."""
    one = hold(*(taken.limits[0] for taken in leases), cents=cents)
    one.leases = tuple(taken.call.id for taken in leases)
    return one
