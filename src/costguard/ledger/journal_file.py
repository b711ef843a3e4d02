"""One file of a journal: appended by the process that holds its lock, replayed by another once the lock is free.

The lock is flock's. It belongs to the open file, so it ends with its owner, however that dies. A forked child
shares the open file and with it the lock: it only ever closes its copy, which leaves the parent's lock alone,
and never unlocks. A POSIX record lock (fcntl) would not be shared, but is lost as soon as anything in the owner
opens and closes the file; then another process would remove a file that is still written to. With flock the
worst is a file that is replayed later, when the last child that was forked behind Python's back has ended.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from threading import Lock

from costguard.ledger.journal_record import Encoder

MAGIC = b"costgrd1"
_HEADER = struct.Struct("<8sQ")
HEADER = _HEADER.size
"""The file begins with `MAGIC` and the offset up to which the store has everything."""

SUFFIX = ".journal"
DAMAGED = ".damaged"
"""Added to the name of a file that could not be read whole."""

_BINARY = getattr(os, "O_BINARY", 0)

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        # Far behind the data: on Windows what is locked cannot be read by others.
        os.lseek(fd, 1 << 40, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        os.lseek(fd, 0, os.SEEK_SET)

    def read_at(fd: int, count: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)

else:
    import fcntl

    def read_at(fd: int, count: int, offset: int) -> bytes:
        return os.pread(fd, count, offset)

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class JournalFile:
    """An open, locked file. `create` makes one, `adopt` takes over one whose owner is dead.

    end:     offset behind the last whole record
    moved:   offset up to which the store has everything
    damaged: something in it could not be read; it is kept for people, and never replayed again
    """

    _fd = _marker = -1
    damaged = False

    def __init__(self, path: Path, fd: int, end: int, moved: int) -> None:
        self.path = path
        self.end = end
        self.moved = moved
        self.encoder = Encoder()
        # Of its own: Linux appends whatever is written to a descriptor that was opened to append, pwrite too.
        # Where the file has gone, `fd` stays the caller's to close: a number that is closed twice may be another's.
        self._marker = os.open(path, os.O_WRONLY | _BINARY)
        self._fd = fd
        self._synced = 0
        self._syncing = Lock()

    @classmethod
    def create(cls, directory: Path, suffix: str = SUFFIX) -> JournalFile:
        """A new file, locked before anything is in it. Raises OSError."""
        while True:
            path = directory / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{token_hex(4)}{suffix}"
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
            try:
                try:
                    _lock(fd)
                except BlockingIOError:
                    # Another process looked for what dead ones left, and was faster: it removes an empty file.
                    os.close(fd)
                    continue
                if not os.fstat(fd).st_nlink:
                    # It has removed it already.
                    os.close(fd)
                    continue
                if os.write(fd, _HEADER.pack(MAGIC, HEADER)) != HEADER:
                    raise OSError(f"{path} took only a part of its header")
                return cls(path, fd, HEADER, HEADER)
            except BaseException:
                with suppress(OSError):
                    os.close(fd)
                with suppress(OSError):
                    path.unlink()
                raise

    @classmethod
    def adopt(cls, path: Path) -> JournalFile | None:
        """The file of a dead process; None if its owner lives, or if it is gone. Raises OSError, ValueError."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | _BINARY)
        except FileNotFoundError:
            return None
        try:
            _lock(fd)
        except OSError:
            os.close(fd)
            return None
        try:
            size, header = os.fstat(fd).st_size, os.read(fd, HEADER)
            if len(header) < HEADER:
                header = _HEADER.pack(MAGIC, size)
            magic, moved = _HEADER.unpack(header)
            if magic != MAGIC:
                raise ValueError(f"{path} begins with {magic!r}, not with {MAGIC!r}")
            # After a power cut the offset may be on the disk, and what it counts not.
            return cls(path, fd, size, min(moved, size))
        except FileNotFoundError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise

    @property
    def usable(self) -> bool:
        return self._fd >= 0

    @property
    def linked(self) -> bool:
        """False if somebody removed it: what is appended now would be lost with the process."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink > 0

    def descriptor(self) -> int:
        """Another one to read by: of the open file, which may have been removed.

        It shares its offset with the one that is appended to, so read it with `read_at`.
        """
        shared = self._fd >= 0 and sys.platform != "win32"
        return os.dup(self._fd) if shared else os.open(self.path, os.O_RDONLY | _BINARY)

    def append(self, data: bytes) -> None:
        """One write. Raises OSError if not all of it is in the file; then none of it is."""
        try:
            written = os.write(self._fd, data)
        except BaseException:
            self.encoder.forget()
            raise
        if written != len(data):
            self.encoder.forget()
            try:
                os.ftruncate(self._fd, self.end)
            except OSError:
                # Readers find the torn record; nothing may come after it.
                self.end += written
                self._let_go()
                raise
            raise OSError(f"{self.path} took {written} of {len(data)} bytes")
        self.end += written

    def sync(self, end: int) -> None:
        """The disk has everything up to `end`. Threads that wait for each other share one sync."""
        if self._synced >= end:
            return
        with self._syncing:
            target = self.end
            if self._synced < end and self._fd >= 0:
                getattr(os, "fdatasync", os.fsync)(self._fd)
                if not self._synced and hasattr(os, "O_DIRECTORY"):
                    # A new file is lost in a power cut as long as its name is not on the disk.
                    folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
                    try:
                        os.fsync(folder)
                    finally:
                        os.close(folder)
                self._synced = target

    def mark(self, end: int) -> None:
        """The store has everything up to `end`. A mark that is lost costs a replay that changes nothing."""
        self.moved = end
        if self._marker >= 0:
            with suppress(OSError):
                os.lseek(self._marker, 8, os.SEEK_SET)
                os.write(self._marker, end.to_bytes(8, "little"))

    def remove(self) -> None:
        """Give it up, as the store has everything. One that is damaged is renamed instead."""
        # First from the directory, so that nobody takes the lock of a file that is about to be removed. Windows
        # removes no open file.
        if sys.platform == "win32":
            self.close()
        with suppress(OSError):
            if self.damaged:
                self.path.rename(self.path.with_name(self.path.name + DAMAGED))
            else:
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the file and its lock, or, in a forked child, of this process's copy."""
        self._let_go()
        if self._marker >= 0:
            os.close(self._marker)
            self._marker = -1

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            self.close()


def waiting_bytes(path: Path) -> int:
    """Bytes of a journal that were not marked as moved to the store; read beside its owner."""
    with path.open("rb") as file:
        header = file.read(HEADER)
        if len(header) < HEADER:
            return 0
        return max(0, os.fstat(file.fileno()).st_size - int(_HEADER.unpack(header)[1]))
