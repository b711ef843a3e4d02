"""Many threads and processes on one ledger: never over the limit, every entry once, the books exact."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from tests.ledger.values import CENT, NOW, SECOND, entry, hold, limit
from tests.ledger.worker import spend

ROOT = Path(__file__).parents[2]


def start(url: str, what: str, count: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.worker", url, what, str(count)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def go(workers: list[subprocess.Popen[str]]) -> list[str]:
    """Let them all begin, and wait for what they print."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = []
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert worker.returncode == 0, err
        answers.append(out.strip())
    return answers


def assert_books_are_exact(ledger: Ledger, spent: int) -> None:
    entries = ledger.entries({}, limit=10_000)
    assert len({entry.call_id for entry in entries}) == len(entries)
    assert sum(entry.nanos or 0 for entry in entries) == spent
    assert ledger.spent({}) == spent
    assert ledger.balances([limit(), limit("$5/month")]) == [(spent, 0), (spent, 0)]


def test_fifty_threads_spend_exactly_the_budget(ledger: Ledger) -> None:
    begin = Barrier(50)

    def call(_: int) -> bool:
        begin.wait(timeout=30)
        return spend(ledger)

    with ThreadPoolExecutor(50) as pool:
        allowed = sum(pool.map(call, range(50)))
    assert allowed == 10
    assert_books_are_exact(ledger, 100 * CENT)


def test_fifty_threads_that_settle_the_same_call_record_it_once(ledger: Ledger) -> None:
    one = hold(limit(), limit("$5/month"), cents=60)
    ledger.reserve(one, NOW)
    with ThreadPoolExecutor(50) as pool:
        told = list(pool.map(lambda _: ledger.settle(entry(one, 60), one), range(50)))
    assert len([some for some in told if some is not None]) == 1
    assert_books_are_exact(ledger, 60 * CENT)
    assert ledger.undelivered() == 1


def test_parcels_claimed_by_many_threads_go_to_one_each(ledger: Ledger) -> None:
    for cents in (50, 30, 20):
        one = hold(cents=cents)
        ledger.settle(entry(one, cents), one)
    with ThreadPoolExecutor(20) as pool:
        lots = list(pool.map(lambda _: ledger.claim(NOW, lease_ns=SECOND), range(20)))
    claimed = [parcel.key for lot in lots for parcel in lot]
    assert len(claimed) == len(set(claimed)) == 3


def test_four_processes_of_25_calls_spend_exactly_the_budget(shared_url: str) -> None:
    open_ledger(shared_url).close()
    answers = go([start(shared_url, "spend", 25) for _ in range(4)])
    assert sum(map(int, answers)) == 10
    assert_books_are_exact(open_ledger(shared_url), 100 * CENT)


def test_four_processes_of_25_threads_spend_exactly_the_budget(shared_url: str) -> None:
    open_ledger(shared_url).close()
    answers = go([start(shared_url, "threads", 25) for _ in range(4)])
    assert sum(map(int, answers)) == 10
    assert_books_are_exact(open_ledger(shared_url), 100 * CENT)


def test_processes_that_open_a_new_file_at_once_all_find_it_usable(shared_url: str) -> None:
    assert go([start(shared_url, "spend") for _ in range(4)]) == ["1"] * 4


def test_the_hold_of_a_killed_process_is_charged_by_another(shared_url: str) -> None:
    open_ledger(shared_url).close()
    worker = start(shared_url, "die")
    out, _ = worker.communicate(timeout=30)
    assert worker.returncode == -9
    ledger = open_ledger(shared_url)
    assert ledger.balances([limit()]) == [(0, 30 * CENT)]
    refusal = ledger.reserve(hold(limit(), cents=80), NOW + 61 * SECOND)
    assert refusal is not None
    assert (refusal.spent, refusal.held) == (30 * CENT, 0)
    (lost,) = ledger.entries({"user": "alice"})
    assert (lost.call_id, lost.status) == (out.strip(), "lost")
    assert_books_are_exact(ledger, 30 * CENT)


def test_spending_survives_a_restart(shared_url: str) -> None:
    open_ledger(shared_url).close()
    assert go([start(shared_url, "spend", 7)]) == ["7"]
    assert go([start(shared_url, "spend", 7)]) == ["3"]
    assert_books_are_exact(open_ledger(shared_url), 100 * CENT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_forked_while_threads_write_share_the_budget(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    stop = Event()
    free = limit("$1000/ever")
    done: list[int] = []

    def write() -> None:
        count = 0
        while not stop.is_set():
            one = hold(free, cents=1)
            assert ledger.reserve(one, NOW) is None
            assert ledger.settle(entry(one, 1), one) is not None
            ledger.spent({"user": "nobody"})
            count += 1
        done.append(count)

    writers = [Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            # A child has the parent's ledger object; it must not have its connection.
            try:
                good = sum(spend(ledger) for _ in range(25))
                ledger.spent({})
                os._exit(good)
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(99)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    stop.set()
    for writer in writers:
        writer.join(timeout=30)
    assert sum(codes) == 10
    assert len(done) == 3
    assert ledger.balances([limit(), limit("$5/month"), free]) == [
        (100 * CENT, 0), (100 * CENT, 0), (sum(done) * CENT, 0),
    ]  # fmt: skip
    assert ledger.spent({}) == (100 + sum(done)) * CENT
