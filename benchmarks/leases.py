"""Leases: reserve and settle a second on one budget that everybody counts on. `python -m benchmarks.leases [--quick]`.

Strict: each call is decided, and its balance moved, in the database. Leases: the same two verbs, over the same
database; what a slice was drawn for is settled when it goes back, as one entry, so that only the balances are compared
and not the rows of the ledger (for these see `benchmarks.journal`). Afterwards every balance is exact, or it says so.
Processes start together, the time is that of all of them, until the last lease has gone back. In each round every
contender has its turn, in an order that is turned round from round to round; a ratio is that of one round, to the
strict turns right before and right after, as a disk's syncs are twice as long from one minute to the next. The table
has the median of the rounds, and the lowest and the highest.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from benchmarks.tables import Column, show
from benchmarks.timing import machine, save
from costguard.budgets import Budget, Limit
from costguard.call import Call
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.base import Ledger
from costguard.ledger.leases import LeaseLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.valkey import ValkeyLedger
from costguard.ledger.wrapper import Wrapper

ROOT = Path(__file__).parents[1]
RULE = "$900000/month"
COST = 100_000
SLICES = (20, 1000)
TARGETS = {"20": 15, "1000": 200}
CALLS = {"20": 20_000, "1000": 120_000}
"""Made in one turn, by each process."""

PROCESSES = (1, 2, 4)
DELAY = 2
"""Milliseconds that a commit takes longer, as on a database with slow disks or a replica to wait for."""

ASYNCHRONOUS = "postgres, commits not synced"
"""The least that a commit can cost: what leases gain where the disk does not matter."""

COLUMNS: tuple[Column, ...] = (
    ("store", "store"),
    ("engine", "engine"),
    ("processes", "processes"),
    ("calls/s", "per_second"),
    ("from-to", "spread"),
    ("x strict", "ratio"),
    ("from-to", "ratio_spread"),
    ("target", "target"),
    ("exact", "exact"),
)


class Tally(Wrapper):
    """Settles what was drawn from a lease when the lease goes back, as one entry."""

    def __init__(self, inner: Ledger) -> None:
        super().__init__(inner)
        self._lock = Lock()
        self._drawn: dict[str, int] = {}

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        assert hold is not None
        (lease,) = hold.leases
        with self._lock:
            self._drawn[lease] = self._drawn.get(lease, 0) + (entry.nanos or 0)
        return ()

    def release(self, hold: Hold) -> bool:
        with self._lock:
            drawn = self._drawn.pop(hold.call.id, 0)
        if not drawn:
            return self.inner.release(hold)
        entry = Entry(hold.call.id, hold.call.started_ns, "openai", "gpt-4o", "chat", drawn)
        return self.inner.settle(entry, hold) is not None


def opened(url: str) -> Ledger:
    """Of a store's URL; after a blank that of the Valkey which keeps its balances."""
    store, _, valkey = url.partition(" ")
    ledger = open_ledger(store)
    return ValkeyLedger(ledger, valkey) if valkey else ledger


def limit() -> Limit:
    call = Call("openai", "gpt-4o")
    return Budget.parse(RULE).limit_for(call.tags, call.started_ns)


def settlement(on: Limit) -> tuple[Hold, Entry]:
    call = Call("openai", "gpt-4o")
    hold = Hold(call, (on,), COST, call.started_ns + 600 * 10**9)
    return hold, Entry(call.id, call.started_ns, "openai", "gpt-4o", "chat", COST)


def worker(engine: str, url: str, count: int) -> dict[str, Any]:
    """One process: reserve and settle so many calls, and give everything back."""
    ledger = opened(url)
    if engine != "strict":
        calls = int(engine)
        ledger = LeaseLedger(Tally(ledger), want_calls=calls, most_calls=calls)
    on = limit()
    for hold, entry in [settlement(on) for _ in range(50)]:
        ledger.reserve(hold, time.time_ns())
        ledger.settle(entry, hold)
    calls_made = [settlement(on) for _ in range(count)]
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.time()
    for hold, entry in calls_made:
        if ledger.reserve(hold, entry.at_ns) is not None:
            raise SystemExit("there was no room")
        ledger.settle(entry, hold)
    made = time.time()
    ledger.close()
    return {"begin": begin, "made": made, "end": time.time()}


