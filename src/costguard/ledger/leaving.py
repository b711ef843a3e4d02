"""What a process does with its leases when it ends."""

from __future__ import annotations

import atexit
import sys
from typing import Protocol
from weakref import ref


class Resting(Protocol):
    def rest(self) -> None: ...


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
