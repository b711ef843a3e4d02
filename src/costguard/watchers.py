"""Hooks that also want to know when a call begins and when it is over."""

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

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, hook: Hook, guard: object) -> None:
        """Tell the hook which guard took it, if it asks for that."""
        if hasattr(hook, "attached"):
            hook.attached(guard)
        if hasattr(hook, "began"):
            self._all = (*self._all, hook)

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
