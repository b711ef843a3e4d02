"""The settled entries of this process that the store does not have yet: all in files, the latest in memory too."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, RLock

from costguard.events import Entry, Hold
from costguard.ledger.journal_file import HEADER, JournalFile
from costguard.ledger.journal_reader import JournalReader, Kept
from costguard.ledger.journal_record import whole
from costguard.ledger.process import mark

log = logging.getLogger("costguard")

MOST_QUEUED = 20_000
"""Entries kept in memory as well; the rest of a long queue is read back from its file."""

MOST_KEPT = 20_000
"""Entries kept in memory alone, when neither the file nor the store can be written."""

FILE_BYTES = 16 << 20
"""A file is followed by another one from here on: the space of what the store has is given back."""

ALARM = 0.5
"""Share of the bound at which an alarm is raised."""


class JournalQueue:
    """One thread puts or many; one at a time takes, and says when it is done. `bytes` and `entries` wait."""

    def __init__(self, directory: Path, most_bytes: int, batch: int) -> None:
        self.directory = directory
        self.most_bytes = most_bytes
        self._foreign_bytes = 0
        self._batch = batch
        self._alarm_at = int(most_bytes * ALARM)
        self._files: list[JournalFile] = []
        self.forked()

    def forked(self) -> None:
        """In a child process: what waits is its parent's, to be written by the parent."""
        for file in self._files:
            file.close()
        # Re-entrant: the garbage collector may settle a dropped stream in the middle of anything.
        self._lock = RLock()
        self._wake = Lock()
        self._wake.acquire()
        self._busy = False
        self._late: deque[tuple[Entry, Hold | None]] = deque()
        self._start_empty()

    def _start_empty(self) -> None:
        self._files = []
        self._file: JournalFile | None = None
        self._watch_at = 0
        self._queue: deque[Kept] = deque()
        self._kept: deque[Kept] = deque()
        self._spilled = False
        self._reader: JournalReader | None = None
        self._taken: tuple[JournalFile, int] | None = None
        self._rotate_at = FILE_BYTES
        self.put_entries = self.done_entries = self.kept_entries = 0
        self._alarmed = False
        self._moved_at = 0.0
        self.idle = False
        self.here = mark()

    @property
    def bytes(self) -> int:
        return sum(file.end - file.moved for file in tuple(self._files))

    @property
    def entries(self) -> int:
        return self.put_entries - self.done_entries + self.kept_entries

    @property
    def paths(self) -> set[Path]:
        return {file.path for file in tuple(self._files)}

    @property
    def full(self) -> bool:
        return self.bytes + self._foreign_bytes >= self.most_bytes

    def beside(self, foreign_bytes: int) -> None:
        """What this process has taken over from dead ones counts for the bound as well."""
        if foreign_bytes != self._foreign_bytes:
            self._foreign_bytes, self._watch_at = foreign_bytes, 0

    def put(self, entry: Entry, hold: Hold | None) -> tuple[JournalFile | None, int] | None:
        """Append an entry; where it is. None if there is no room. Raises OSError, or one of UNWRITABLE."""
        with self._lock:
            if self._busy:
                # A finalizer that ran while this very thread was putting: written before it goes on.
                if self.full:
                    return None
                self._late.append((entry, hold))
                return None, 0
            self._busy = True
            try:
                return self._put(entry, hold)
            finally:
                self._busy = False
                if self._late:
                    self._put_late()

    def _put(self, entry: Entry, hold: Hold | None) -> tuple[JournalFile, int] | None:
        file = self._file
        if file is None or file.end >= self._watch_at:
            file = self._make_room()
            if file is None:
                return None
        try:
            file.append(file.encoder.encode(entry, hold))
        except OSError:
            self._watch_at = 0
            if file.moved >= file.end:
                # Nothing in it is needed: its space is the first to be given back.
                self._files.remove(file)
                self._file = None
                file.remove()
            raise
        end = file.end
        self.put_entries += 1
        queue = self._queue
        if self._spilled or len(queue) >= MOST_QUEUED:
            self._spilled = True
        else:
            queue.append((entry, hold, file, end))
        if self.idle or len(queue) == self._batch:
            self.wake()
        return file, end

    def _make_room(self) -> JournalFile | None:
        """The file for the next entry, which may be a new one. It is asked for again at the offset where something
        has to be looked at: the bound, the alarm, or the end of the file."""
        if self.full:
            return None
        waiting, file = self.bytes, self._file
        if waiting >= self._alarm_at and not self._alarmed:
            self._alarm()
        if file is None or file.end >= self._rotate_at or not file.usable:
            file = self._file = self._next_file(file)
        least = self.most_bytes - self._foreign_bytes
        if not self._alarmed:
            least = min(least, self._alarm_at)
        self._watch_at = min(self._rotate_at, file.end + least - waiting)
        return file

    def _put_late(self) -> None:
        while self._late:
            with suppress(IndexError):
                entry, hold = self._late.popleft()
                self._busy = True
                try:
                    if self._put(entry, hold) is None:
                        self.keep(entry, hold, OSError(f"the journal in {self.directory} is full"))
                except Exception as error:  # noqa: BLE001 - kept, and logged
                    # The finalizer that settled it cannot be told any more.
                    self.keep(entry, hold, error)
                finally:
                    self._busy = False

    def _next_file(self, last: JournalFile | None) -> JournalFile:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = JournalFile.create(self.directory)
        except OSError:
            if last is None or not last.usable:
                raise
            # The last one takes more; another file is tried for later.
            self._rotate_at = last.end + FILE_BYTES
            return last
        self._rotate_at = FILE_BYTES
        self._files.append(file)
        if last is None:
            self._moved_at = time.time()
        elif last.moved >= last.end:
            self._files.remove(last)
            last.remove()
        return file

    def keep(self, entry: Entry, hold: Hold | None, error: Exception) -> None:
        """In memory alone: neither the journal nor the store takes it now."""
        kept = len(self._kept) < MOST_KEPT
        log.critical(
            "neither the journal nor the store can be written (%s); this entry is %s: %s",
            error, "kept in memory until one of them can" if kept else "only here", whole(entry, hold),
        )  # fmt: skip
        if kept:
            self._kept.append((entry, hold, None, 0))
            self.kept_entries += 1

    def wake(self) -> None:
        self.idle = False
        # A bare lock: an Event's own lock could be held by this very thread when a finalizer comes here.
        with suppress(RuntimeError):
            self._wake.release()

    def wait(self, seconds: float) -> None:
        """Until somebody wakes the writer."""
        self._wake.acquire(timeout=seconds)

    def take(self, most: int) -> list[Kept]:
        """The next entries, in the order they were put. They wait until `done`."""
        # Asked first: as long as it has spilled, nothing comes into the queue.
        spilled, taken = self._spilled, list[Kept]()
        for queue in (self._kept, self._queue):
            while queue and len(taken) < most:
                taken.append(queue.popleft())
        if not taken and spilled:
            taken = self._read_back(most)
        for _, _, file, end in taken[-1:]:
            self._taken = (file, end) if file is not None else self._taken
        return taken

    def _read_back(self, most: int) -> list[Kept]:
        """What was not kept in memory as well, from the files."""
        file, at = self._taken or (None, HEADER)
        while True:
            with self._lock:
                files = self._files
                if file not in files or (at >= file.end and file is not files[-1]):
                    # The store has all of a file that is gone, and of those before it.
                    file, at = files[files.index(file) + 1 if file in files else 0] if files else None, HEADER
                if file is None or (at >= file.end and file is files[-1]):
                    # All that could be read is in the store: nobody may wait for what could not, and was reported.
                    self._spilled, self._reader = False, None
                    self.done_entries = self.put_entries
                    return []
                stop = file.end
            reader = self._reader
            if reader is None or reader.file is not file:
                reader = self._reader = JournalReader(file, at)
            found = reader.batch(most, stop)
            reader.report()
            at = reader.at
            if found:
                return found

    def done(self, taken: Sequence[Kept]) -> None:
        """The store has these, which were taken in this order."""
        for place, (_, _, file, end) in enumerate(taken):
            if file is None or (place + 1 < len(taken) and taken[place + 1][2] is file):
                continue
            with self._lock:
                file.mark(end)
                # A finalizer may have come between, and begun the next file.
                if end >= file.end and file is not self._file and file in self._files:
                    self._files.remove(file)
                    file.remove()
        filed = sum(file is not None for _, _, file, _ in taken)
        self.done_entries += filed
        self.kept_entries -= len(taken) - filed
        self._moved_at = time.time()
        if self._alarmed and self.bytes < self._alarm_at // 2:
            self._alarmed, self._watch_at = False, 0

    def _alarm(self) -> None:
        self._alarmed = True
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._moved_at))
        log.error(
            "the journal in %s holds %d bytes, %d entries, of the %d bytes that it may; the store has taken nothing "
            "since %s. From the bound on calls are settled in the store itself, and where that is down, new ones are "
            'refused (on_store_failure="refuse") or only logged ("allow"). Bring the store back, or give the journal '
            "more room",
            self.directory, self.bytes, self.entries, self.most_bytes, since,
        )  # fmt: skip

    def check(self) -> None:
        """Go on in a new file if somebody removed the one in use."""
        with self._lock:
            file = self._file
            if file is not None and file.usable and not file.linked:
                self._rotate_at = self._watch_at = 0
                log.error(
                    "the journal file %s was removed while it was in use; its %d entries are safe as long as this "
                    "process lives, and another file is begun",
                    file.path, self.entries,
                )  # fmt: skip

    def close(self, *, whole: bool) -> None:
        """Let go of the files; those the store has are removed. `whole`: only if it has all."""
        with self._lock:
            if whole and self.entries:
                return
            for file in self._files:
                if file.moved >= file.end:
                    file.remove()
                else:
                    log.error("%s keeps entries for the store; whoever opens it next writes them", file.path)
                    file.close()
            kept = self._kept
            self._start_empty()
            self._kept, self.kept_entries = kept, len(kept)  # there is no file for them
