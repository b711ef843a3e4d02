"""Budgets as data: the rules of a file and of the database, put in force while the app runs.

A look every two seconds, off the path of the calls. What cannot be read leaves the rules as they were last read.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from threading import Event, Lock, Thread, current_thread
from weakref import ReferenceType, WeakSet, ref

from costguard.budget_file import read_budgets
from costguard.budget_set import BudgetSet
from costguard.budgets import Budget
from costguard.errors import ConfigError, CostGuardError
from costguard.ledger.base import Ledger
from costguard.ledger.rules import rules, version

log = logging.getLogger("costguard")

EVERY = 2.0
"""Seconds between two looks."""

_JUST_WRITTEN = 2 * 10**9
"""Nanoseconds in which a file may change again without a new time or size: it is read at the next look, too."""

_Sign = tuple[int, int, int]


class BudgetSource:
    """Keeps the rules of `file` (TOML) and of the ledger's database in force in `budgets`, in a daemon thread.

    file:   None: only the database
    every:  seconds between two looks
    """

    def __init__(
        self, budgets: BudgetSet, ledger: Ledger, file: Path | str | None = None, every: float = EVERY
    ) -> None:
        self._budgets = budgets
        self._ledger = ledger
        # Absolute, so that a later chdir, as daemons do, does not lose it.
        self._file = None if file is None else Path(file).absolute()
        self._every = every
        self._sign: _Sign | None = None
        self._in_file: list[Budget] | None = None
        self._version: int | None = None
        self._said: dict[str, str] = {}
        self._looking = Lock()
        self._stop = Event()
        self._thread: Thread | None = None
        self._running = False
        _sources.add(self)

    def start(self) -> None:
        """Put the rules in force, and look for changes from now on. Idempotent.

        Raises ConfigError for a file or a rule that cannot be read, StoreUnavailable: an app must not start
        without the budgets it was given.
        """
        if self._running:
            return
        with self._looking:
            self._read_file()
            self._read_database()
        self._running = True
        self._stop.clear()
        self._begin()

    def look(self) -> None:
        """Look for changes now. Never raises: what cannot be read is logged once, and the rules stay as they are."""
        with self._looking:
            for source, read in (("file", self._read_file), ("database", self._read_database)):
                try:
                    read()
                except CostGuardError as error:
                    self._say(source, " ".join(str(error).split()))
                except Exception as error:  # noqa: BLE001  # a look at the rules must not end what looks for them
                    self._say(source, f"{type(error).__name__}: {error}")
                else:
                    if self._said.pop(source, None) is not None:
                        log.warning("budgets of the %s are read again", self._name(source))

    def close(self, timeout: float = 1.0) -> None:
        """Stop looking; the rules stay in force as they are. Idempotent."""
        self._running = False
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not current_thread():
            thread.join(timeout)

    def resume(self) -> None:
        """Look for changes again, after `close`. Asks nothing of the store now, and raises nothing. Idempotent."""
        if not self._running:
            self._running = True
            self._stop = Event()
            self._begin()

    def _begin(self) -> None:
        thread = Thread(target=_watch, args=(ref(self), self._stop, self._every), name="costguard-budgets", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            log.warning("changes of budgets are not seen by this process: no thread to look for them (%s)", error)
            return
        self._thread = thread

    def _read_file(self) -> None:
        file = self._file
        if file is None:
            return
        now = time.time_ns()
        try:
            found = file.stat()
        except OSError as error:
            raise ConfigError(
                f"the budget file {file} cannot be read ({error.strerror}); write it, or leave out budget_file="
            ) from None
        # The inode as well: most editors, and Kubernetes, put a new file in the place of the old one.
        sign = (found.st_mtime_ns, found.st_size, found.st_ino)
        if sign == self._sign:
            return
        found_rules = read_budgets(file)
        if found_rules != self._in_file:
            self._budgets.replace("file", found_rules)
            self._in_file = found_rules
        self._sign = sign if now - found.st_mtime_ns > _JUST_WRITTEN else None

    def _read_database(self) -> None:
        if version(self._ledger) == self._version:
            return
        found = rules(self._ledger)
        self._budgets.replace(
            "database", [stored.budget for stored in found.budgets], [stored.grant for stored in found.grants]
        )
        self._version = found.version

    def _say(self, source: str, error: str) -> None:
        if self._said.get(source) != error:
            self._said[source] = error
            log.warning("budgets of the %s stay as they were last read: %s", self._name(source), error)

    def _name(self, source: str) -> str:
        return f"file {self._file}" if source == "file" else f"database {self._ledger.url}"

    def _after_fork_in_child(self) -> None:
        """A child has the parent's lock, maybe locked, but not its thread."""
        self._looking = Lock()
        self._stop = Event()
        self._thread = None
        if self._running:
            self._begin()


def _watch(source: ReferenceType[BudgetSource], stop: Event, every: float) -> None:
    """Without a source of its own: a guard that is forgotten is not kept by its thread."""
    while not stop.wait(every):
        here = source()
        if here is None:
            return
        here.look()
        del here


_sources: WeakSet[BudgetSource] = WeakSet()


def _after_fork() -> None:
    for source in list(_sources):
        source._after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
