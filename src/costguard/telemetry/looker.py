"""Looks every few seconds at what waits in this process, where another process is asked for it."""

from __future__ import annotations

import logging
import threading
from typing import Protocol
from weakref import ref

from costguard.telemetry.forks import in_child

log = logging.getLogger("costguard.telemetry")

EVERY = 5.0
"""Seconds."""


class Looking(Protocol):
    def look(self) -> None: ...


class Looker:
    """Calls `told.look()` in a daemon thread, as long as `told` lives; each process that begins has its own."""

    def __init__(self, told: Looking, every: float = EVERY) -> None:
        self._told = ref(told)
        self._every = every
        self.forked()
        in_child(self)

    def forked(self) -> None:
        """The thread stayed with the parent."""
        self._lock = threading.Lock()
        self._begun = False

    def begin(self) -> None:
        """Idempotent; at a call, not at the start, as servers make their workers by forks."""
        if self._begun:
            return
        with self._lock:
            if self._begun:
                return
            self._begun = True
        try:
            threading.Thread(target=self._run, name="costguard-metrics", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            log.warning("what waits is not told to other processes: no thread to look (%s)", error)

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._every):
            told = self._told()
            if told is None:
                return
            try:
                told.look()
            except Exception:
                log.exception("what waits cannot be told now")
            del told
