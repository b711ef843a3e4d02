"""A journal over a store that is down, or slow, and files that are in the way."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from costguard.errors import StoreUnavailable
from costguard.ledger import journal_queue, writer
from costguard.ledger.journal import JournalLedger
from costguard.ledger.journal_file import JournalFile
from costguard.ledger.opening import open_ledger
from costguard.ledger.orphans import Orphans
from tests.ledger.journals import eventually, ids, impatient, locked, settled
from tests.ledger.postgres import server
from tests.ledger.stores import new_url
from tests.ledger.values import CENT, NOW, entry, hold, limit

NEVER = 1000.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_a_store_that_cannot_be_written_is_waited_for(
    url: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = impatient(url, directory)
    settled(ledger, 1)
    assert ledger.flush(10) == 0
    with locked(url):
        settled(ledger, 50)
        assert ledger.flush(0.2) == 50
        settled(ledger, 50)
        assert ledger.waiting[0] == 100
    eventually(lambda: ledger.waiting == (0, 0))
    assert ledger.spent({}) == 101 * CENT
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "100 entries that waited" in caplog.text
    ledger.close()


def test_postgres_stopped_and_started_while_calls_are_settled(directory: Path, tmp_path: Path) -> None:
    url = new_url("postgres", tmp_path)
    ledger = JournalLedger(open_ledger(url), directory)
    ledger.open()
    begun, go_on = threading.Event(), threading.Event()
    go_on.set()
    count = 0

    def settle() -> None:
        nonlocal count
        while go_on.is_set():
            settled(ledger, 1)
            count += 1
            begun.set()
            # At a pace at which what an outage leaves is soon written, however long the server takes to come back.
            time.sleep(0.001)

    thread = threading.Thread(target=settle)
    thread.start()
    assert begun.wait(20)
    server().stop()
    try:
        before = count
        eventually(lambda: count > before + 50)
    finally:
        server().start()
    go_on.clear()
    thread.join(20)
    eventually(lambda: ledger.flush(1) == 0, 60)
    assert ledger.spent({}) == count * CENT
    assert ledger.balances([limit()]) == [(count * CENT, 0)]
    ledger.close()


def test_in_outage_mode_only_what_the_store_cannot_take_goes_by_the_file(
    url: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = impatient(url, directory, mode="outage")
    held = hold()
    (crossing,) = ledger.settle(entry(held, 60), held) or ()
    assert crossing.spent == 60 * CENT
    assert not list(directory.iterdir())
    with locked(url):
        settled(ledger, 20)
        assert len(list(directory.iterdir())) == 1
    eventually(lambda: ledger.waiting == (0, 0))
    (held,) = settled(ledger, 1)
    assert ledger.settle(entry(held, 1), held) is None
    assert ledger.spent({}) == 81 * CENT
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    ledger.close()


def test_what_the_store_cannot_take_until_the_end_is_left_for_the_next_process(url: str, directory: Path) -> None:
    ledger = impatient(url, directory)
    with locked(url), pytest.MonkeyPatch.context() as patch:
        patch.setattr("costguard.ledger.journal.LAST_FLUSH", 0.1)
        settled(ledger, 10)
        ledger.close()
    assert len(list(directory.iterdir())) == 1
    following = impatient(url, directory)
    assert following.spent({}) == 10 * CENT
    assert not list(directory.iterdir())
    # The same object can be used again, too.
    settled(ledger, 1)
    assert ledger.spent({}) == 11 * CENT
    ledger.close()
    following.close()


def test_a_death_between_the_commit_and_the_mark_in_the_file_changes_nothing(
    shared_url: str, directory: Path, tmp_path: Path
) -> None:
    ledger = JournalLedger(open_ledger(shared_url), directory, every=NEVER)
    held = hold()
    assert ledger.reserve(held, NOW) is None
    ledger.settle(entry(held, 60), held)
    settled(ledger, 20)
    (file,) = directory.iterdir()
    unmarked = file.read_bytes()
    assert ledger.flush(20) == 0
    before = ledger.balances([limit()]), ids(ledger.entries({})), ledger.undelivered()
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / file.name).write_bytes(unmarked)
    following = JournalLedger(open_ledger(shared_url), tmp_path / "dead")
    following.open()
    assert not list((tmp_path / "dead").iterdir())
    assert (following.balances([limit()]), ids(following.entries({})), following.undelivered()) == before
    following.close()
    ledger.close()


def test_a_long_queue_is_read_back_from_its_files(url: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_queue, "MOST_QUEUED", 50)
    monkeypatch.setattr(journal_queue, "FILE_BYTES", 20_000)
    ledger = impatient(url, directory)
    with locked(url):
        settled(ledger, 1000)
        assert len(list(directory.iterdir())) > 3
    eventually(lambda: ledger.waiting == (0, 0))
    settled(ledger, 1000)
    assert ledger.spent({}) == 2000 * CENT
    assert ledger.balances([limit()]) == [(2000 * CENT, 0)]
    # What is written is given back, but for the file in use.
    assert len(list(directory.iterdir())) == 1
    ledger.close()
    assert not list(directory.iterdir())


def test_half_full_it_raises_the_alarm_once_and_full_it_refuses_where_the_store_is_down(
    url: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = impatient(url, directory, most_bytes=20_000)
    with locked(url):
        settled(ledger, 1)
        assert ledger.flush(0.05) == 1
        while not ledger._queue.full:
            settled(ledger, 1)
        (alarm,) = [record for record in caplog.records if "of the 20000 bytes" in record.getMessage()]
        assert alarm.levelno == logging.ERROR
        with pytest.raises(StoreUnavailable, match="is full"):
            ledger.reserve(hold(), NOW)
        before = ledger.waiting[0]
        (beyond,) = settled(ledger, 1)
        assert ledger.waiting == (before + 1, ledger.waiting[1])
        (last,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
        assert beyond.call.id in last.getMessage()
    eventually(lambda: ledger.waiting == (0, 0))
    assert ledger.spent({}) == (before + 1) * CENT
    assert ledger.reserve(hold(), NOW) is not None
    ledger.close()


def test_full_with_a_store_that_works_it_settles_in_the_store(shared_url: str, directory: Path) -> None:
    store = open_ledger(shared_url)
    ledger = JournalLedger(store, directory, most_bytes=2000, every=NEVER)
    holds = settled(ledger, 50)
    assert 0 < store.spent({}) < 50 * CENT
    assert ledger.spent({}) == 50 * CENT
    assert ids(ledger.entries({})) == {held.call.id for held in holds}
    ledger.close()


def test_a_file_removed_by_somebody_is_followed_by_another(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "LOOK", 0.01)
    ledger = impatient(url, directory)
    settled(ledger, 1)
    (file,) = directory.iterdir()
    file.unlink()
    eventually(lambda: "was removed while it was in use" in caplog.text)
    settled(ledger, 1)
    assert len(list(directory.iterdir())) == 1
    assert ledger.spent({}) == 2 * CENT
    ledger.close()


def test_a_file_that_is_just_made_is_never_taken_for_an_orphan(directory: Path) -> None:
    directory.mkdir()
    stop = threading.Event()
    taken: list[object] = []

    def look() -> None:
        orphans = Orphans(directory, 10)
        while not stop.is_set():
            orphans.find(set())
            taken.extend(orphans._files)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    files = []
    for _ in range(300):
        file = JournalFile.create(directory)
        assert file.linked
        files.append(file)
    stop.set()
    for looker in lookers:
        looker.join(20)
    assert taken == []
    assert all(file.linked for file in files)
    for file in files:
        file.remove()


def test_a_file_of_another_version_is_left_alone(url: str, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory.mkdir()
    strange = directory / "strange.journal"
    strange.write_bytes(b"costgrd9 what comes after it")
    ledger = impatient(url, directory)
    assert "strange.journal cannot be replayed" in caplog.text
    ledger.close()
    assert strange.exists()
