"""Processes with a journal are killed at any moment: what `settle` returned for is in the store once."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

import pytest

from costguard.ledger.journal import JournalLedger
from costguard.ledger.opening import open_ledger
from tests.ledger.journal_worker import LATER, LIMITS
from tests.ledger.stores import new_url

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def start(url: str, directory: Path, *words: str, stdout: IO[bytes] | int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.journal_worker", url, str(directory), *words],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE,
    )  # fmt: skip


def killed_after(url: str, directory: Path, what: str, counts: list[int], said: Path) -> list[str]:
    """Workers that are killed once they have acknowledged so many calls each; the ids of all these calls."""
    workers = []
    for number, count in enumerate(counts):
        with (said / f"{number}").open("wb") as output:
            workers.append((start(url, directory, what, stdout=output), said / f"{number}", count))
    deadline = time.monotonic() + 60
    while workers and time.monotonic() < deadline:
        for worker, file, count in tuple(workers):
            if file.stat().st_size >= count * 37:
                worker.kill()
                _, errors = worker.communicate(timeout=60)
                assert worker.returncode == -9, errors.decode()
                workers.remove((worker, file, count))
        time.sleep(0.001)
    assert not workers, "they settle too slowly"
    texts = [(said / f"{number}").read_bytes() for number in range(len(counts))]
    return [line for text in texts for line in text[: text.rfind(b"\n")].decode().split("\n")]


def assert_all_is_there(url: str, directory: Path, acknowledged: list[str], more: int) -> None:
    """Every acknowledged call once, at most `more` others, and the balances are what the rows add up to."""
    ledger = JournalLedger(open_ledger(url), directory)
    ledger.open()
    deadline = time.monotonic() + 60
    while any(directory.glob("*.journal")) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [path.name for path in directory.iterdir() if path.suffix != ".lock"]
    assert not any(name.endswith(".journal") for name in left), left
    assert ledger.flush(60) == 0
    ledger.expire(LATER)
    entries = ledger.entries({}, limit=10**6)
    recorded = Counter(entry.call_id for entry in entries)
    assert set(recorded.values()) <= {1}
    missing = [place for place, call_id in enumerate(acknowledged) if call_id not in recorded]
    assert not missing, f"{len(missing)} of {len(acknowledged)}, from {missing[0]} to {missing[-1]}; files: {left}"
    answered = [entry for entry in entries if entry.status == "ok"]
    assert len(answered) <= len(acknowledged) + more
    spent = sum(entry.nanos or 0 for entry in entries)
    assert ledger.balances(LIMITS) == [(spent, 0), (spent, 0)]
    assert ledger.spent({}) == spent
    assert not list(directory.glob("*"))
    ledger.close()
    assert not list(directory.glob("*"))


@pytest.mark.parametrize(
    ("store", "what", "rounds"), [("sqlite", "settle", 5), ("postgres", "settle", 3), ("sqlite", "sync", 2)]
)
def test_what_was_settled_before_a_kill_is_recorded_once(store: str, what: str, rounds: int, tmp_path: Path) -> None:
    url, directory = new_url(store, tmp_path), tmp_path / "journal"
    open_ledger(url).close()
    chance = random.Random(7)
    acknowledged: list[str] = []
    for _ in range(rounds):
        # They replay what the ones before left, while they write themselves, and are killed at that too.
        counts = [chance.randrange(1, 2000 if what == "settle" else 200) for _ in range(2)]
        acknowledged += killed_after(url, directory, what, counts, tmp_path)
    assert len(acknowledged) > rounds * 2
    assert_all_is_there(url, directory, acknowledged, more=2 * rounds)


def left_behind(url: str, directory: Path, count: int) -> list[str]:
    worker = start(url, directory, "leave", str(count))
    out, errors = worker.communicate(timeout=60)
    assert worker.returncode == -9, errors.decode()
    return out.decode().split()


def go(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors.decode()


def test_an_orphan_that_several_processes_find_is_replayed_once(shared_url: str, tmp_path: Path) -> None:
    open_ledger(shared_url).close()
    directory = tmp_path / "journal"
    ids = left_behind(shared_url, directory, 1500)
    assert list(directory.iterdir())
    assert open_ledger(shared_url).spent({}) == 0
    go([start(shared_url, directory, "replay") for _ in range(3)])
    assert_all_is_there(shared_url, directory, ids, more=0)


def test_copies_of_an_orphan_replayed_at_once_count_once(shared_url: str, tmp_path: Path) -> None:
    open_ledger(shared_url).close()
    one, two = tmp_path / "one", tmp_path / "two"
    ids = left_behind(shared_url, one, 1500)
    # No lock is between them: only the ids of the calls.
    shutil.copytree(one, two)
    go([start(shared_url, one, "replay"), start(shared_url, two, "replay")])
    assert_all_is_there(shared_url, one, ids, more=0)


def test_a_replay_that_is_killed_is_gone_on_with_by_the_next(shared_url: str, tmp_path: Path) -> None:
    open_ledger(shared_url).close()
    directory = tmp_path / "journal"
    ids = left_behind(shared_url, directory, 4000)
    for wait in (0.05, 0.1):
        worker = start(shared_url, directory, "replay")
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
        ledger = open_ledger(shared_url)
        before, deadline = ledger.spent({}), time.monotonic() + 60
        while ledger.spent({}) == before and time.monotonic() < deadline and worker.poll() is None:
            time.sleep(wait / 10)
        worker.kill()
        worker.communicate(timeout=60)
    assert_all_is_there(shared_url, directory, ids, more=0)
