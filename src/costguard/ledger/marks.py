"""The marks of a limit that a balance has just passed."""

from __future__ import annotations

from costguard.budgets import Limit
from costguard.events import Crossing


def crossed(limit: Limit, before: int, after: int, at_ns: int) -> list[Crossing]:
    """A crossing for each mark in (before, after], lowest first; nano-dollars.

    The balance is read in the transaction that moves it, so of two calls that settle at the same
    time exactly one finds the mark between its before and its after.
    """
    return [Crossing(limit, fraction, after, at_ns) for mark, fraction in limit.marks if before < mark <= after]
