"""kill -9, at every step of a call and at random under load; then the books are compared with what the provider sold.

    python -m tests.enforcement.proof_kills [--stores sqlite,leases] [--kills 200] [--json FILE] [--docs]

What must hold afterwards: balances equal the sum of the rows, nothing is held once the holds of the dead have
expired, and every call that the provider was asked for has one row. That row is exact ("ok", the cost that was sold) if
the app ever got the answer. Else the process died between the answer on its socket and the return of the SDK's method:
nobody outside can tell that from dying before it could read; the row is exact, or it is the hold, charged as `lost`.
With leases such a call has no row of its own: its money was leased by the process, whose leases are charged as `lost`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.enforcement.proof_docs import machine, table, write
from tests.enforcement.proof_processes import Child, start
from tests.enforcement.proof_provider import NANOS_FOR_A_TOKEN, PaidProvider
from tests.enforcement.proof_stores import Books, Place, books, place
from tests.enforcement.proof_victims import BUDGETS, STEPS, die_at, work_until_killed

DOLLAR = 10**9

LIFETIME_NS = 901 * 10**9
"""The default life of a hold, and a second."""


@dataclass(frozen=True)
class Result:
    """One row of the table.

    asked, sold, read: calls that the provider was asked for, answered, and whose answer the app got
    exact, lost: rows with the cost that was sold; rows that charge the hold of a dead process's call
    covered:     calls asked for without a row, whose process had leased, and is charged with, at least what they cost
    unheld:      calls that ran without a hold, as the store was away, and whose process died before it read the answer
    missing:     other calls asked for without a row
    wrong:       answers that the app got, whose row is not exact
    differences: between balances and rows, before or after the holds of the dead expired
    stuck:       nano-dollars still held then
    """

    store: str
    what: str
    kills: int
    asked: int
    sold: int
    read: int
    exact: int
    lost: int
    covered: int
    unheld: int
    missing: int
    wrong: int
    recorded_twice: int
    differences: int
    stuck: int
    seconds: float

    @property
    def kept(self) -> bool:
        return not (self.missing or self.wrong or self.recorded_twice or self.differences or self.stuck)


def examine(
    place: Place, what: str, kills: int, provider: PaidProvider, acknowledged: Path, began: float, *, away: bool = False
) -> Result:
    """Look at the books as the dead left them, let their holds expire, and look again."""
    found = books(place)
    said = found.differences("worker")
    with place.guard(budgets=BUDGETS) as guard:
        # It begins with what the dead left in their journals, and on a busy machine goes on with that in its thread.
        _wait_until(lambda: not _journals(place))
        guard.ledger.expire(time.time_ns() + LIFETIME_NS)
        found = books(place)
        said += found.differences("worker")
        # What the library itself says, which may have it from elsewhere.
        told = [standing for worker in found.by("worker") for standing in guard.standings(worker=worker)]
    said += [
        f"the guard has {one.spent} spent by {one.payer}"
        for one in told
        if one.spent * DOLLAR != found.spent.get(one.payer.replace("everyone", ""), 0)
    ]
    by_name = found.by("name")
    without = provider.asked.keys() - by_name.keys()
    covered: set[str] = set()
    leases = found.leases()
    for worker in {name.partition("-")[0] for name in without}:
        its = [name for name in without if name.startswith(f"{worker}-")]
        if sum(provider.sold.get(name, 0) for name in its) * NANOS_FOR_A_TOKEN <= leases.get(f"worker={worker}", 0):
            covered.update(its)
    read = set(acknowledged.read_text().split()) if acknowledged.exists() else set()
    assert read <= provider.sold.keys(), "the app has an answer that the provider never gave"
    unheld = without - covered - read if away else set()
    exact = {name for name, tokens in provider.sold.items() if _is_exact(by_name.get(name, []), tokens)}
    return Result(
        store=place.name,
        what=what,
        kills=kills,
        asked=len(provider.asked),
        sold=len(provider.sold),
        read=len(read),
        exact=len(exact),
        lost=sum(row.status == "lost" for row in found.calls),
        covered=len(covered),
        unheld=len(unheld),
        missing=len(without - covered - unheld),
        wrong=len(read - exact),
        recorded_twice=sum(len(rows) > 1 for rows in by_name.values()),
        differences=len(said),
        stuck=sum(found.held.values()) + sum(found.on_hold.values()) + sum(int(one.held * DOLLAR) for one in told),
        seconds=time.monotonic() - began,
    )


def _journals(place: Place) -> list[Path]:
    return [] if place.journal is None else list(Path(place.journal).glob("*.journal"))


def _is_exact(rows: list[Any], tokens: int) -> bool:
    return len(rows) == 1 and rows[0].status == "ok" and rows[0].cost == tokens * NANOS_FOR_A_TOKEN


def killed_at(step: str, place: Place, folder: Path) -> tuple[Result, Books]:
    """One worker makes one call and dies at this step of it."""
    began = time.monotonic()
    acknowledged = folder / "acknowledged"
    with PaidProvider() as provider:
        if step == "during the provider call":
            provider.gate.clear()
        child = start(die_at, place, step, provider.url, "w0-0", acknowledged)
        assert child.line.recv() == "ready"
        with _settling_locked(place, step) as settling:
            child.line.send("go")
            if step == "during the provider call":
                _wait_until(lambda: provider.asked["w0-0"] > 0)
                child.kill()
            elif settling is not None:
                _wait_until(lambda: _someone_waits_for(settling))
                child.kill()
            else:
                child.process.join(60)
        assert child.process.exitcode == -9, f"it was to die {step} and ended with {child.process.exitcode}"
        provider.gate.set()
        if settling is not None:
            _wait_until(lambda: not _someone_waits_for(settling))
        return examine(place, step, 1, provider, acknowledged, began), books(place)


@contextmanager
def _settling_locked(place: Place, step: str) -> Iterator[str | None]:
    """Keep the row of everyone's balance locked once the hold is taken, so that PostgreSQL stops in the settlement."""
    if step != "inside the settle transaction" or place.url.startswith("sqlite:"):
        yield None
        return
    with psycopg.connect(place.url) as other:
        # A lock that lets inserts through, and keeps back the first transaction that enters a cost.
        other.execute("LOCK TABLE costguard_entries IN SHARE MODE")
        yield place.url


