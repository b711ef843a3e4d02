"""What is counted when somebody asks for the counts, so that a call pays for no more than a place in a queue."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from costguard.telemetry.forks import in_child

log = logging.getLogger("costguard.telemetry")

T = TypeVar("T")

MANY = 1000
"""With so many that nobody asked for, a thread counts them: an exporter that is dead makes no call slower."""

MOST = 20 * MANY
"""With so many the thread does not keep up: then the calls count themselves, and the memory is not filled."""


PATIENCE = 1.0
"""Seconds that who asks for the counts waits for one call to be counted."""


class Later(Generic[T]):
    """count: of one; nobody: whether none will ever ask, so that all are forgotten"""

    def __init__(self, count: Callable[[T], None], nobody: Callable[[], bool] | None = None) -> None:
        self._count = count
        self._nobody = nobody
        self.forked()
        in_child(self)

    def forked(self) -> None:
        """Those that wait are the parent's."""
        self._waiting: deque[T] = deque()
        self._busy = False
        self._counting = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, each: T) -> None:
        waiting = self._waiting
        waiting.append(each)
        if len(waiting) >= MANY and (not self._busy or len(waiting) > MOST):
            self._many()

    def all(self) -> None:
        """Count those that wait now; the one that the thread is at has been counted too, unless it takes long."""
        alone = self._counting.acquire(timeout=PATIENCE)
        try:
            for _ in range(len(self._waiting)):
                self._next()
        finally:
            if alone:
                self._counting.release()

    def _many(self) -> None:
        if self._nobody is not None and self._nobody():
            self._waiting.clear()
            return
        if self._busy:
            self._next()
            return
        self._busy = True
        try:
            threading.Thread(target=self._in_thread, name="costguard-counting", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is going down
            self._busy = False
            self._next()

    def _in_thread(self) -> None:
        try:
            while self._waiting:
                with self._counting:
                    self._next()
        finally:
            self._busy = False

    def _next(self) -> None:
        try:
            each = self._waiting.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            self._count(each)
        except Exception:
            log.exception("a call was not counted")
