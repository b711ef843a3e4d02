"""Threads for what waits for the store, so that no page ever holds up the app's event loop; a bounded number."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

T = TypeVar("T")

THREADS = 4
WAITING = 64
"""Requests that may wait for a thread; one more is told to come again."""


class Busy(Exception):
    """More requests wait than are worth waiting for."""


class Threads:
    """A pool of the dashboard's own: an app's views never wait for a report."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._running = 0

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises; `Busy` if too many wait. Whoever stops waiting does not end the work."""
        with self._lock:
            if self._running >= THREADS + WAITING:
                raise Busy
            self._running += 1
            pool = self._here()
        future = pool.submit(contextvars.copy_context().run, _work, work)
        # Also of one that nobody waits for any more, and that never began.
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, future: Future[T]) -> None:  # the pool gives it
        with self._lock:
            self._running -= 1

    def _here(self) -> ThreadPoolExecutor:
        """A child process has none of its parent's threads."""
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="costguard-dashboard")
            self._process = os.getpid()
            self._running = 1
        return self._pool


def _work(work: Callable[[], T]) -> T:
    try:
        return work()
    except StopIteration as error:
        # As of next(...) that finds nobody: no Future takes it, and whoever waits for one would wait for ever.
        raise RuntimeError("StopIteration was raised; give next() a default") from error
