"""Threads for what async code must not wait for on its event loop: a store over the network.

They are costguard's own, so that a slow store cannot use up the threads in which the app runs its views.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

log = logging.getLogger("costguard")

THREADS = 16

T = TypeVar("T")

_pools: WeakSet[Offload] = WeakSet()


class Offload:
    """The threads of one guard, started when first needed. Safe over fork."""

    def __init__(self) -> None:
        self.forked()
        _pools.add(self)

    def forked(self) -> None:
        """In a child process, where the threads are not; what they were at, the parent does."""
        self._pool: ThreadPoolExecutor | None = None
        self._running: set[Future[Any]] = set()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done in a thread, with the context variables of this moment.

        While the interpreter ends there are no threads any more: then it is done here.
        """
        from concurrent.futures import Future, ThreadPoolExecutor

        try:
            pool = self._pool
            if pool is None:
                pool = self._pool = ThreadPoolExecutor(THREADS, "costguard-store")
            future: Future[T] = pool.submit(copy_context().run, work)
        except RuntimeError:
            future = Future()
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - it reaches whoever waits for the future
                future.set_exception(error)
            return future
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def drain(self, timeout: float) -> None:
        """Wait for what is under way, `timeout` seconds at most."""
        running = tuple(self._running)
        if running:
            from concurrent.futures import wait

            wait(running, timeout)

    def close(self) -> None:
        """Let go of the threads. Idempotent; later work starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)


class Errand:
    """Steps done one after the other in threads, for one task that waits for each of them."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._step: Future[Any] | None = None

    async def do(self, step: Callable[[], T]) -> T:
        future = self._step = self._offload.submit(step)
        return await waited(future)

    def afterwards(self, work: Callable[[], None]) -> None:
        """Have `work` done when the step that is under way has ended: for a task that waits no longer."""

        def then(_: object) -> None:
            self._offload.submit(lambda: _logged(work))

        if self._step is None:
            then(None)
        else:
            # One that did not start yet never will.
            self._step.cancel()
            self._step.add_done_callback(then)


async def waited(future: Future[T]) -> T:
    """The result of a future of a thread, on any event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        from anyio import to_thread

        return await to_thread.run_sync(future.result)
    return await asyncio.wrap_future(future)


async def finished(future: Future[Any]) -> None:
    """Wait until a future is done; whoever waits may be cancelled, what is waited for is not."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        from anyio import to_thread

        await to_thread.run_sync(future.result)
        return
    await asyncio.shield(asyncio.wrap_future(future))


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("costguard could not tidy up after an interrupted call")


def _after_fork() -> None:
    for offload in list(_pools):
        offload.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
