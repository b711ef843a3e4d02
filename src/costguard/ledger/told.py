"""Who is to know of alerts that nobody's call has put into the outbox: those for the holds that were charged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import MethodType
from weakref import WeakMethod

log = logging.getLogger("costguard")


class Told:
    """Calls everybody who was added. A guard is not kept alive by it: several may share a ledger."""

    def __init__(self) -> None:
        self._all: list[Callable[[], Callable[[], None] | None]] = []

    def add(self, told: Callable[[], None]) -> None:
        self._all.append(WeakMethod(told) if isinstance(told, MethodType) else lambda: told)

    def __call__(self) -> None:
        for known in tuple(self._all):
            told = known()
            if told is None:
                self._all.remove(known)
                continue
            try:
                told()
            except Exception:
                log.exception("what is called after crossings failed")
