"""A journal on a disk that is full: real ones, and the limit of this process on the size of a file."""

from __future__ import annotations

import logging
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from costguard.ledger import journal
from costguard.ledger.journal import JournalLedger
from costguard.ledger.opening import open_ledger
from tests.ledger.journals import eventually, ids, locked, settled
from tests.ledger.stores import new_url
from tests.ledger.values import CENT, limit

TENTH = 0.1


class Disk:
    """A place for a journal, which `fill` leaves no room in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        raise NotImplementedError

    def free(self) -> None:
        raise NotImplementedError


class SmallDisk(Disk):
    def fill(self) -> None:
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            for size in (4096, 1):
                try:
                    while True:
                        ballast.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        (self.folder / "ballast").unlink()


class SmallFiles(Disk):
    """Python ignores SIGXFSZ, so that such a write fails with EFBIG, after a short one."""

    def fill(self) -> None:
        largest = max([file.stat().st_size for file in self.folder.rglob("*.journal")], default=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def free(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def mount(folder: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@cache
def kinds() -> tuple[type[Disk], ...]:
    """Where nobody but root may mount, the limit on files stands for both."""
    with tempfile.TemporaryDirectory() as folder:
        if not mount(folder):
            return (SmallFiles,)
        subprocess.run(["umount", folder], check=True)
        return SmallFiles, SmallDisk


@pytest.fixture(params=kinds())
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param is SmallDisk:
        assert mount(str(folder))
    disk: Disk = request.param(folder)
    yield disk
    if request.param is SmallDisk:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    else:
        disk.free()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that could not be written is tried again at once."""
    monkeypatch.setattr(journal, "_REST", 0.01)


def test_on_a_full_disk_calls_are_settled_in_the_store(
    disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Of a server: the limit on files is one of this process.
    ledger = JournalLedger(store := open_ledger(new_url("postgres", tmp_path)), disk.folder / "journal", every=1000.0)
    holds = settled(ledger, 5, TENTH)
    disk.fill()
    holds += settled(ledger, 60, TENTH)
    disk.free()
    assert store.spent({}) > 0
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert 'journal="/path"' in error.getMessage()
    time.sleep(0.02)
    holds += settled(ledger, 5, TENTH)
    assert "takes entries again" in caplog.text
    assert ledger.spent({}) == 7 * CENT
    assert ids(ledger.entries({})) == {held.call.id for held in holds}
    assert ledger.balances([limit()]) == [(7 * CENT, 0)]
    ledger.close()


def test_what_a_short_write_left_is_undone_and_the_file_can_be_replayed(disk: Disk, tmp_path: Path) -> None:
    ledger = JournalLedger(store := open_ledger(new_url("postgres", tmp_path)), disk.folder / "journal", every=1000.0)
    settled(ledger, 5, TENTH)
    disk.fill()
    for _ in range(20):
        settled(ledger, 1, TENTH)
        time.sleep(0.001)
    disk.free()
    (file,) = (disk.folder / "journal").iterdir()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / file.name).write_bytes(file.read_bytes())
    other = JournalLedger(store, copy)
    other.open()
    assert store.spent({}) == 25 * CENT // 10
    assert not list(copy.iterdir())
    ledger.close()


def test_with_the_store_down_as_well_entries_are_kept_and_logged_whole(
    disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_url("sqlite", tmp_path)
    ledger = JournalLedger(open_ledger(f"{url}?patience=0.02"), disk.folder / "journal")
    ledger.open()
    with locked(url):
        disk.fill()
        holds = settled(ledger, 40, TENTH)
        logged = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
        assert len(logged) > 30
        assert all(any(held.call.id in text for text in logged) for held in holds[-30:])
        disk.free()
    eventually(lambda: ledger.waiting[0] == 0)
    assert ids(ledger.entries({})) == {held.call.id for held in holds}
    assert ledger.balances([limit()]) == [(4 * CENT, 0)]
    ledger.close()


def test_a_disk_that_is_full_of_its_own_entries_is_used_again_when_they_are_written(disk: Disk, tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    ledger = JournalLedger(open_ledger(f"{url}?patience=0.02"), disk.folder / "journal")
    ledger.open()
    with locked(url):
        settled(ledger, 3, TENTH)
        disk.fill()
        settled(ledger, 10, TENTH)
    if isinstance(disk, SmallFiles):
        # This is a limit on the database as well.
        disk.free()
    eventually(lambda: ledger.waiting[0] == 0)
    eventually(lambda: bool(settled(ledger, 1, TENTH)) and ledger.waiting[0] > 0)
    eventually(lambda: ledger.waiting[0] == 0)
    ledger.close()
