"""Many settlements in one transaction, from several processes and threads at once, on stores that they share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import UUID, uuid5

import pytest

from costguard.errors import ConfigError
from costguard.events import Entry, Hold
from costguard.ledger.audit import audit
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from tests.ledger.postgres import server
from tests.ledger.rows import drawing, lease
from tests.ledger.test_concurrency import go
from tests.ledger.values import CENT, NOW, SECOND, entry, hold, limit

ROOT = Path(__file__).parents[2]
SERIES = UUID("0192f0f2-7c00-7000-8000-000000000000")
DAY, MONTH = "$5000/day per user", "$9000/month"


@pytest.fixture
def ledger(shared_url: str) -> Iterator[Ledger]:
    ledger = open_ledger(shared_url)
    yield ledger
    ledger.close()


def lot(count: int, name: str = "lot") -> list[tuple[Entry, Hold | None]]:
    """The same calls for whoever asks: as a journal has them that two processes read."""
    made: list[tuple[Entry, Hold | None]] = []
    for number in range(count):
        one = hold(limit(DAY), limit(MONTH), cents=5)
        one.call.id = str(uuid5(SERIES, f"{name}/{number}"))
        made.append((entry(one, 3), one))
    return made


def start(url: str, *, backwards: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.test_batches", url, "backwards" if backwards else "forwards"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def replay(url: str, direction: str) -> None:
    ledger = open_ledger(url)
    sys.stdin.readline()
    settled = 0
    for number in range(2):
        some = lot(200, str(number))
        answers = ledger.settle_all(some[::-1] if direction == "backwards" else some)
        settled += sum(answer is not None for answer in answers)
    print(settled)


def test_two_processes_that_replay_the_same_entries_record_each_once(shared_url: str) -> None:
    open_ledger(shared_url).close()
    answers = go([start(shared_url, backwards=place > 0) for place in range(2)])
    assert sum(map(int, answers)) == 400
    ledger = open_ledger(shared_url)
    assert ledger.balances([limit(DAY), limit(MONTH)]) == [(400 * 3 * CENT, 0)] * 2
    assert ledger.sums([], {})[0].calls == 400
    assert audit(ledger, now_ns=NOW).differences == []
    ledger.close()


def test_a_lot_of_which_one_entry_cannot_be_recorded_changes_nothing(ledger: Ledger) -> None:
    good, bad = hold(cents=30), hold(cents=30)
    ledger.reserve(good, NOW)
    bad.call.id = "not a uuid"
    with pytest.raises(ConfigError, match="not a uuid"):
        ledger.settle_all([(entry(good, 30), good), (entry(bad, 30), bad)])
    assert ledger.balances(good.limits) == [(0, 30 * CENT)]
    assert ledger.entries({}) == []


def test_whoever_touches_the_same_rows_in_another_order_waits_and_nobody_fails(ledger: Ledger) -> None:
    """Lots forwards and backwards, the verbs of single calls, expiry and release: locks have one order."""
    day, month = limit(DAY), limit(MONTH)
    ends = [lease(day, 200_000 * CENT, seconds=1), lease(month, 200_000 * CENT, seconds=1)]
    taken = [lease(day, 90_000 * CENT), lease(month, 90_000 * CENT)]
    for row in (*ends, *taken):
        assert ledger.reserve(row, NOW) is None
    held = [hold(day, month, cents=5, seconds=1) for _ in range(40)]
    for one in held:
        assert ledger.reserve(one, NOW) is None
    calls = [drawing(*(ends if number % 2 else taken), cents=5) for number in range(120)]
    everything: list[tuple[Entry, Hold | None]] = [(entry(one, 3), one) for one in held + calls]
    begin = Barrier(6)

    def work(place: int) -> None:
        begin.wait(timeout=30)
        if place < 2:
            ledger.settle_all(everything[:: 1 if place else -1])
        elif place == 2:
            ledger.expire(NOW + 5 * SECOND)
            ledger.extend([row.call.id for row in reversed(taken)], NOW + 90 * SECOND)
        elif place == 3:
            for one in held[::-1]:
                ledger.settle(entry(one, 3), one)
        elif place == 4:
            for one in calls[::-1]:
                ledger.settle(entry(one, 3), one)
        else:
            for _ in range(20):
                one = hold(month, day, cents=5)
                assert ledger.reserve(one, NOW) is None
                assert ledger.release(one)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    for row in (*ends, *taken):
        ledger.release(row)
    assert ledger.balances([day, month]) == [(160 * 3 * CENT, 0)] * 2
    assert audit(ledger, now_ns=NOW).differences == []


def test_the_server_saw_no_deadlock_while_lots_crossed() -> None:
    url = server().database()
    ledger = open_ledger(url)
    day, month = limit(DAY), limit(MONTH)
    some = lot(300)
    begin = Barrier(4)

    def work(place: int) -> int:
        begin.wait(timeout=30)
        answers = ledger.settle_all(some if place % 2 else some[::-1])
        return sum(answer is not None for answer in answers)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 300
    assert ledger.balances([day, month]) == [(900 * CENT, 0)] * 2
    with server().connect(url) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row == (0,)
    ledger.close()


if __name__ == "__main__":
    replay(*sys.argv[1:])
