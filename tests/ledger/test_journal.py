"""The ledger over a journal: calls wait for a file, the store gets batches, and reads see what was settled."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import ref

import pytest

from costguard.errors import ConfigError
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import LEASE, Lease
from costguard.ledger.journal import JournalLedger
from costguard.ledger.journal_place import journal_directory
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.wrapper import Wrapper
from tests.ledger.journals import eventually, ids, impatient, settled
from tests.ledger.values import CENT, NOW, SECOND, entry, hold, limit

NEVER = 1000.0
Settlements = Sequence[tuple[Entry, Hold | None]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(shared_url: str, directory: Path) -> Iterator[JournalLedger]:
    ledger = JournalLedger(open_ledger(shared_url), directory)
    ledger.open()
    yield ledger
    ledger.close()


def test_what_was_settled_reaches_the_store_by_itself(journal: JournalLedger, shared_url: str) -> None:
    settled(journal, 700)
    other = open_ledger(shared_url)
    eventually(lambda: other.spent({}) == 700 * CENT)
    eventually(lambda: journal.waiting == (0, 0))
    assert other.balances([limit()]) == [(700 * CENT, 0)]


def test_reads_see_what_this_process_settled(shared_url: str, directory: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), directory, every=NEVER)
    held = hold()
    assert ledger.reserve(held, NOW) is None
    assert ledger.settle(entry(held, 3), held) == ()
    assert ledger.waiting[0] == 1
    assert ledger.balances([limit()]) == [(3 * CENT, 0)]
    assert ledger.waiting == (0, 0)
    settled(ledger, 1)
    assert ledger.spent({}) == 4 * CENT
    settled(ledger, 1)
    assert len(ledger.entries({})) == 3
    settled(ledger, 1)
    (total,) = ledger.sums([], {})
    assert (total.calls, total.cost) == (4, 6 * CENT)
    settled(ledger, 96)
    refusal = ledger.reached([limit()])
    assert refusal is not None
    assert refusal.spent == 102 * CENT
    ledger.close()


def test_a_hold_is_not_refused_for_money_that_a_settled_call_has_given_back(shared_url: str, directory: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), directory, every=NEVER)
    held = hold(cents=90)
    assert ledger.reserve(held, NOW) is None
    ledger.settle(entry(held, 10), held)
    assert ledger.reserve(hold(cents=80), NOW) is None
    ledger.close()


def test_a_call_settled_twice_counts_once(journal: JournalLedger, shared_url: str, tmp_path: Path) -> None:
    (held,) = settled(journal, 1)
    assert journal.settle(entry(held, 5), held) is None
    # Another process does not know it, and the store does.
    other = JournalLedger(open_ledger(shared_url), tmp_path / "other")
    assert journal.spent({}) == CENT
    assert other.settle(entry(held, 5), held) == ()
    assert other.spent({}) == CENT
    other.close()


def test_a_pending_entry_and_its_end_in_one_batch_leave_the_end(shared_url: str, directory: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), directory, every=NEVER)
    held = hold()
    assert ledger.settle(entry(held, 9, status="pending"), held) == ()
    assert ledger.settle(entry(held, 2), held) == ()
    assert ledger.settle(entry(held, 2), held) is None
    (one,) = ledger.entries({})
    assert (one.status, one.nanos) == ("ok", 2 * CENT)
    assert ledger.balances([limit()]) == [(2 * CENT, 0)]
    ledger.close()


def test_crossings_are_in_the_outbox_with_their_batch_and_told(shared_url: str, directory: Path) -> None:
    told = threading.Event()
    ledger = JournalLedger(open_ledger(shared_url), directory, told=told.set)
    settled(ledger, 1)
    assert ledger.flush(10) == 0
    assert not told.is_set()
    settled(ledger, 1, cents=60)
    assert told.wait(20)
    (parcel,) = ledger.claim(NOW, lease_ns=SECOND)
    assert parcel.payload["fraction"] == "0.5"
    ledger.close()


def test_calls_held_out_of_leases_are_drawn_from_them(shared_url: str, directory: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), directory, every=NEVER)
    leases = []
    limits = (limit(), limit("$5/month"))
    for one in limits:
        call = hold(one).call
        call.provider, call.model, call.operation = LEASE[0], LEASE[1], LEASE[1]
        lease = Lease(call, (one,), 50 * CENT, NOW + 600 * SECOND)
        assert ledger.reserve(lease, NOW) is None
        leases.append(lease)
    for _ in range(3):
        held = hold(*limits)
        held.leases = tuple([lease.call.id for lease in leases])
        assert ledger.settle(entry(held, 7), held) == ()
    # The draws go before it: their money never looks free.
    assert ledger.release(leases[0])
    assert ledger.waiting == (0, 0)
    assert ledger.balances(limits) == [(21 * CENT, 0), (21 * CENT, 29 * CENT)]
    ledger.close()


def test_an_entry_that_no_store_takes_is_set_aside_and_keeps_back_no_other(
    journal: JournalLedger, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holds = [hold() for _ in range(5)]
    bad = entry(holds[2], 1)
    bad.call_id = "not-a-uuid-but-of-the-same-length-36"
    for held in holds:
        journal.settle(bad if held is holds[2] else entry(held, 1), held)
    assert journal.flush(10) == 0
    assert ids(journal.entries({})) == {held.call.id for held in holds if held is not holds[2]}
    (aside,) = directory.glob("*.rejected")
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert bad.call_id in record.getMessage()
    assert aside.name in record.getMessage()


def test_an_entry_that_cannot_be_written_down_gets_the_answer_of_the_store(journal: JournalLedger) -> None:
    held = hold()
    bad = entry(held, 1)
    bad.call_id = "17"
    with pytest.raises(ConfigError, match="is not a UUID"):
        journal.settle(bad, held)


@pytest.mark.parametrize("fsync", [False, True])
def test_threads_that_settle_at_once_lose_nothing(shared_url: str, directory: Path, fsync: bool) -> None:
    journal = JournalLedger(open_ledger(shared_url), directory, fsync=fsync)
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda _: settled(journal, 50), range(20)))
    assert journal.spent({}) == 1000 * CENT
    assert ids(journal.entries({}, limit=5000)) == {held.call.id for holds in done for held in holds}
    journal.close()


def test_a_finalizer_that_settles_in_the_middle_of_a_settle_loses_nothing(directory: Path) -> None:
    ledger = JournalLedger(MemoryLedger(), directory, every=0.001, batch=10)

    class Stream:
        def __init__(self) -> None:
            self.me = self
            self.held = hold()

        def __del__(self) -> None:
            ledger.settle(entry(self.held, 1), self.held)

    before = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(500):
            Stream()
            settled(ledger, 1)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert ledger.spent({}) == 1000 * CENT
    ledger.close()


def test_what_calls_settle_while_it_is_being_closed_still_reaches_the_store(directory: Path) -> None:
    class Busy(Wrapper):
        """While it writes one batch, another call ends."""

        def settle_all(self, settlements: Settlements) -> list[tuple[Crossing, ...] | None]:
            if len(settlements) == 3:
                settled(ledger, 1)
            return self.inner.settle_all(settlements)

    store = MemoryLedger()
    ledger = JournalLedger(Busy(store), directory, every=NEVER)
    settled(ledger, 3)
    ledger.close()
    # A lease that it was drawn from would go back now, and others would spend it again.
    assert ledger.flush(30) == 0
    assert store.spent({}) == 4 * CENT
    ledger.close()
    assert list(directory.iterdir()) == []


def test_a_ledger_that_nobody_has_any_more_ends_its_thread(directory: Path) -> None:
    ledger = JournalLedger(MemoryLedger(), directory, every=0.001)
    settled(ledger, 1)
    thread, gone = ledger._writer.thread, ref(ledger)
    assert thread is not None
    del ledger
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()
    assert gone() is None


def test_where_the_journal_of_a_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert journal_directory("sqlite:////srv/app/costs.db?synchronous=FULL") == Path("/srv/app/costs.db.journal.d")
    assert journal_directory("sqlite:///costs.db") == Path.cwd() / "costs.db.journal.d"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = journal_directory("postgresql://me:secret@db:5433/costs?pool_size=3")
    assert place.parent == tmp_path / "costguard"
    assert place == journal_directory("postgres://me:changed@db:5433/costs")
    assert place == journal_directory("postgresql+psycopg://me@db:5433/costs?patience=1")
    assert place != journal_directory("postgresql://me@db:5433/other")
    assert place != journal_directory("postgresql://me@db:5433/costs?host=/run/postgresql")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert journal_directory("postgresql://db/costs").parent == tmp_path / ".local" / "state" / "costguard"


def test_the_directory_is_for_this_user_alone(url: str, tmp_path: Path) -> None:
    ledger = impatient(url, tmp_path / "deep" / "journal")
    assert os.stat(tmp_path / "deep" / "journal").st_mode & 0o777 == 0o700
    ledger.close()


def test_a_directory_that_cannot_be_made_says_how_to_give_another(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(ConfigError, match='journal="/path"'):
        impatient(url, tmp_path / "file" / "journal")
