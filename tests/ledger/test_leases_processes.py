"""Workers with leases on one store: none refused wrongly, none over, whatever dies or stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from costguard.errors import StoreUnavailable
from costguard.ledger.base import LEASE, Ledger
from costguard.ledger.opening import open_ledger
from tests.ledger.lease_worker import SHARED, TIGHT, WIDE, limits
from tests.ledger.stores import new_url
from tests.ledger.values import CENT, SECOND

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
DEADLINE = 90.0
LIFETIME = 1.5


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url(request.param, tmp_path)


def start(url: str, what: str, *more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.lease_worker", url, what, *map(str, more)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def until_it_says(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.strip() == word:
            return
    raise AssertionError(worker.communicate()[1])


def answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = worker.communicate(timeout=DEADLINE)
    assert worker.returncode == 0, err
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


def charged_leases(ledger: Ledger) -> int:
    return sum(
        line.nanos or 0 for line in ledger.entries({}, limit=100_000) if (line.provider, line.operation) == LEASE
    )


@pytest.mark.parametrize(("what", "workers", "count"), [("spend", 8, 50), ("threads", 2, 200)])
def test_workers_spend_exactly_the_budget_and_none_is_refused_while_money_is_left(
    url: str, what: str, workers: int, count: int
) -> None:
    running = [start(url, what, count) for _ in range(workers)]
    for worker in running:
        go(worker)
    said = [answer(worker) for worker in running]
    assert sum(one["allowed"] for one in said) == 10
    assert sum(one["busy"] for one in said) == 0
    assert sum(one["exceeded"] for one in said) == workers * count - 10
    ledger = open_ledger(url)
    assert ledger.balances(limits(TIGHT, WIDE)) == [(100 * CENT, 0)] * 2
    assert ledger.spent({}) == 100 * CENT
    ledger.close()


def test_one_worker_killed_and_one_stopped_past_its_leases_cost_no_more_than_the_limit(url: str) -> None:
    workers = [start(url, "small", 0, LIFETIME) for _ in range(4)]
    for worker in workers:
        until_it_says(worker, "ready")
    for worker in workers:
        go(worker)
    for worker in workers:
        until_it_says(worker, "spending")
    killed, stopped, *others = workers
    ledger = open_ledger(f"{url}{'&' if '?' in url else '?'}patience=1")
    killed.kill()
    stopped.send_signal(signal.SIGSTOP)
    for worker in (stopped, *others):
        go(worker)
    since = time.monotonic()
    (shared,) = limits(SHARED)
    # Nobody but those who look, the others and this test, until the leases of both have ended and are charged.
    while time.monotonic() < since + 2 * LIFETIME or charged_leases(ledger) < 2:
        assert time.monotonic() < since + DEADLINE
        try:
            ledger.expire(time.time_ns())
        except StoreUnavailable:
            # Stopped in a transaction it keeps everybody out, as in any database: not what this is about.
            stopped.send_signal(signal.SIGCONT)
            stopped.send_signal(signal.SIGSTOP)
            since = time.monotonic()
        time.sleep(0.05)
    stopped.send_signal(signal.SIGCONT)
    said = [answer(worker) for worker in (stopped, *others)]
    killed.communicate(timeout=DEADLINE)
    assert [one["overshoot"] for one in said] == [0, 0, 0]
    ledger.expire(time.time_ns() + 100 * SECOND)
    ((spent, held),) = ledger.balances([shared])
    assert held == 0
    assert spent == sum(one.cost for one in ledger.sums(["operation"], {}))
    assert spent <= shared.most
    assert spent >= shared.most - 2 * CENT // 100
    ledger.close()
