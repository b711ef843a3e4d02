"""A journal's file is read while its owner goes on writing to it, and left by owners at any moment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from costguard.ledger import journal_file, journal_queue, journal_reader
from costguard.ledger.journal_file import SUFFIX, JournalFile
from costguard.ledger.journal_queue import JournalQueue
from tests.ledger.values import entry, hold

COUNT = 6000


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("most_queued", [1, 40])
def test_entries_read_back_while_others_are_appended_come_whole_and_once(
    most_queued: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    quick_switches: None,
) -> None:
    monkeypatch.setattr(journal_queue, "MOST_QUEUED", most_queued)
    monkeypatch.setattr(journal_reader, "_CHUNK", 1)
    queue = JournalQueue(tmp_path, 1 << 30, 10)
    holds = [hold() for _ in range(COUNT)]

    def put() -> None:
        for one in holds:
            queue.put(entry(one, 1), one)

    thread = Thread(target=put)
    thread.start()
    found: list[str] = []
    while thread.is_alive() or queue.entries:
        taken = queue.take(10)
        found += [one.call_id for one, *_ in taken]
        queue.done(taken)
    thread.join()
    assert found == [one.call.id for one in holds]
    assert (queue.entries, queue.bytes) == (0, 0)
    assert not caplog.records
    queue.close(whole=True)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_back_is_reported_and_its_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_queue, "MOST_QUEUED", 1)
    queue = JournalQueue(tmp_path, 1 << 30, 10)
    ends = []
    for _ in range(9):
        one = hold()
        place = queue.put(entry(one, 1), one)
        assert place is not None
        ends.append(place[1])
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.seek(ends[4] + 100)
        file.write(b"no entry looks like this")
    found = 0
    while queue.entries:
        taken = queue.take(10)
        found += len(taken)
        queue.done(taken)
    assert found == 8
    assert "the file was damaged" in caplog.text
    queue.close(whole=True)
    assert [left.name for left in tmp_path.iterdir()] == [f"{path.name}.damaged"]


def test_a_file_that_is_removed_while_it_is_taken_over_closes_no_descriptor_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = JournalFile.create(tmp_path)
    path = file.path
    file.close()
    lock, close = journal_file._lock, os.close
    opened: list[int] = []

    def removed_meanwhile(fd: int) -> None:
        # As by a process that had taken it over before, and has written all of it just now.
        lock(fd)
        path.unlink()

    def taken_at_once(fd: int) -> None:
        # As by another thread, which opens a file as soon as there is a number for it.
        close(fd)
        opened.append(os.open(tmp_path, os.O_RDONLY))

    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "_lock", removed_meanwhile)
        patch.setattr(os, "close", taken_at_once)
        assert JournalFile.adopt(path) is None
    assert path.suffix == SUFFIX
    assert len(opened) == 1
    for fd in opened:
        os.fstat(fd)
        os.close(fd)
