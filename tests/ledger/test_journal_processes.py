"""A journal over fork, and at the end of a process."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from costguard.ledger.journal import JournalLedger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from tests.ledger.journals import eventually, impatient, locked, settled
from tests.ledger.values import CENT, limit

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def in_child(work: object) -> int:
    """Fork, do it, and end without a word to anybody; the exit code."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(int(work()))  # type: ignore[operator]
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@forks
def test_a_child_has_a_file_of_its_own_and_leaves_its_parents_alone(shared_url: str, tmp_path: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), tmp_path / "journal", every=1000.0)
    ledger.open()
    settled(ledger, 3)
    (parents,) = (tmp_path / "journal").iterdir()
    before = parents.read_bytes()

    def work() -> int:
        # What waits is the parent's: the child's own entries are all that it writes.
        if ledger.waiting != (0, 0):
            return 1
        settled(ledger, 4)
        if len(list((tmp_path / "journal").iterdir())) != 2:
            return 2
        return 0 if ledger.flush(10) == 0 else 3

    assert in_child(work) == 0
    assert parents.read_bytes() == before
    assert open_ledger(shared_url).spent({}) == 4 * CENT
    # Nobody took the parent's file for an orphan, as its child ended.
    other = JournalLedger(open_ledger(shared_url), tmp_path / "journal")
    other.open()
    assert other.spent({}) == 4 * CENT
    assert parents.exists()
    settled(ledger, 1)
    assert ledger.spent({}) == 8 * CENT
    ledger.close()
    other.close()
    assert not list((tmp_path / "journal").iterdir())


@forks
def test_a_child_that_ends_without_a_word_leaves_a_file_that_is_replayed(shared_url: str, tmp_path: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), tmp_path / "journal", every=1000.0)
    settled(ledger, 1)
    assert in_child(lambda: bool(settled(ledger, 5)) - 1) == 0
    assert len(list((tmp_path / "journal").iterdir())) == 2
    following = JournalLedger(open_ledger(shared_url), tmp_path / "journal")
    following.open()
    assert following.spent({}) == 5 * CENT
    assert ledger.spent({}) == 6 * CENT
    ledger.close()
    following.close()


@forks
def test_a_child_that_is_forked_while_threads_settle_can_settle(shared_url: str, tmp_path: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), tmp_path / "journal", every=0.001)
    stop = threading.Event()
    counts: list[int] = []

    def write() -> None:
        count = 0
        while not stop.is_set():
            settled(ledger, 1)
            count += 1
        counts.append(count)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    codes = [in_child(lambda: 0 if settled(ledger, 20) and ledger.flush(20) == 0 else 1) for _ in range(4)]
    stop.set()
    for writer in writers:
        writer.join(20)
    assert codes == [0] * 4
    assert ledger.spent({}) == (sum(counts) + 80) * CENT
    assert ledger.balances([limit()]) == [((sum(counts) + 80) * CENT, 0)]
    ledger.close()


@forks
def test_a_multiprocessing_child_writes_what_it_has_before_it_ends(shared_url: str, tmp_path: Path) -> None:
    ledger = JournalLedger(open_ledger(shared_url), tmp_path / "journal", every=1000.0)
    settled(ledger, 1)
    child = multiprocessing.get_context("fork").Process(target=settled, args=(ledger, 5))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert open_ledger(shared_url).spent({}) == 5 * CENT
    assert len(list((tmp_path / "journal").iterdir())) == 1
    ledger.close()


def test_a_process_that_ends_writes_what_it_has_first(shared_url: str, tmp_path: Path) -> None:
    open_ledger(shared_url).close()
    text = (
        "import sys\nfrom pathlib import Path\n"
        "from costguard.ledger.journal import JournalLedger\nfrom costguard.ledger.opening import open_ledger\n"
        "from tests.ledger.journals import settled\n"
        "ledger = JournalLedger(open_ledger(sys.argv[1]), Path(sys.argv[2]), every=1000.0)\nsettled(ledger, 5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text, shared_url, str(tmp_path / "journal")],
        cwd=ROOT, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert open_ledger(shared_url).spent({}) == 5 * CENT
    assert not list((tmp_path / "journal").iterdir())


def test_two_ledgers_of_one_process_share_a_directory(url: str, tmp_path: Path) -> None:
    one, two = (impatient(url, tmp_path / "journal") for _ in range(2))
    with locked(url):
        settled(one, 3)
        settled(two, 4)
        third = JournalLedger(MemoryLedger(), tmp_path / "journal")
        third.open()
        assert third.spent({}) == 0
        assert len(list((tmp_path / "journal").iterdir())) == 2
    eventually(lambda: one.waiting == two.waiting == (0, 0))
    assert one.spent({}) == 7 * CENT
    one.close()
    two.close()
    assert not list((tmp_path / "journal").iterdir())
