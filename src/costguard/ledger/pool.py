"""A few connections to a server, lent to one thread at a time.

Not psycopg_pool: that connects in threads of its own, so that a wrong password shows only as a timeout,
and its threads are gone in a forked child. Here the thread that needs a connection makes it, and hears why not.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import BoundedSemaphore
from typing import Generic, Protocol, TypeVar


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Line(HasFileno, Protocol):
    """A connection to a server."""

    @property
    def broken(self) -> bool: ...
    def close(self) -> None: ...


L = TypeVar("L", bound=Line)

_left_alone: list[object] = []
"""A parent's connections in a forked child: kept, as to drop one could tell the server that the parent has gone."""


class NoneFreeError(Exception):
    """All connections have been in use for as long as was asked."""


class Pool(Generic[L]):
    """At most `size` connections, each made when it is first needed; the one used last is lent first."""

    def __init__(self, connect: Callable[[], L], size: int) -> None:
        self._connect = connect
        self._size = size
        self._start()

    def _start(self) -> None:
        self._free = BoundedSemaphore(self._size)
        self._idle: deque[L] = deque()
        self._lines: set[L] = set()

    def take(self, seconds: float) -> L:
        """Raises NoneFreeError after so many seconds, and whatever connecting raises."""
        if not self._free.acquire(timeout=seconds):
            raise NoneFreeError
        try:
            with suppress(IndexError):
                return self._idle.pop()
            line = self._connect()
        except BaseException:
            self._free.release()
            raise
        self._lines.add(line)
        return line

    def give_back(self, line: L) -> None:
        """A broken one is let go."""
        if line.broken:
            self._drop(line)
        else:
            self._idle.append(line)
        self._free.release()

    def close_idle(self) -> None:
        """Let go of those not in use: all of them, or, as the server went away, all that are likely to be broken."""
        with suppress(IndexError):
            while True:
                self._drop(self._idle.pop())

    def _drop(self, line: L) -> None:
        self._lines.discard(line)
        line.close()

    def after_fork_in_child(self) -> None:
        leave_alone(self._lines)
        self._start()


def leave_alone(lines: Iterable[HasFileno]) -> None:
    """In a forked child: the sockets are the parent's. They are closed without a word to the server, which
    would otherwise believe a killed parent alive, with all its locks, for as long as a child lives."""
    for line in lines:
        _left_alone.append(line)
        with suppress(Exception):
            os.close(line.fileno())
