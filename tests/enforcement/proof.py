"""The proof of enforcement, as one table: a dollar, ten cents a call, and everybody at once.

    python -m tests.enforcement.proof [--stores sqlite,postgres] [--quick] [--json FILE] [--docs]

Each row is measured against a provider on loopback that writes down what it sold. Ends with status 1 if a row does not
keep the rules. `--docs` puts the table into docs/enforcement-proof.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.enforcement import proof_network
from tests.enforcement.proof_clocks import AN_HOUR_BACK_AND_FORTH, TRUE, Clock
from tests.enforcement.proof_docs import machine, table, write
from tests.enforcement.proof_runs import Ask, Given, Result, fixed, run, varied
from tests.enforcement.proof_stores import ALL, place


@dataclass(frozen=True)
class Scenario:
    """`calls` and `workers`, whole and in the short form that the test suite runs; for the others see `Given`."""

    name: str
    ways: str
    calls: tuple[int, int]
    workers: tuple[int, int] = (1, 1)
    asks: Callable[[int], list[Ask]] = fixed
    holds: tuple[str, ...] = ("learned", "strict")
    lifetime: float = 900.0
    clocks: tuple[Clock, ...] = (TRUE,)

    def runs(self, *, quick: bool) -> list[Given]:
        return [
            Given(
                self.name, holds, self.asks(self.calls[quick]), self.ways, self.workers[quick],
                ceiling=self.asks is fixed, lifetime=self.lifetime, clocks=self.clocks,
            )
            for holds in self.holds
        ]  # fmt: skip


APART = ((0.0,), (30.0,))

SCENARIOS = (
    Scenario("1,000 coroutines", "coroutines", (1000, 150)),
    Scenario("200 threads", "threads", (200, 40), (200, 40)),
    Scenario("8 processes x 50", "processes", (400, 40), (8, 4)),
    Scenario("100-fold costs, coroutines", "coroutines", (1000, 200), asks=varied, holds=("learned",)),
    Scenario("100-fold costs, 8 processes x 50", "processes", (400, 80), (8, 4), asks=varied, holds=("learned",)),
    Scenario("2 hosts, clocks 30 s apart", "processes", (200, 40), (2, 2), clocks=APART),
    Scenario("the same, holds of 10 s", "processes", (200, 40), (2, 2), lifetime=10.0, clocks=APART),
    Scenario("clocks stepped by an hour", "processes", (200, 40), (2, 2), clocks=(AN_HOUR_BACK_AND_FORTH,)),
)


def scenarios(store: str) -> list[Scenario]:
    """Memory is of one process."""
    return [one for one in SCENARIOS if store != "memory" or one.ways != "processes"]


def results(stores: list[str], *, quick: bool = False) -> Iterator[Result]:
    for store in stores:
        for scenario in scenarios(store):
            for given in scenario.runs(quick=quick):
                with tempfile.TemporaryDirectory(prefix="costguard-proof-") as folder:
                    yield run(place(store, Path(folder)), given)
        if store in proof_network.STORES:
            yield from proof_network.results(store, 40 if quick else 200)


HEAD = (
    "store", "scenario", "holds", "calls", "spent", "refused", "wrongly refused", "paid answers lost",
    "recorded twice", "not recorded", "overshoot", "overshoot reported",
)  # fmt: skip


def cells(row: Result) -> tuple[str, ...]:
    return (
        row.store, row.scenario, row.holds, f"{row.calls:,}", usd(row.spent), f"{row.refused:,}",
        str(row.wrongly_refused), str(row.answers_lost), str(row.recorded_twice), str(row.not_recorded),
        usd(row.overshoot), usd(row.reported),
    )  # fmt: skip


def usd(nanos: int) -> str:
    """Rounded up: what is over a limit must not look as if it were not."""
    return f"${-(-nanos // 10**5) / 10**4:.4f}" if nanos else "0"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default=",".join(ALL), help=f"default: {','.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="fewer callers, as in the test suite")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/enforcement-proof.md")
    given = parser.parse_args()
    rows = []
    for row in results(given.stores.split(","), quick=given.quick):
        rows.append(row)
        print(f"{' | '.join(cells(row))} ({row.seconds:.1f} s){'' if row.kept else '  <-- not kept'}", flush=True)
    text = table(HEAD, [cells(row) for row in rows], 3)
    print(f"\n{text}\n\n{machine()}")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", "utf-8")
    if given.docs:
        write("proof", text)
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
