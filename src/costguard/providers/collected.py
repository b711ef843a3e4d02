"""Ends that the garbage collector brings: told from a thread of their own.

A collection may run in the middle of any statement, also of one that holds the lock of a ledger; settling
there could wait for itself for ever. So what is found dropped during a collection is put into a queue.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

log = logging.getLogger("costguard.providers")

_collecting: int | None = None
"""The thread that is running a collection now. A collection stops all others (they wait for the interpreter)."""

_dropped: SimpleQueue[Callable[[], None]] = SimpleQueue()
_thread: threading.Thread | None = None
_lock = threading.Lock()


def _notice(phase: str, _info: Any) -> None:
    global _collecting  # noqa: PLW0603
    _collecting = threading.get_ident() if phase == "start" else None


def notice() -> None:
    """Know from now on when a collection runs."""
    if _notice not in gc.callbacks:
        gc.callbacks.append(_notice)


def is_running() -> bool:
    """Whether this thread runs a collection now: it may hold any lock."""
    return _collecting is not None and _collecting == threading.get_ident()


def watch() -> None:
    """Be ready for streams that are dropped; called when one is made, never during a collection."""
    global _thread  # noqa: PLW0603
    if _thread is not None and _thread.is_alive():
        return
    with _lock:
        if _thread is None or not _thread.is_alive():
            notice()
            _thread = threading.Thread(target=_tell, name="costguard-dropped", daemon=True)
            _thread.start()


def tell(end: Callable[[], None]) -> None:
    """Run `end` now or, during a collection in this thread, soon in another one."""
    if is_running():
        _dropped.put(end)
    else:
        end()


def drain(timeout: float) -> bool:
    """Wait until what was dropped so far has been told; False if `timeout` seconds were not enough."""
    if _thread is None or not _thread.is_alive():
        if _dropped.empty():
            return True
        watch()
    done = threading.Event()
    _dropped.put(done.set)
    return done.wait(timeout)


def _tell() -> None:
    while True:
        try:
            _dropped.get()()
        except Exception:
            log.exception("costguard could not tell how a call ended that was dropped")


def _forked() -> None:
    global _thread, _dropped, _lock, _collecting
    # The parent tells what it dropped; a lock may have been held by a thread that is not here.
    _thread, _dropped, _lock, _collecting = None, SimpleQueue(), threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
