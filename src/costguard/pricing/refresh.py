"""What looks for changed price lists while the app runs, off the path of its calls, and through forks."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from random import uniform
from threading import Event, Lock, Thread, current_thread
from typing import TYPE_CHECKING
from weakref import WeakMethod, WeakSet

from costguard.errors import ConfigError

if TYPE_CHECKING:
    from costguard.pricing.source import Source

log = logging.getLogger("costguard")

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 600.0


class Refresher:
    """Looks at sources in a daemon thread: at once for what has to be fetched, then every so many seconds.

    every:    seconds between two looks; None: only until all that has to be fetched is there
    changed:  called when a source has other prices, after each look
    """

    def __init__(self, sources: Sequence[Source], every: float | None, changed: Callable[[bool], object]) -> None:
        self._sources = tuple(sources)
        self._every = every
        # A book that is forgotten is not kept by its thread.
        self._changed = WeakMethod(changed)
        self._said: dict[str, str] = {}
        self._running = False
        self._forget_thread()
        _refreshers.add(self)

    def _forget_thread(self) -> None:
        self._looking = Lock()
        self._stop = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to look, if there is anything to look for. Idempotent."""
        if not self._running and (self._every is not None or self._missing()):
            self._running = True
            self._stop = Event()
            self._begin(0.0 if self._missing() else self._every or 0.0)

    def close(self, timeout: float = 1.0) -> None:
        """Stop looking; the prices stay as they are. Idempotent."""
        self._running = False
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not current_thread():
            thread.join(timeout)

    def look(self, *, newest: bool = False) -> list[str]:
        """Look for changes now; what could not be read, a line for each source. Never raises: it is logged once.

        newest: fetch also what another process of this machine fetched a moment ago
        """
        failed = []
        with self._looking:
            renewed = False
            # Half of the pause: processes that look at the same time take what the first of them fetched.
            since = 0 if newest or self._every is None else time.time_ns() - int(self._every * 5e8)
            for source in self._sources:
                try:
                    renewed = source.look(since) or renewed
                except Exception as error:  # noqa: BLE001  # prices that cannot be read leave the old ones
                    told = (
                        str(error) if isinstance(error, (ConfigError, OSError)) else f"{type(error).__name__}: {error}"
                    )
                    failed.append(told)
                    if self._said.get(source.name) != told:
                        self._said[source.name] = told
                        log.warning("the prices of %s stay as they are: %s", source.name, told)
                else:
                    if self._said.pop(source.name, None) is not None:
                        log.warning("the prices of %s are read again", source.name)
            changed = self._changed()
            if changed is not None:
                changed(renewed)
        return failed

    def _missing(self) -> bool:
        return not all(source.current for source in self._sources)

    def _begin(self, pause: float) -> None:
        thread = Thread(target=self._run, args=(self._stop, pause), name="costguard-prices", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            log.warning("changes of prices are not seen by this process: no thread to look for them (%s)", error)
            return
        self._thread = thread

    def _run(self, stop: Event, pause: float) -> None:
        failures = 0
        while not stop.wait(pause):
            failures = failures + 1 if self.look() else 0
            every = self._every
            if (every is None and not failures) or self._changed() is None:
                return
            pause = every or _LONGEST_PAUSE
            if failures:
                pause = min(pause, _LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 20))
            # Spread, so that a fleet that started together does not come all at once.
            pause *= uniform(0.9, 1.1)

    def _after_fork_in_child(self) -> None:
        """A child has the parent's lock, maybe locked, but not its thread."""
        self._forget_thread()
        if self._running and (self._every is not None or self._missing()):
            self._begin(0.0 if self._missing() else (self._every or 0.0) * uniform(0.5, 1.0))


_refreshers: WeakSet[Refresher] = WeakSet()


def _after_fork() -> None:
    for refresher in list(_refreshers):
        refresher._after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
