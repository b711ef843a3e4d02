"""What a process does with its leases when it ends, and what its forked children do with them: nothing."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Protocol
from weakref import WeakSet, ref


class Resting(Protocol):
    def rest(self) -> None: ...
    def start_without_leases(self) -> None: ...


_ledgers: WeakSet[Resting] = WeakSet()


def at_exit(ledger: Resting) -> None:
    """Have a ledger give its leases back when this process ends: what dies with them is charged on the budgets."""
    known = ref(ledger)

    def end() -> None:
        left = known()
        if left is not None:
            left.rest()

    atexit.register(end)
    if "multiprocessing.util" in sys.modules:
        from multiprocessing.util import Finalize

        # The children of multiprocessing end without atexit. Before the journal's, which writes what they drew.
        Finalize(None, end, exitpriority=100)


def in_a_child(ledger: Resting) -> None:
    """Have a ledger start without leases in the children that this process forks."""
    _ledgers.add(ledger)


def _after_fork() -> None:
    for ledger in list(_ledgers):
        ledger.start_without_leases()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
