"""The proof of delivery, as one table: thousands of crossings, four processes that are killed, and a Slack that fails.

    python -m tests.alerts.proof [--crossings 10000] [--each 10000] [--stores sqlite,postgres] [--docs]

A message that Slack took without saying so, or that it took from a process that was killed before it could write that
down, is told again: nobody can do better. Everything else arrives once. Ends with status 1 if a row does not keep that.
"""

from __future__ import annotations

import argparse
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from costguard.ledger.opening import open_ledger
from tests.alerts.proof_slack import TAKEN, Slack, wait_until
from tests.alerts.proof_worker import name_of
from tests.ledger.stores import new_url

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "alert-proof.md"


@dataclass
class Result:
    """killed: processes. Of what was told again: `unanswered`, as Slack's answer never came; `cut_off`, as the process
    died between the answer and its mark; `unexplained`, which must not be."""

    store: str
    folds: bool
    crossings: int
    arrived: int = 0
    requests: int = 0
    killed: int = 0
    deaths: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    cut_off: int = 0
    unexplained: int = 0
    left: int = 0
    given_up: int = 0
    seconds: float = 0.0

    @property
    def kept(self) -> bool:
        return self.arrived == self.crossings and not (self.unexplained or self.left or self.given_up)


class Worker:
    """One of the processes; when it is killed another generation takes its place."""

    def __init__(
        self, number: int, store: str, slack: Slack, share: tuple[int, int], lease: float, folds: bool
    ) -> None:
        self.number = number
        self.generation = -1
        self.spent = threading.Event()
        self._given = (store, slack.url)
        self._share = share
        self._rest = (str(lease), "folds" if folds else "one each")
        self._reached = share[0]
        self.start()

    @property
    def name(self) -> str:
        return f"{self.number}.{self.generation}"

    def start(self) -> None:
        self.generation += 1
        self.spent = threading.Event()
        command = [*self._given, self.name, str(self._reached), str(self._share[1]), *self._rest]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.alerts.proof_worker", *command],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self.process, self.spent), daemon=True).start()

    def _read(self, process: subprocess.Popen[str], spent: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word = line.strip()
            if word.isdigit():
                self._reached = int(word)
            elif word == "spent":
                spent.set()

    def kill(self) -> str:
        """Kill it, and start the next generation; the name of the one that is dead."""
        dead = self.name
        self.process.kill()
        self.process.wait()
        self.start()
        return dead

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write("all have spent\n")
        self.process.stdin.flush()
        return self.process.wait(600)


def run(store: str, crossings: int, *, folds: bool, lease: float, kills: int, seed: int, workers: int = 4) -> Result:
    result = Result(store, folds, crossings)
    chance = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="costguard-alerts-") as folder:
        url = new_url(store, Path(folder))
        ledger = open_ledger(url)
        slack = Slack(seed)
        share = crossings // workers
        shares = [(number * share, (number + 1) * share) for number in range(workers - 1)]
        shares.append(((workers - 1) * share, crossings))
        crowd = [Worker(number, url, slack, each, lease, folds) for number, each in enumerate(shares)]
        dead: set[str] = set()
        while len(dead) < kills:
            # As evenly over the crossings as random allows, so that the last kill is not long before the end.
            told = len(slack.arrived)
            if told >= crossings * (len(dead) + 1) / (kills + 1) or all(one.spent.is_set() for one in crowd):
                wait_until(time.monotonic() + chance.uniform(0.0, 0.2))
                dead.add(chance.choice(crowd).kill())
                if len(dead) % 5 == 0:
                    slack.die(0.5)
            wait_until(time.monotonic() + 0.02)
            if time.monotonic() - began > 1500:
                break
        for one in crowd:
            one.spent.wait(300)
        codes = [one.end() for one in crowd]
        result.left = ledger.undelivered() or sum(map(bool, codes))
        result.given_up = sum(_given_up(ledger))
        assert sum(each.calls for each in ledger.sums((), {})) == crossings
        ledger.close()
        slack.end()
        count(result, slack, dead)
    result.seconds = time.monotonic() - began
    return result


def _given_up(ledger: object) -> Iterator[int]:
    driver = ledger._driver  # type: ignore[attr-defined]  # SQL of the proof's own, over the connection of the store
    query = "SELECT count(*) FROM costguard_outbox WHERE state = 2"
    yield driver.read(lambda execute: execute(query, ()).fetchone()[0])


def count(result: Result, slack: Slack, dead: set[str]) -> None:
    """What Slack wrote down, compared with what was spent."""
    deliveries = slack.deliveries
    last_of = {one.worker: place for place, one in enumerate(deliveries)}
    taken: dict[str, list[int]] = {}
    for place, one in enumerate(deliveries):
        result.ways[one.way] += 1
        if one.way in TAKEN:
            for user in one.users:
                taken.setdefault(user, []).append(place)
    expected = {name_of(number) for number in range(result.crossings)}
    assert set(taken) <= expected
    result.arrived = len(taken)
    result.requests, result.killed, result.deaths = len(deliveries), len(dead), slack.deaths
    for places in taken.values():
        # The last one is the one that was marked.
        for place in places[:-1]:
            one = deliveries[place]
            if one.way != "200":
                result.unanswered += 1
            elif one.worker in dead and last_of[one.worker] == place:
                result.cut_off += 1
            else:
                result.unexplained += 1


HEAD = (
    "store", "messages", "crossings", "arrived", "never arrived", "requests", "429", "500", "time-outs and hang-ups",
    "processes killed", "deaths of Slack", "told again: no answer came", "told again: killed before the mark",
    "told again otherwise",
)  # fmt: skip


def cells(row: Result) -> tuple[str, ...]:
    silent = sum(number for way, number in row.ways.items() if way not in ("200", "429", "500"))
    return (
        row.store, "many in one" if row.folds else "one each", f"{row.crossings:,}", f"{row.arrived:,}",
        str(row.crossings - row.arrived), f"{row.requests:,}", str(row.ways["429"]), str(row.ways["500"]), str(silent),
        str(row.killed), str(row.deaths), str(row.unanswered), str(row.cut_off), str(row.unexplained),
    )  # fmt: skip


def table(rows: Sequence[Result]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|" + "---:|" * (len(HEAD) - 2)]
    return "\n".join([*lines, *(f"| {' | '.join(cells(row))} |" for row in rows)])


def write(text: str) -> None:
    begin, end = "<!-- proof -->", "<!-- end of proof -->"
    before, found, rest = DOCS.read_text("utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise SystemExit(f"{DOCS} has no place for the table: it needs the lines {begin} and {end}")
    machine = f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}."
    DOCS.write_text(f"{before}{begin}\n{text}\n\n{machine}\n{end}{after}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crossings", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=10_000, help="crossings where each is a message of its own")
    parser.add_argument("--stores", default="sqlite,postgres")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--docs", action="store_true", help="put the table into docs/alert-proof.md")
    given = parser.parse_args()
    rows = []
    for folds, crossings in ((True, given.crossings), (False, given.each)):
        for store in given.stores.split(",") if crossings else ():
            row = run(store, crossings, folds=folds, lease=20.0, kills=given.kills, seed=given.seed)
            rows.append(row)
            print(f"| {' | '.join(cells(row))} | {row.seconds:.0f} s{'' if row.kept else '  <-- not kept'}", flush=True)
    print(f"\n{table(rows)}\n\nseed {given.seed}")
    if given.docs:
        write(table(rows))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