def _someone_waits_for(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as looking:
        row = looking.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row is not None and row[0] > 0


def _wait_until(happened: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def killed_at_random(place: Place, folder: Path, kills: int, *, workers: int = 3) -> Result:
    """So many workers that make calls without a pause; one after the other is killed and replaced."""
    began = time.monotonic()
    acknowledged = folder / "acknowledged"
    place.ledger().close()
    dice = random.Random(11)
    with PaidProvider() as provider:
        alive: list[Child] = []

        def hire(number: int) -> None:
            child = start(work_until_killed, place, provider.url, f"w{number}", acknowledged)
            assert child.line.recv() == "ready"
            alive.append(child)

        for number in range(workers):
            hire(number)
        for number in range(workers, workers + kills):
            # From its first connection to deep in its work: most moments of a call are hit many times.
            time.sleep(dice.random() * 0.05)
            alive.pop(dice.randrange(len(alive))).kill()
            hire(number)
        for child in alive:
            child.kill()
        result = examine(place, "random kills under load", kills + workers, provider, acknowledged, began)
    return result


def killed_while_away(place: Place, folder: Path) -> Result:
    """PostgreSQL is stopped, a worker goes on and is killed, and PostgreSQL comes back."""
    from tests.ledger.postgres import server

    began = time.monotonic()
    acknowledged = folder / "acknowledged"
    with PaidProvider() as provider:
        child = start(work_until_killed, place, provider.url, "w0", acknowledged)
        assert child.line.recv() == "ready"
        _wait_until(lambda: len(provider.sold) > 20)
        server().stop()
        try:
            wanted = len(provider.sold) + 50
            _wait_until(lambda: len(provider.sold) > wanted)
            child.kill()
        finally:
            server().start()
        return examine(place, "while PostgreSQL was stopped", 1, provider, acknowledged, began, away=True)


HEAD = (
    "store", "killed", "kills", "asked", "sold", "read by the app", "rows exact", "rows lost", "covered by a lease",
    "never held", "missing", "wrong", "recorded twice", "differences", "stuck",
)  # fmt: skip


def cells(row: Result) -> tuple[str, ...]:
    numbers = (
        row.kills, row.asked, row.sold, row.read, row.exact, row.lost, row.covered, row.unheld, row.missing, row.wrong,
        row.recorded_twice, row.differences, row.stuck,
    )  # fmt: skip
    return (row.store, row.what, *(f"{number:,}" for number in numbers))


def results(stores: list[str], kills: int) -> Iterator[Result]:
    for store in stores:
        for step in STEPS:
            with tempfile.TemporaryDirectory(prefix="costguard-kills-") as folder:
                yield killed_at(step, place(store, Path(folder)), Path(folder))[0]
        with tempfile.TemporaryDirectory(prefix="costguard-kills-") as folder:
            yield killed_at_random(place(store, Path(folder)), Path(folder), kills)
        if store in ("postgres", "leases"):
            with tempfile.TemporaryDirectory(prefix="costguard-kills-") as folder:
                yield killed_while_away(place(store, Path(folder)), Path(folder))


def tell(name: str, results: Iterable[Result], json_to: Path | None, *, docs: bool) -> int:
    """Print each row as it is there, then the table, which may go into the docs under its name; the exit code."""
    rows = []
    for row in results:
        rows.append(row)
        print(f"{' | '.join(cells(row))} ({row.seconds:.1f} s){'' if row.kept else '  <-- not kept'}", flush=True)
    text = table(HEAD, [cells(row) for row in rows], 2)
    print(f"\n{text}\n\n{machine()}")
    if json_to:
        json_to.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", "utf-8")
    if docs:
        write(name, text)
    return 0 if all(row.kept for row in rows) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", default="sqlite,postgres,valkey,leases")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", action="store_true", help="put the table into docs/enforcement-proof.md")
    given = parser.parse_args()
    return tell("kills", results(given.stores.split(","), given.kills), given.json, docs=given.docs)


if __name__ == "__main__":
    sys.exit(main())
