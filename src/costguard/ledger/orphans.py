"""Journal files whose processes are dead: taken over by whoever finds them, and replayed by call id."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from costguard.ledger.journal_file import SUFFIX, JournalFile
from costguard.ledger.journal_reader import JournalReader, Kept

log = logging.getLogger("costguard")


class Orphans:
    """The files of a directory that this process has taken over. Their locks keep others away."""

    def __init__(self, directory: Path, batch: int) -> None:
        self._directory = directory
        self._batch = batch
        self._files: list[JournalFile] = []
        self._reader: JournalReader | None = None
        self._left: set[Path] = set()

    @property
    def bytes(self) -> int:
        return sum(file.end - file.moved for file in self._files)

    def __bool__(self) -> bool:
        return bool(self._files)

    def find(self, own: set[Path]) -> None:
        """Take over what has no owner any more."""
        known = own | self._left | {file.path for file in self._files}
        with suppress(FileNotFoundError):
            for path in sorted(self._directory.iterdir()):
                if path.suffix == SUFFIX and path not in known:
                    self._adopt(path)

    def _adopt(self, path: Path) -> None:
        try:
            file = JournalFile.adopt(path)
        except (OSError, ValueError) as error:
            self._left.add(path)
            log.error("the journal file %s cannot be replayed: %s; is it of another version, or user?", path, error)
            return
        if file is None:
            return
        if file.moved >= file.end:
            file.remove()
        else:
            log.info("%s was left by a process that died; its entries are written now", path)
            self._files.append(file)

    def replay(self, settle: Callable[[list[Kept], Callable[[Sequence[Kept]], None]], None]) -> bool:
        """Give the next batch to `settle`, and what to call with those that are done. False if there is none.

        If `settle` raises, those that were not done come again.
        """
        if not self._files:
            return False
        file = self._files[0]
        if self._reader is None:
            self._reader = JournalReader(file, file.moved)
        at = self._reader.at
        batch = self._reader.batch(self._batch, file.end)
        if batch:
            try:
                settle(batch, _done)
            except BaseException:
                self._begin_again()
                raise
        if self._reader.at >= file.end:
            self._finish(file)
        return bool(batch) or at < file.end

    def _begin_again(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _finish(self, file: JournalFile) -> None:
        if self._reader is not None:
            self._reader.report()
        self._begin_again()
        self._files.remove(file)
        if not file.damaged:
            log.info("%s is in the store", file.path)
        file.remove()

    def close(self) -> None:
        """Leave them to others. In a forked child, too: the files stay its parent's."""
        self._begin_again()
        for file in self._files:
            file.close()
        self._files.clear()


def _done(batch: Sequence[Kept]) -> None:
    _, _, file, end = batch[-1]
    if file is not None:
        file.mark(end)
