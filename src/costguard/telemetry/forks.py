"""What a child process must not go on with: its parent's counts, and locks that a thread of the parent held."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    def forked(self) -> None:
        """In the child, right after the fork."""


_all: WeakSet[Forked] = WeakSet()


def in_child(each: Forked) -> None:
    """Call `each.forked()` in child processes, as long as it lives."""
    _all.add(each)


def _after_fork() -> None:
    for each in list(_all):
        each.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
