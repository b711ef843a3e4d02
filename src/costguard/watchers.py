"""Hooks that also want to know when a call begins and when it is over, and when the guard is closed."""

from __future__ import annotations

import logging
from typing import Any

from costguard.call import Call
from costguard.events import Hook

log = logging.getLogger("costguard")


class Watchers:
    """Those of a guard. False while there are none, so that nothing is done for them."""

    def __init__(self) -> None:
        self._all: tuple[Any, ...] = ()
        self._at_the_end: tuple[Any, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, hook: Hook, guard: object) -> None:
        """Tell the hook which guard took it, if it asks for that."""
        if hasattr(hook, "attached"):
            hook.attached(guard)
        if hasattr(hook, "began"):
            self._all = (*self._all, hook)
        if hasattr(hook, "closing"):
            self._at_the_end = (*self._at_the_end, hook)

    def closing(self) -> None:
        """The guard is about to let go of the store."""
        for hook in self._at_the_end:
            try:
                hook.closing()
            except Exception:
                log.exception("hook %r failed; the guard is closed all the same", hook)

    def began(self, call: Call) -> None:
        """In the context of the app, before anything is decided."""
        call.watched = True
        for hook in self._all:
            try:
                hook.began(call)
            except Exception:
                log.exception("hook %r failed; the call goes on", hook)

    def ended(self, call: Call) -> None:
        """Once for each that began: it was settled or refused, or is not made."""
        if not call.watched:
            return
        call.watched = False
        for hook in self._all:
            try:
                hook.ended(call)
            except Exception:
                log.exception("hook %r failed; the call goes on", hook)
