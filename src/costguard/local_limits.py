"""The limits that no ledger sees: on a single call, and on all calls of one HTTP request.

A request is one process's, and a call is one moment's: what they may cost is counted in memory, on the frame that
the web layer opened for the request. Outside of a request (a job, a shell) a limit per request does not apply.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from threading import Lock

from costguard.budgets import Limit
from costguard.events import Entry, Hold
from costguard.ledger.base import Refusal
from costguard.tags import Frame

_lock = Lock()
_NO_LIMIT = 1 << 62


def lift(limit: Limit) -> Limit:
    """The same account without an end."""
    lifted = copy(limit)
    lifted.most = _NO_LIMIT
    return lifted


def request_of(frame: Frame | None) -> Frame | None:
    """The frame of the HTTP request that this one is in; None outside of a request.

    Blocks and carried functions open frames inside it; a frame that `bind_tags` opened has no route to ask for.
    """
    while frame is not None and frame.parent is not None:
        frame = frame.parent
    return frame if frame is not None and frame.route is not None else None


def standing(limit: Limit, frame: Frame | None) -> Refusal:
    """Where one of these limits stands: on a call nothing was spent before it is made."""
    if limit.budget.window != "request" or frame is None or frame.accounts is None:
        return Refusal(limit, 0, 0)
    with _lock:
        spent, held = frame.accounts.get(limit.key, (0, 0))
    return Refusal(limit, spent, held)


class LocalHold:
    """What one call holds of the limits of its request: taken and settled as a ledger would, in memory."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[tuple[list[int], Limit, int]]) -> None:
        self._parts = parts

    def resize(self, hold: Hold) -> None:
        """The hold was lowered to what its other limits had left."""
        with _lock:
            for place, (account, limit, held) in enumerate(self._parts):
                account[1] += hold.on(limit) - held
                self._parts[place] = (account, limit, hold.on(limit))

    def settle(self, entry: Entry) -> None:
        """Held to spent, once."""
        with _lock:
            for account, limit, held in self._parts:
                account[1] -= held
                account[0] += entry.on(limit)
            self._parts = [(account, limit, 0) for account, limit, _ in self._parts]

    def release(self) -> None:
        with _lock:
            for account, _, held in self._parts:
                account[1] -= held
            self._parts = []


def take(frame: Frame, limits: Sequence[Limit], hold: Hold, *, alone: bool = False) -> LocalHold | Refusal:
    """Hold on all of these limits of the request that `frame` is of, or on none and say which one refused.

    alone: as in `Ledger.reserve`
    """
    with _lock:
        accounts = frame.accounts
        if accounts is None:
            accounts = frame.accounts = {}
        found = [accounts.setdefault(limit.key, [0, 0]) for limit in limits]
        for limit, (spent, held) in zip(limits, found, strict=True):
            left = limit.most - spent - held
            if hold.on(limit) <= left:
                continue
            if not alone or held or left < 1 or limit.unit == "calls":
                return Refusal(limit, spent, held)
            if limit.unit == "usd":
                hold.amount = left
            else:
                hold.tokens = left
        parts = []
        for limit, account in zip(limits, found, strict=True):
            account[1] += hold.on(limit)
            parts.append((account, limit, hold.on(limit)))
        return LocalHold(parts)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the thread that may have held it is not in the child
    _lock = Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
