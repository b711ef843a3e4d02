"""Clocks that are wrong: a host's that is ahead of another's, and one that is stepped back and forth under load.

A time namespace shifts the monotonic clocks of Linux but not the wall clock, and to set that is to set it for all of
the machine. So the process of a worker gets another `time.time_ns` and `time.time` before it does anything: from
outside the library, which takes every wall time of its decisions from there.
"""

from __future__ import annotations

import time
from itertools import count

STEPPED_EVERY = 40
"""Readings; a call takes some ten."""

Clock = tuple[float, ...]
"""Seconds that it is ahead of the true time, one after the other."""

TRUE: Clock = (0.0,)
AN_HOUR_BACK_AND_FORTH: Clock = (0.0, -3600.0, 0.0, 3600.0, -30.0)


def wear(clock: Clock) -> None:
    """This process's wall clock from now on."""
    true_ns, readings = time.time_ns, count()

    def time_ns() -> int:
        ahead = clock[next(readings) // STEPPED_EVERY % len(clock)]
        return true_ns() + int(ahead * 10**9)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
