"""Where a synchronous call may wait for running calls to settle: not where these need its own thread to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_POOL_THREAD = "AnyIO worker thread"
"""The name of the threads in which Starlette and FastAPI run sync views, and each step of sync streams."""

_USUAL_POOL = 40


class Waiting:
    """The calls of this process that wait now. Thread-safe."""

    def __init__(self) -> None:
        self._all: set[object] = set()
        self._pooled: set[threading.Thread] = set()

    @contextmanager
    def enter(self, *, blocking: bool) -> Iterator[bool]:
        """Count a call as waiting, for as long as this context is open; says whether it may wait at all.

        blocking: it holds up its thread. On the thread of an event loop it would hold up the calls it waits for,
            and so would waiting views if they took a whole thread pool: a stream that a sync generator makes
            needs a thread of it for each chunk. Half of the pool stays free.
        """
        me = object()
        thread = _pooled_thread() if blocking else None
        self._all.add(me)
        if thread is not None:
            self._pooled.add(thread)
        try:
            yield not (blocking and (_on_event_loop() or (thread is not None and self._crowded())))
        finally:
            self._all.discard(me)
            if thread is not None:
                self._pooled.discard(thread)

    @property
    def share(self) -> float:
        """How much slower than alone each should look again: many that look all the time keep each other busy."""
        return max(1.0, len(self._all) / 64)

    def _crowded(self) -> bool:
        # Threads that were alive in a parent process are not in its child.
        return sum(thread.is_alive() for thread in tuple(self._pooled)) > _pool_size() // 2


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _pooled_thread() -> threading.Thread | None:
    thread = threading.current_thread()
    return thread if thread.name == _POOL_THREAD else None


def _pool_size() -> int:
    from anyio import from_thread, to_thread

    try:
        return int(from_thread.run_sync(lambda: min(to_thread.current_default_thread_limiter().total_tokens, 10**6)))
    except RuntimeError:
        return _USUAL_POOL
