"""A ledger over a ledger: settled entries go to a local file at once, and to the store in batches.

What a call waits for is one `os.write`. The file survives kill -9 (and, with `fsync`, a power cut); it is
replayed by call id, which the store records once. Read `writer.py` for how entries reach the store, and
`journal_file.py` for whose file is whose.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal
from weakref import WeakSet

from costguard.errors import StoreUnavailable
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Ledger, Refusal, is_lease
from costguard.ledger.journal_place import make_directory
from costguard.ledger.journal_queue import JournalQueue
from costguard.ledger.journal_record import UNWRITABLE, whole
from costguard.ledger.wrapper import Wrapper
from costguard.ledger.writer import Writer

log = logging.getLogger("costguard")

MOST_BYTES = 256 << 20
CATCH_UP = 2.0
"""Seconds that a read waits at most for this process's own entries to reach the store."""

LAST_FLUSH = 5.0
"""Seconds for it when the process ends, or the ledger is closed."""

RECENT = 10_000
"""Call ids that are known to be settled, at least; twice as many at most."""

_REST = 1.0
_OPEN_ENDS = ("lost", "pending")

_journals: WeakSet[JournalLedger] = WeakSet()


class JournalLedger(Wrapper):
    """`inner` behind a journal in `directory`, which processes of the same store share: a file for each of them.

    fsync:       sync the file before `settle` returns. Against power cuts it needs a store that syncs as well
                 (`synchronous=FULL`): one that forgets what it took cannot be told again
    most_bytes:  bound of what waits in this process's files; see `settle`
    batch:       entries in one transaction, and after how many the writer does not wait for `every` seconds
    told:        called after a batch that passed a mark of a limit: there are crossings in the outbox
    mode:        "batch": every entry goes by the journal. "outage": only those that the store cannot take now
    """

    def __init__(
        self,
        inner: Ledger,
        directory: Path,
        *,
        fsync: bool = False,
        most_bytes: int = MOST_BYTES,
        batch: int = 500,
        every: float = 0.05,
        told: Callable[[], None] | None = None,
        mode: Literal["batch", "outage"] = "batch",
    ) -> None:
        super().__init__(inner)
        self.directory = directory.absolute()
        self._fsync = fsync
        self._direct = mode == "outage"
        self._queue = JournalQueue(self.directory, most_bytes, batch)
        self._put = self._queue.put
        self._writer = Writer(self._queue, inner, batch=batch, every=every, told=told)
        self._recent: set[str] = set()
        self._older: set[str] = set()
        self._broken_until = 0.0
        self._was_broken = self._was_full = False
        _journals.add(self)

    @property
    def waiting(self) -> tuple[int, int]:
        """Entries and bytes of this process that the store does not have yet."""
        return self._queue.entries, self._queue.bytes

    def open(self) -> None:
        """Open the store, and begin to replay what dead processes left. ConfigError if there can be no journal."""
        self.inner.open()
        make_directory(self.directory)
        self._writer.replay(CATCH_UP)

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        """Recorded, as far as the call is concerned: in the file. Raises nothing for a full disk or a dead store.

        Crossings come with the batch, see `told`. None where this process settled the call a while ago.
        With no room in the journal (a full disk, or `most_bytes`) it is settled in the store directly; if that
        is down as well it is kept in memory, up to a bound, and logged whole.
        """
        call_id = entry.call_id
        if call_id in self._recent or call_id in self._older:
            return None
        queue, writer = self._queue, self._writer
        if not queue.here[0]:
            self.forked()
        if self._direct and not writer.resting():
            try:
                told = self.inner.settle(entry, hold)
            except StoreUnavailable as error:
                writer.went_down(error)
            else:
                if not queue.entries:
                    writer.came_back(0)
                return told
        try:
            if self._was_broken and time.monotonic() < self._broken_until:
                return self._past_the_file(entry, hold)
            place = self._put(entry, hold)
        except OSError as error:
            self._broken(error)
            return self._past_the_file(entry, hold)
        except UNWRITABLE:
            # The store says what is wrong with it.
            return self.inner.settle(entry, hold)
        if place is None:
            return self._over_the_bound(entry, hold)
        if writer.thread is None:
            self._begin()
        if self._fsync and place[0] is not None:
            try:
                place[0].sync(place[1])
            except OSError as error:
                self._broken(error)
                return self._past_the_file(entry, hold)
        if self._was_broken or self._was_full:
            log.warning("the journal in %s takes entries again", self.directory)
            self._was_broken = self._was_full = False
        if entry.status not in _OPEN_ENDS:
            recent = self._recent
            recent.add(call_id)
            if len(recent) > RECENT:
                self._older, self._recent = recent, set()
        return ()

    def note(self, entry: Entry, hold: Hold) -> bool:
        self._be_here()
        try:
            kept = self._put(entry, hold) is not None
        except (OSError, *UNWRITABLE) as error:
            log.warning("the call %s is made and could not be noted in the journal: %s", entry.call_id, error)
            return False
        if kept and self._writer.thread is None:
            self._begin()
        return kept

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        return [self.settle(entry, hold) for entry, hold in settlements]

    def _begin(self) -> None:
        self._writer.start()
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            # Such a child ends without atexit. Its list of what to do at the end was emptied when it began.
            from multiprocessing.util import Finalize

            Finalize(None, _at_exit, exitpriority=10)

    def _broken(self, error: OSError) -> None:
        self._broken_until = time.monotonic() + _REST
        if not self._was_broken:
            self._was_broken = True
            log.error(
                "the journal in %s cannot be written (%s); calls are settled in the store directly until it can. "
                'Free space on its disk, or give another place with journal="/path"',
                self.directory, error,
            )  # fmt: skip

    def _over_the_bound(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        if not self._was_full:
            self._was_full = True
            log.error(
                "the journal in %s is full: %d bytes, %d entries; calls are settled in the store directly",
                self.directory, self._queue.bytes, self._queue.entries,
            )  # fmt: skip
        return self._past_the_file(entry, hold)

    def _past_the_file(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        reason: Exception
        if self._writer.resting():
            reason = StoreUnavailable(f"the ledger {self.url} was down a moment ago")
        else:
            try:
                return self.inner.settle(entry, hold)
            except StoreUnavailable as error:
                self._writer.went_down(error)
                reason = error
            except Exception:
                log.critical(
                    "the store does not take this entry, it is only here: %s", whole(entry, hold), exc_info=True
                )
                return ()
        self._queue.keep(entry, hold, reason)
        if self._writer.thread is None:
            self._begin()
        return ()

    def flush(self, timeout: float = LAST_FLUSH) -> int:
        """Write what was settled until now; how many entries are not in the store after so many seconds."""
        self._be_here()
        return self._writer.flush(timeout)

    def _be_here(self) -> None:
        """A fork may have run none of Python's hooks, as uWSGI's: what waits is then the parent's."""
        if not self._queue.here[0]:
            self.forked()

    def before_reading(self) -> None:
        """Own entries before a read. Where the store is down the read says so itself."""
        self._be_here()
        if self._queue.entries and not self._writer.resting():
            self._writer.flush(CATCH_UP)

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        """As the store says. Raises StoreUnavailable where the store is down and the journal is full."""
        if self._queue.full and self._writer.down:
            raise StoreUnavailable(
                f"the ledger {self.url} is down, and the journal in {self.directory}, which waits for it, is full; "
                f"bring the store back"
            )
        refusal = self.inner.reserve(hold, now_ns, alone=alone)
        self._be_here()
        if refusal is not None and self._queue.entries:
            # What running calls held, and did not spend, is given back with their entries.
            self.before_reading()
            refusal = self.inner.reserve(hold, now_ns, alone=alone)
        return refusal

    def release(self, hold: Hold) -> bool:
        """A lease is given back after the entries that were drawn from it: else their money looks free meanwhile."""
        self._be_here()
        if self._queue.entries and (is_lease(hold.call) or self._settled(hold.call.id)):
            # Of a store that was down a moment ago nobody has to find that out again.
            left = self._queue.entries if self._writer.resting() else self._writer.flush(CATCH_UP)
            if left and is_lease(hold.call):
                raise StoreUnavailable(
                    f"{left} entries wait for the ledger {self.url}; the lease {hold.call.id} is kept until they are "
                    f"written, or until it expires"
                )
        return self.inner.release(hold)

    def _settled(self, call_id: str) -> bool:
        return call_id in self._recent or call_id in self._older

    def close(self) -> None:
        """Write what waits, for `LAST_FLUSH` seconds at most; what is left stays in its file for the next one."""
        self.end(LAST_FLUSH)

    def end(self, seconds: float) -> None:
        self._end(seconds)
        super().end(seconds)

    def _end(self, seconds: float) -> None:
        if self._queue.here[0]:
            left = self._writer.flush(seconds)
            self._writer.close(whole=not left)

    def forked(self) -> None:
        self._queue.forked()
        self._writer.forked()


def _at_exit() -> None:
    for journal in list(_journals):
        try:
            journal._end(LAST_FLUSH)
        except Exception:
            # The process ends; its file is replayed by another.
            log.exception("the journal in %s could not be closed", journal.directory)


def _after_fork() -> None:
    for journal in list(_journals):
        journal.forked()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
