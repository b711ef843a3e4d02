"""Reports and pages on ledgers of 1,000 to 10 million calls: `python -m benchmarks.reports --all`.

Each in turns with the same question to a ledger of 1,000 calls, and beside a scan of the rows that has the database
add them up. What a ledger of a million takes on disk, and what the rollups add to a batch, is in the same table of
results. Times are the least of some rounds: of SQLite the CPU of the process, with its pages in memory, of PostgreSQL
by the clock. `--all` makes a million and ten million calls in both stores and removes them again (about 8 GB in
`--folder`, or where temporary files are); `--rows` asks about one size. With `--keep` SQLite's ledgers stay in
`--folder` for the next time: 200 bytes for each row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import all_sizes, batches
from benchmarks.asked import Store, measure, sizes
from benchmarks.report_tables import TARGETS, markdown, report
from benchmarks.timing import RESULTS, machine, save

SMALL = 1_000
MILLION = 1_000_000


def run(stores: Sequence[str], rows: int, folder: Path, rounds: int, only: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in stores:
        small, large = Store(_url(kind, folder, SMALL), SMALL), Store(_url(kind, folder, rows), rows)
        try:
            found[kind] = {"rows": rows, **large.facts(), "questions": measure(small, large, rounds, only)}
            if kind == "sqlite":
                found[kind]["size"] = sizes(large.url)
        finally:
            small.close()
            large.close()
        if kind == "postgres":
            _drop(large.url)
    return found


def _url(kind: str, folder: Path, rows: int) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder}/{rows}.db"
    from tests.ledger.postgres import server

    return server().database()


def _drop(url: str) -> None:
    from tests.ledger.postgres import server

    name = url.partition("@/")[2].partition("?")[0]
    server().execute(f"DROP DATABASE {name} WITH (FORCE)")


def run_all(stores: Sequence[str], rows: int, folder: Path, rounds: int, minutes: float) -> bool:
    """Whether everything was answered."""
    found = all_sizes.run(
        stores, rows, folder, rounds, minutes,
        lambda size, kind, answers: _keep({"ledgers": {str(size): {kind: answers}}}),
    )  # fmt: skip
    for size, answers in found.items():
        report(size, answers)
    tables = markdown(found)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "reports.md").write_text(tables)
    print(f"\n{tables}\nwritten to benchmarks/results/reports.md, for docs/benchmarks.md")
    return all("ms" in row for answers in found.values() for one in answers.values() for row in one["questions"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports", description=__doc__)
    parser.add_argument("--all", action="store_true", help="1,000, --rows and ten times --rows, in both stores")
    parser.add_argument("--rows", type=int, nargs="+", default=[MILLION])
    parser.add_argument("--stores", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--folder", type=Path, help="where the ledgers are made")
    parser.add_argument("--keep", action="store_true", help="leave SQLite's in --folder, where they are found again")
    parser.add_argument("--minutes", type=float, default=15, help="of --all: what comes up later is left out")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="questions with this in their name, such as 'x day'")
    parser.add_argument("--batches", action="store_true", help="only what the rollups add to a batch")
    options = parser.parse_args()
    if options.keep and options.folder is None:
        parser.error("--keep needs --folder, where the ledgers stay")
    print(f"CPUs {machine()['cpus']}, load {machine()['load']}")
    if options.batches:
        found = batches.run(options.stores, options.rounds)
        batches.report(found)
        _keep({"batches": found})
        return 0
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    answered = True
    for rows in options.rows:
        with TemporaryDirectory(prefix="costguard-bench-", dir=options.folder) as temporary:
            folder = options.folder if options.keep else Path(temporary)
            if options.all:
                answered &= run_all(options.stores, rows, folder, options.rounds, options.minutes)
            else:
                answers = run(options.stores, rows, folder, options.rounds, options.only)
                report(rows, answers)
                _keep({"ledgers": {str(rows): answers}})
    return 0 if answered else 1


def _keep(found: dict[str, Any]) -> None:
    """Into what earlier runs have found."""
    kept = RESULTS / "reports.json"
    result: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    result["targets"] = TARGETS
    if "batches" in found:
        result["batches"] = found["batches"]
    for rows, answers in found.get("ledgers", {}).items():
        result.setdefault("ledgers", {}).setdefault(rows, {}).update(answers)
    result.pop("machine", None)
    print(f"written to benchmarks/results/{save('reports', result).name}")


if __name__ == "__main__":
    raise SystemExit(main())