def together(engine: str, url: str, processes: int, count: int) -> tuple[float, bool]:
    """Calls a second of so many processes, and whether the balance was exact afterwards."""
    ledger, on = opened(url), limit()
    ((before, _),) = ledger.balances([on])
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.leases", "--worker", engine, url, str(count)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(processes)
    ]  # fmt: skip
    for one in workers:
        assert one.stdout is not None
        one.stdout.readline()
    for one in workers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    answers = [json.loads(one.communicate(timeout=300)[0]) for one in workers]
    seconds = max(answer["end"] for answer in answers) - min(answer["begin"] for answer in answers)
    exact = ledger.balances([on]) == [(before + (count + 50) * processes * COST, 0)]
    ledger.close()
    return count * processes / seconds, exact


@contextmanager
def stores() -> Iterator[dict[str, str]]:
    """The URL of a new, empty ledger in each store."""
    from tests.ledger import valkey
    from tests.ledger.postgres import server

    postgres = server()
    postgres.execute("ALTER SYSTEM SET fsync = on")
    postgres.execute("SELECT pg_reload_conf()")
    with TemporaryDirectory(prefix="costguard-bench-") as folder:
        urls = {"sqlite": f"sqlite:///{folder}/costs.db"}
        for name in ("postgres", ASYNCHRONOUS):
            urls[name] = postgres.database()
        postgres.execute(f"ALTER DATABASE {_database(urls[ASYNCHRONOUS])} SET synchronous_commit = off")
        slow = f"postgres, commits {DELAY} ms later"
        urls[slow] = postgres.database()
        urls["valkey"] = f"{postgres.database()} {valkey.server().url()}"
        name = _database(urls[slow])
        # Every commit waits, also one that has the database to itself.
        postgres.execute(f"ALTER DATABASE {name} SET commit_delay = {DELAY * 1000}")
        postgres.execute(f"ALTER DATABASE {name} SET commit_siblings = 0")
        yield urls


def _database(url: str) -> str:
    return url.split("@/")[1].split("?", maxsplit=1)[0]


def run(
    *,
    rounds: int = 7,
    processes: tuple[int, ...] = PROCESSES,
    only: str = "",
    peers: bool = False,
    errors: bool = False,
) -> Any:
    """Every contender in each round, between two turns of the strict one."""
    rows: list[dict[str, Any]] = []
    with stores() as urls:
        for store, url in urls.items():
            for many in processes if store.startswith(only) else ():
                rows += contest(store, url, many, min(rounds, 9))
    return {"rows": rows}


def contest(store: str, url: str, processes: int, rounds: int) -> Iterator[dict[str, Any]]:
    engines = [] if store == "sqlite" else [str(calls) for calls in SLICES]
    strict_calls = 300 if "later" in store else 600
    rates: dict[str, list[float]] = {"strict": [], **{engine: [] for engine in engines}}
    ratios: dict[str, list[float]] = {engine: [] for engine in engines}
    exact = True

    def turn(engine: str, count: int) -> float:
        nonlocal exact
        rate, right = together(engine, url, processes, count)
        exact = exact and right
        rates[engine].append(rate)
        return rate

    before = turn("strict", strict_calls)
    for number in range(rounds):
        for engine in engines if number % 2 else reversed(engines):
            rate = turn(engine, CALLS[engine])
            after = turn("strict", strict_calls)
            ratios[engine].append(2 * rate / (before + after))
            before = after
        if not engines:
            turn("strict", strict_calls)
    for engine, found in rates.items():
        yield {
            "store": store,
            "engine": "strict" if engine == "strict" else f"{engine} a lease",
            "processes": processes,
            "per_second": round(median(found)),
            "spread": f"{min(found):,.0f}-{max(found):,.0f}",
            "ratio": round(median(ratios[engine]), 1) if engine in ratios else None,
            "ratio_spread": f"{min(ratios[engine]):.0f}-{max(ratios[engine]):.0f}" if engine in ratios else None,
            "target": TARGETS.get(engine),
            "exact": exact,
        }


def report(result: Any) -> None:
    show("Reserve and settle on one hot budget", COLUMNS, result["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leases", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, of 1 and 2 processes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="stores whose names begin so")
    parser.add_argument("--worker", nargs=3, metavar=("ENGINE", "URL", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        engine, url, count = options.worker
        print(json.dumps(worker(engine, url, int(count))))
        return
    print(f"load {machine()['load']}")
    result = (
        run(rounds=1, processes=(1, 2), only=options.only)
        if options.quick
        else run(rounds=options.rounds, only=options.only)
    )
    report(result)
    if not options.quick and not options.only:
        print(f"written to benchmarks/results/{save('leases', result).name}")


if __name__ == "__main__":
    main()
