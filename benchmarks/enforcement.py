"""Fairness: does a writer starve where several share a file? `python -m benchmarks.enforcement [--quick]`.

Two and four processes hold and settle on one budget of one SQLite file, as fast as they can, with a disk sync at every
transaction (`synchronous=FULL`) and without. For each process the calls it got, and how long one verb took. The targets
are for two processes on FULL: a 99th percentile of at most 5 ms, and shares within 2 to 1. With SQLite's own busy
handler one of two such processes can stand still until its timeout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.tables import Column, show
from benchmarks.timing import machine, percentile, save
from costguard.budgets import Budget
from costguard.call import Call
from costguard.events import Entry, Hold
from costguard.ledger.opening import open_ledger

ROOT = Path(__file__).parents[1]
PROCESSES = (2, 4)
SYNCHRONOUS = ("NORMAL", "FULL")
TARGET_MS = 5.0
TARGET_SHARES = 2.0
COST = 100_000

COLUMNS: tuple[Column, ...] = (
    ("synchronous", "synchronous"),
    ("processes", "processes"),
    ("calls/s", "per_second"),
    ("most to least", "shares"),
    ("p50 ms", "p50"),
    ("p99 ms", "p99"),
    ("longest ms", "longest"),
    ("target", "target"),
)


def work(url: str, seconds: float) -> None:
    """One process: says that it is ready, waits for a line, and tells its figures as one line of JSON."""
    ledger = open_ledger(url)
    limit = Budget.parse("$900000/ever").limit_for(Call("openai", "gpt-4o").tags, time.time_ns())
    print("ready", flush=True)
    sys.stdin.readline()
    took: list[float] = []
    deadline = time.monotonic() + seconds
    while (now := time.monotonic()) < deadline:
        call = Call("openai", "gpt-4o")
        hold = Hold(call, (limit,), COST, call.started_ns + 60 * 10**9)
        ledger.reserve(hold, call.started_ns)
        held = time.monotonic()
        ledger.settle(Entry(call.id, call.started_ns, "openai", "gpt-4o", "chat", COST), hold)
        took += [held - now, time.monotonic() - held]
    ledger.close()
    print(json.dumps(took), flush=True)


def contend(folder: Path, synchronous: str, processes: int, seconds: float) -> dict[str, Any]:
    url = f"sqlite:///{folder}/{synchronous}-{processes}.db?synchronous={synchronous}"
    open_ledger(url).close()
    command = [sys.executable, "-m", "benchmarks.enforcement", "--worker", url, "--seconds", str(seconds)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    each: list[list[float]] = [json.loads(worker.communicate(timeout=seconds + 60)[0]) for worker in workers]
    verbs = [1000 * took for one in each for took in one]
    counts = [len(one) // 2 for one in each]
    return {
        "synchronous": synchronous,
        "processes": processes,
        "per_second": round(sum(counts) / seconds),
        "shares": round(max(counts) / max(1, min(counts)), 2),
        "p50": round(percentile(verbs, 0.5), 2),
        "p99": round(percentile(verbs, 0.99), 2),
        "longest": round(max(verbs), 1),
        "target": f"p99 {TARGET_MS:g} ms, {TARGET_SHARES:g} to 1" if (synchronous, processes) == ("FULL", 2) else "",
    }


def rows(seconds: float) -> Iterator[dict[str, Any]]:
    with TemporaryDirectory(prefix="costguard-fair-") as folder:
        for synchronous in SYNCHRONOUS:
            for processes in PROCESSES:
                yield contend(Path(folder), synchronous, processes, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.enforcement", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each contest")
    parser.add_argument("--quick", action="store_true", help="half a second: does it run, not how fast")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.seconds)
        return 0
    found = list(rows(0.5 if given.quick else given.seconds))
    show("Fairness on one SQLite file", COLUMNS, found)
    if not given.quick:
        print(f"written to benchmarks/results/{save('enforcement', {'machine': machine(), 'rows': found}).name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
