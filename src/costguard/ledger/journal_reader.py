"""Reads a journal's file: the records that are whole, over whatever is not."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from zlib import crc32

from costguard.events import Entry, Hold
from costguard.ledger.journal_file import HEADER, JournalFile, read_at
from costguard.ledger.journal_record import DEFINITION, HEAD, KINDS, MARK, Decoder

log = logging.getLogger("costguard")

Kept = tuple[Entry, Hold | None, JournalFile | None, int]
"""An entry, the file that it is in (None: only in memory) and where its record ends."""

_CHUNK = 1 << 20
_SHOWN = 512


class JournalReader:
    """The entries of a file, in order, a batch at a time.

    skipped: (offset, length, first bytes) of what is not a record: the torn end of a file, or damage
    broken:  (offset, error) of whole records that cannot be understood: what defines their parts was damaged
    """

    def __init__(self, file: JournalFile, start: int) -> None:
        self.file = file
        self._start = start
        self._fd = file.descriptor()
        self._at = HEADER
        self._decoder = Decoder()
        self._chunk = b""
        self._chunk_at = HEADER
        self.skipped: list[tuple[int, int, bytes]] = []
        self.broken: list[tuple[int, Exception]] = []

    @property
    def at(self) -> int:
        return self._at

    def batch(self, most: int, stop: int) -> list[Kept]:
        """At most so many entries that begin behind the start, and end by `stop`."""
        found: list[Kept] = []
        while len(found) < most and self._at < stop:
            kind, length = self._head(self._at, stop)
            if not kind:
                self._skip(stop)
                continue
            begin = self._at - self._chunk_at + HEAD.size
            payload = self._chunk[begin : begin + length]
            here = self._at
            self._at += HEAD.size + length
            try:
                if kind == DEFINITION:
                    self._decoder.define(payload)
                elif here >= self._start:
                    found.append((*self._decoder.entry(payload), self.file, self._at))
            except Exception as error:  # noqa: BLE001 - reported
                # The bytes are as they were written: a version that does not know them, or lost definitions.
                if here >= self._start:
                    self.broken.append((here, error))
        return found

    def _head(self, at: int, stop: int) -> tuple[bytes, int]:
        """Kind and length of the record there, with its bytes in the chunk; no kind if it is none."""
        if not self._have(at, HEAD.size, stop):
            return b"", 0
        kind, length, checksum = HEAD.unpack_from(self._chunk, at - self._chunk_at)
        if kind not in KINDS or not self._have(at, HEAD.size + length, stop):
            return b"", 0
        begin = at - self._chunk_at + HEAD.size
        return (kind, length) if crc32(self._chunk[begin : begin + length]) == checksum else (b"", 0)

    def _have(self, at: int, count: int, stop: int) -> bool:
        if at + count > stop:
            return False
        offset = at - self._chunk_at
        if offset + count > len(self._chunk):
            wanted, chunk = min(max(count, _CHUNK), stop - at), b""
            while len(chunk) < wanted and (part := read_at(self._fd, wanted - len(chunk), at + len(chunk))):
                chunk += part
            self._chunk, self._chunk_at = chunk, at
        return at - self._chunk_at + count <= len(self._chunk)

    def _skip(self, stop: int) -> None:
        """Go on at the next record, if there is one."""
        begin = at = self._at
        while at < stop:
            at += 1
            if self._have(at, min(HEAD.size, stop - at), stop):
                found = self._chunk.find(MARK, at - self._chunk_at)
                at = self._chunk_at + (found if found >= 0 else max(len(self._chunk) - len(MARK), at - self._chunk_at))
            if self._head(at, stop)[0]:
                break
        self._at = min(at, stop)
        self.skipped.append((begin, self._at - begin, read_at(self._fd, min(_SHOWN, self._at - begin), begin)))

    def report(self) -> None:
        """Log what could not be read, once; the file is damaged if it was more than its torn end."""
        torn = all(begin + length >= self.file.end for begin, length, _ in self.skipped) and not self.broken
        for begin, length, data in self.skipped:
            log.log(
                logging.WARNING if torn else logging.CRITICAL,
                "%s: %d bytes at %d are not a whole record (%s); %s: %s",
                self.file.path, length, begin,
                "its process ended in the middle of writing it" if torn else "the file was damaged",
                "everything before is recorded" if torn else "what is readable before and after is recorded",
                data.hex(),
            )  # fmt: skip
        for begin, error in self.broken:
            log.critical("%s: the record at %d cannot be understood: %r", self.file.path, begin, error)
        self.skipped, self.broken = [], []
        self.file.damaged |= not torn

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            self.close()


def without_notes(items: Sequence[Kept]) -> list[tuple[Entry, Hold | None]]:
    """Without the notes of calls that have ended meanwhile: what they would charge could pass a mark for a moment."""
    ended = {entry.call_id for entry, _, _, _ in items if entry.status != "lost"}
    return [(entry, hold) for entry, hold, _, _ in items if entry.status != "lost" or entry.call_id not in ended]
