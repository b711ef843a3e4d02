"""Moves what a journal holds to the store, in batches: a thread, and whoever wants it done now."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from random import random
from threading import Lock, Thread, current_thread, get_ident
from weakref import ref

from costguard.errors import StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.journal_file import JournalFile
from costguard.ledger.journal_queue import JournalQueue
from costguard.ledger.journal_reader import Kept, without_notes
from costguard.ledger.journal_record import UNWRITABLE, whole
from costguard.ledger.orphans import Orphans

log = logging.getLogger("costguard")

REJECTED = ".rejected"
"""Files of entries that the store refused for a reason of their own. Renamed to .journal they are tried again."""

LOOK = 5.0
"""Seconds between two looks for the files of dead processes."""

TURN = 0.5
"""Seconds of one turn for the files of others, so that this process's own entries do not wait for long ones."""

_NAP = 0.05
_FIRST, _LONGEST = 0.1, 5.0
_BATCHES = 20
"""Batches written in one turn at most; then it looks after the rest."""

_QUIET = 20
"""Turns with nothing to do, after which the thread sleeps until there is something."""


class Writer:
    """down: the store took nothing at the last try, and `retry_at` (monotonic seconds) is the next one."""

    def __init__(
        self, queue: JournalQueue, inner: Ledger, *, batch: int, every: float, told: Callable[[], None] | None
    ) -> None:
        self._queue = queue
        self._inner = inner
        self._batch = batch
        self._every = every
        self._told = told
        self._orphans = Orphans(queue.directory, batch)
        self._rejects: JournalFile | None = None
        self.forked()

    def forked(self) -> None:
        """In a child process, which has no writer thread yet, and nothing to write."""
        self._moving = Lock()
        self._mover = 0
        self._starting = Lock()
        self.thread: Thread | None = None
        self._orphans.close()
        if self._rejects is not None:
            self._rejects.close()
            self._rejects = None
        self._inflight: list[Kept] = []
        self._crossed = False
        self._quiet = 0
        self._look_at = 0.0
        self.down = False
        self.retry_at = 0.0
        self._tries = 0

    def start(self) -> None:
        # Not to be waited for: a finalizer may come here while its own thread is at it.
        if self._starting.acquire(blocking=False):
            try:
                if self.thread is None:
                    self.thread = Thread(
                        target=_run,
                        args=(ref(self), self._queue, 0.0 if self._orphans else self._every),
                        name="costguard-writer",
                        daemon=True,
                    )
                    self.thread.start()
            except RuntimeError as error:
                # At the end of the interpreter: what is in the file is written by the next process.
                log.debug("no thread can be started for the journal: %s", error)
                self.thread = None
            finally:
                self._starting.release()

    def stop(self) -> None:
        thread, self.thread = self.thread, None
        self._queue.wake()
        if thread is not None and thread is not current_thread() and thread.is_alive():
            thread.join(timeout=1.0)

    def resting(self) -> bool:
        """The store was down a moment ago: nobody else needs to find that out, and wait for it."""
        return self.down and time.monotonic() < self.retry_at

    def flush(self, seconds: float) -> int:
        """Write what was put until now; how many entries are still not in the store after so many seconds."""
        queue = self._queue
        target = queue.put_entries
        deadline = time.monotonic() + seconds
        while queue.done_entries < target or queue.kept_entries:
            left = max(0.0, deadline - time.monotonic())
            if self._mover == get_ident() or not self._moving.acquire(timeout=left):
                break
            self._do(self._move)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if self.down:
                time.sleep(min(_NAP, left))
        return max(0, target - queue.done_entries) + queue.kept_entries

    def turn(self) -> float:
        """What the thread does again and again; seconds until the next time."""
        if self.resting():
            return max(0.001, self.retry_at - time.monotonic())
        if not self._moving.acquire(blocking=False):
            return self._every
        return self._rest(busy=self._do(self._work))

    def _do(self, what: Callable[[], bool]) -> bool:
        """Do it as the one who moves entries now; then let go, and tell of crossings."""
        self._mover = get_ident()
        try:
            return what()
        except StoreUnavailable as error:
            self.went_down(error)
            return True
        finally:
            crossed, self._crossed = self._crossed, False
            self._mover = 0
            self._moving.release()
            if crossed:
                self._tell()

    def _work(self) -> bool:
        busy = False
        for _ in range(_BATCHES):
            more = self._queue.entries > self._batch
            moved = self._move()
            busy |= moved
            if not (moved and more):
                break
        return self._look(TURN) or busy

    def _rest(self, *, busy: bool) -> float:
        if self.resting():
            return max(0.001, self.retry_at - time.monotonic())
        if busy or self._orphans:
            self._quiet = 0
            return 0.001 if self._orphans or self._queue.entries > self._batch else self._every
        self._quiet += 1
        if self._quiet < _QUIET:
            return self._every
        queue = self._queue
        queue.idle = True
        # Put in between: whoever did it saw a thread that was awake.
        return self._every if queue.entries else max(self._every, self._look_at - time.monotonic())

    def replay(self, seconds: float) -> None:
        """Begin with what dead processes left. Raises nothing: the thread goes on with it."""
        if self._moving.acquire(timeout=seconds):
            self._look_at = 0.0
            self._do(lambda: self._look(seconds))
        # Also where this process settles nothing itself: its children may die with entries in their files.
        self.start()

    def _look(self, seconds: float) -> bool:
        """Look for the files of dead processes, and write what they hold for so many seconds; True if there is more."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK
            self._queue.check()
            own = self._queue.paths
            if self._rejects is not None:
                own.add(self._rejects.path)
            self._orphans.find(own)
        try:
            while self._orphans.replay(self._settle) and time.monotonic() < now + seconds:
                self.came_back(self._queue.entries)
        finally:
            self._queue.beside(self._orphans.bytes)
        return bool(self._orphans)

    def _move(self) -> bool:
        """One batch of this process's own; False if there was none."""
        if not self._inflight:
            self._inflight = self._queue.take(self._batch)
        if not self._inflight:
            return False
        waited = self._queue.entries
        self._settle(self._inflight, self._done)
        self.came_back(waited)
        return True

    def _done(self, items: Sequence[Kept]) -> None:
        self._queue.done(items)
        del self._inflight[: len(items)]

    def _settle(self, items: Sequence[Kept], done: Callable[[Sequence[Kept]], None]) -> None:
        try:
            told = self._inner.settle_all(without_notes(items))
        except (StoreUnavailable, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - one bad entry, of whatever kind, must not stop the rest
            log.warning("the store does not take a batch of %d entries (%r); trying them singly", len(items), error)
            self._singly(items, done)
            return
        self._crossed |= any(told)
        done(items)

    def _singly(self, items: Sequence[Kept], done: Callable[[Sequence[Kept]], None]) -> None:
        """One that no store takes must not keep back the others."""
        for item in tuple(items):
            try:
                self._crossed |= bool(self._inner.settle(item[0], item[1]))
            except (StoreUnavailable, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001 - set aside, and logged
                self._reject(item, error)
            done((item,))

    def _reject(self, item: Kept, error: Exception) -> None:
        entry, hold, _, _ = item
        where = "only here"
        try:
            if self._rejects is None:
                self._rejects = JournalFile.create(self._queue.directory, REJECTED)
            self._rejects.append(self._rejects.encoder.encode(entry, hold))
            where = f"in {self._rejects.path}, which is tried again if it is renamed to .journal"
        except (OSError, *UNWRITABLE) as unwritten:
            log.error("the rejected entry cannot be set aside: %r", unwritten)
        log.critical("the store does not take this entry (%r); it is %s: %s", error, where, whole(entry, hold))

    def went_down(self, error: Exception) -> None:
        if not self.down:
            log.error("entries wait in the journal %s until the store can be written: %s", self._queue.directory, error)
        self.down = True
        self._tries += 1
        self.retry_at = time.monotonic() + min(_LONGEST, _FIRST * 2 ** min(self._tries - 1, 10)) * (0.5 + random() / 2)
        if self.thread is None:
            self.start()

    def came_back(self, waited: int) -> None:
        if self.down:
            self.down, self._tries, self.retry_at = False, 0, 0.0
            log.warning(
                "the store can be written again; %d entries that waited in the journal are being written", waited
            )

    def _tell(self) -> None:
        if self._told is not None:
            try:
                self._told()
            except Exception:
                log.exception("what is called after crossings failed")

    def close(self, *, whole: bool) -> None:
        """Stop, and let go of the files. `whole`: the store has all that was put until a moment ago. What calls that go
        on have put since is then written as before: a lease must not go back without what was drawn from it."""
        self.stop()
        if not self._moving.acquire(timeout=1.0):
            return  # a batch is being written by a thread that does not come back
        try:
            self._queue.close(whole=whole)
            if not (whole and self._queue.entries):
                self._orphans.close()
                if self._rejects is not None:
                    self._rejects.close()
                    self._rejects = None
                self._inflight = []
                self.down, self._tries, self.retry_at = False, 0, 0.0
        finally:
            self._moving.release()
        if whole and self._queue.entries:
            self.start()


def _run(writer: ref[Writer], queue: JournalQueue, pause: float) -> None:
    """The thread. It does not keep its writer alive: a ledger that nobody has any more ends it."""
    while True:
        queue.wait(pause)
        this = writer()
        if this is None or this.thread is not current_thread():
            return
        try:
            pause = this.turn()
        except Exception:
            # What it moves is safe in its file; the thread must not die of it.
            log.exception("the journal's writer failed; it goes on")
            pause = 1.0
        if queue.idle:
            # Until then it is kept: a ledger that was dropped with entries on their way brings them home.
            this = None
