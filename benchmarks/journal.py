"""The journal: what a call waits for, and entries a second. `python -m benchmarks.journal [--quick]`.

In the call: `settle` on three budgets, through the journal and strictly in SQLite, in turns in one process.
Whole cycle: reserve and settle on three budgets, entry included, until everything is in the store; processes
start together, and the time is that of all of them. The CPU of a process, which neighbours change less, is that
of making the values, the call and the writer's thread together, without the server.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.tables import Column, show
from benchmarks.timing import figures, machine, percentile, save
from costguard.budgets import Budget, Limit
from costguard.call import Call
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from costguard.ledger.journal import JournalLedger
from costguard.ledger.leases import LeaseLedger
from costguard.ledger.opening import open_ledger
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.tags import Tags

ROOT = Path(__file__).parents[1]
RULES = ("$100000/day per user", "$500000/month", "$900000/ever where environment=production")
TARGET_PER_SECOND = 25_000
TARGET_MICROSECONDS = 12
ENGINES = ("strict", "journal", "leases and journal")
COST = 1_000_000

IN_CALL: tuple[Column, ...] = (("settle", "name"), ("us, min", "min"), ("20th", "p20"), ("median", "median"))
CYCLE: tuple[Column, ...] = (
    ("store", "store"),
    ("engine", "engine"),
    ("processes", "processes"),
    ("entries/s", "per_second"),
    ("us in the call, median", "microseconds"),
    ("CPU us, all threads", "cpu_microseconds"),
    ("exact", "exact"),
)

TAGS = Tags(user="alice", feature="chat", environment="production")
RATES = Rates("openai", "gpt-4o", "benchmark", {"input": 2_500, "output": 10_000}, scale=9)


def limits() -> tuple[Limit, ...]:
    now = time.time_ns()
    found = [Budget.parse(rule).limit_for(TAGS, now) for rule in RULES]
    return tuple(sorted(found, key=lambda limit: limit.key))


def settlement(on: tuple[Limit, ...], number: int) -> tuple[Entry, Hold]:
    call = Call("openai", "gpt-4o", tags=TAGS)
    hold = Hold(call, on, COST, call.started_ns + 600 * 10**9)
    usage = Usage.trusted({"input": 1000, "output": 200})
    entry = Entry(
        call.id, call.started_ns, "openai", "gpt-4o", "chat", COST // 2, usage, RATES, tags=TAGS, held_nanos=COST,
        duration_ns=10**9, response_id=f"chatcmpl-{number:029d}",
    )  # fmt: skip
    return entry, hold


def engine(name: str, url: str, directory: Path) -> Ledger:
    ledger: Ledger = open_ledger(url)
    if name != "strict":
        ledger = JournalLedger(ledger, directory)
    if name.startswith("leases"):
        ledger = LeaseLedger(ledger)
    ledger.open()
    return ledger


def cycle(name: str, url: str, directory: str, count: int) -> dict[str, Any]:
    """One process: reserve and settle so many calls, and wait for the store."""
    ledger, on = engine(name, url, Path(directory)), limits()
    warm = [settlement(on, number) for number in range(50)]
    for entry, hold in warm:
        ledger.reserve(hold, time.time_ns())
        ledger.settle(entry, hold)
    ledger.spent({})
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    took, clock = [], time.perf_counter_ns
    begin, used = time.time(), time.process_time_ns()
    for number in range(count):
        entry, hold = settlement(on, number)
        start = clock()
        ledger.reserve(hold, entry.at_ns)
        ledger.settle(entry, hold)
        took.append(clock() - start)
    wait = getattr(ledger, "inner", ledger)
    while isinstance(wait, JournalLedger) and wait.flush(60.0):
        pass
    end, used = time.time(), time.process_time_ns() - used
    ledger.close()
    return {"begin": begin, "end": end, "cpu": used / count / 1000, "microseconds": percentile(took, 0.5) / 1000}


def cycles(store: str, url: str, folder: Path, name: str, processes: int, count: int) -> dict[str, Any]:
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.journal", "--cycle", name, url, str(folder), str(count)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(processes)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    answers = [json.loads(out) for out in _go(workers)]
    seconds = max(answer["end"] for answer in answers) - min(answer["begin"] for answer in answers)
    ledger = open_ledger(url)
    expected = (count + 50) * processes * COST // 2
    exact = ledger.spent({}) == expected and ledger.balances(limits()) == [(expected, 0)] * len(RULES)
    ledger.close()
    return {
        "store": store,
        "engine": name,
        "processes": processes,
        "per_second": round(count * processes / seconds),
        "microseconds": round(sum(answer["microseconds"] for answer in answers) / processes, 1),
        "cpu_microseconds": round(sum(answer["cpu"] for answer in answers) / processes, 1),
        "exact": exact,
    }


def _go(workers: list[subprocess.Popen[str]]) -> list[str]:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [worker.communicate(timeout=300)[0] for worker in workers]


def in_call(rounds: int, size: int = 200) -> list[dict[str, Any]]:
    """Batches of `settle` alone, of each contender in turn."""
    with TemporaryDirectory(prefix="costguard-bench-") as folder:
        strict = engine("strict", f"sqlite:///{folder}/strict.db", Path(folder))
        journal = JournalLedger(open_ledger(f"sqlite:///{folder}/journal.db"), Path(folder) / "journal")
        journal.open()
        # The writer's own work is in the whole cycle: here it is only the call.
        alone = JournalLedger(
            open_ledger(f"sqlite:///{folder}/alone.db"), Path(folder) / "alone", every=1000.0, batch=1 << 30
        )
        contenders: dict[str, Callable[[Entry, Hold], object]] = {
            "strict SQLite": strict.settle,
            "journal": journal.settle,
            "journal, writer asleep": alone.settle,
        }
        took: dict[str, list[float]] = {name: [] for name in contenders}
        on = limits()
        for _ in range(rounds):
            for name, settle in contenders.items():
                batch = [settlement(on, number) for number in range(size)]
                start = time.perf_counter_ns()
                for entry, hold in batch:
                    settle(entry, hold)
                took[name].append((time.perf_counter_ns() - start) / size / 1000)
                alone.flush(60)
        for ledger in (strict, journal, alone):
            ledger.close()
    return [{"name": name, **figures(values)} for name, values in took.items()]


def run(rounds: int = 40, *, peers: bool = False, errors: bool = False) -> dict[str, Any]:
    from tests.ledger.postgres import server

    count = 500 * rounds
    rows = []
    for store in ("sqlite", "postgres"):
        for name in ENGINES:
            for processes in (1, 2):
                with TemporaryDirectory(prefix="costguard-bench-") as folder:
                    url = server().database() if store == "postgres" else f"sqlite:///{folder}/costs.db"
                    share = count // 10 if name != "leases and journal" else count
                    rows.append(cycles(store, url, Path(folder) / "journal", name, processes, share))
    return {
        "targets": {"per_second": TARGET_PER_SECOND, "microseconds": TARGET_MICROSECONDS},
        "budgets": RULES,
        "in_call": in_call(rounds * 2),
        "cycle": rows,
    }


def report(result: dict[str, Any]) -> None:
    show("settle in the call, microseconds, three budgets", IN_CALL, result["in_call"])
    title = f"whole cycle, three budgets (targets {TARGET_PER_SECOND}/s, {TARGET_MICROSECONDS} us in the call)"
    show(title, CYCLE, result["cycle"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="does it run, not how fast")
    parser.add_argument("--cycle", nargs=4, metavar=("ENGINE", "URL", "DIRECTORY", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cycle:
        name, url, directory, count = options.cycle
        print(json.dumps(cycle(name, url, directory, int(count))))
        return
    print(f"CPUs {machine()['cpus']}, load {machine()['load']}")
    result = run(5 if options.quick else 40)
    report(result)
    print(f"written to benchmarks/results/{save('journal', result).name}")


if __name__ == "__main__":
    main()
