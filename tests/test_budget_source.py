"""Rules of a file and of the database, put in force while an app runs."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from weakref import ref

import pytest
from typer.testing import CliRunner

from costguard.budget_set import BudgetSet
from costguard.budget_source import BudgetSource
from costguard.budgets import Budget
from costguard.cli import app
from costguard.errors import BudgetExceeded, ConfigError, StoreUnavailable
from costguard.grants import Grant
from costguard.guard import Guard
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import add_grant, remove_budget, remove_grant, set_budget
from costguard.tags import Tags
from tests.ledger.postgres import Server
from tests.ledger.stores import new_url

ALICE = Tags(user="alice")
PATIENCE = 20.0


def most(budgets: BudgetSet, tags: Tags = ALICE) -> list[tuple[str, Decimal]]:
    """What is in force for alice, in dollars."""
    limits = budgets.limits(tags, time.time_ns())
    return [(limit.budget.period, limit.standing(0, 0).limit) for limit in limits]


def until(done: Callable[[], bool]) -> bool:
    """Look again and again, for as long as a slow machine may need."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def write(file: Path, *rules: str) -> None:
    """As an editor does: a new file in the place of the old one."""
    new = file.with_suffix(".new")
    new.write_text("".join(f"[[budget]]\nrule = '{rule}'\n" for rule in rules), "utf-8")
    new.replace(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "budgets.toml"
    write(path, "$2/day per user")
    return path


@pytest.fixture
def ledger() -> Ledger:
    return MemoryLedger()


Start = Callable[..., BudgetSource]


@pytest.fixture
def start(ledger: Ledger) -> Iterator[Start]:
    started: list[BudgetSource] = []

    def begin(
        budgets: BudgetSet, file: Path | None = None, every: float = 3600.0, over: Ledger = ledger
    ) -> BudgetSource:
        source = BudgetSource(budgets, over, file, every)
        source.start()
        started.append(source)
        return source

    yield begin
    for source in started:
        source.close()


def test_rules_are_in_force_once_it_has_started(start: Start, ledger: Ledger, file: Path) -> None:
    budgets = BudgetSet(["$1/day per user", "$100/month"])
    set_budget(ledger, "$7/week per user", "ann")
    start(budgets, file)
    assert sorted(most(budgets)) == [("day", Decimal(2)), ("month", Decimal(100)), ("week", Decimal(7))]


def test_the_database_overrules_the_file_and_the_file_the_code(start: Start, ledger: Ledger, file: Path) -> None:
    budgets = BudgetSet(["$1/day per user"])
    source = start(budgets, file)
    assert most(budgets) == [("day", Decimal(2))]
    set_budget(ledger, "$3/day per user", "ann")
    source.look()
    assert most(budgets) == [("day", Decimal(3))]
    remove_budget(ledger, "$3/day per user", "ann")
    write(file)
    source.look()
    assert most(budgets) == [("day", Decimal(1))]


def test_a_grant_adds_to_the_limit_of_its_payer_until_it_is_taken_back(start: Start, ledger: Ledger) -> None:
    budgets = BudgetSet(["$1/day per user"])
    source = start(budgets)
    account = Budget.parse("$1/day per user").account
    grant = Grant(account, (("user", "alice"),), Decimal(10), "usd", time.time_ns(), None, "ann", "demo")
    stored = add_grant(ledger, grant)
    source.look()
    assert most(budgets) == [("day", Decimal(11))]
    assert most(budgets, Tags(user="bob")) == [("day", Decimal(1))]
    remove_grant(ledger, stored.id, "ann")
    source.look()
    assert most(budgets) == [("day", Decimal(1))]


def test_a_file_that_is_written_twice_in_one_tick_is_read_twice(start: Start, file: Path) -> None:
    budgets = BudgetSet()
    source = start(budgets, file)
    before = file.stat()
    text = file.read_text().replace("$2", "$9")
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    source.look()
    assert most(budgets) == [("day", Decimal(9))]


def test_rules_that_did_not_change_are_left_alone(start: Start, ledger: Ledger, file: Path) -> None:
    budgets = BudgetSet()
    source = start(budgets, file)
    limits = budgets.limits(ALICE, time.time_ns())
    os.utime(file)
    source.look()
    assert budgets.limits(ALICE, time.time_ns()) is limits


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[budget]]\nrule = '$5 a day'", "budget 1"),
        ("this is no toml", "is not TOML"),
        ("[[budget]]\nrule = '$5/day'\n[[budget]]\nrule = '$6/day'", "budget 2"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_is_told_once_and_leaves_the_rules_as_they_are(
    start: Start, file: Path, text: str | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    budgets = BudgetSet()
    source = start(budgets, file)
    file.unlink()
    if text is not None:
        file.write_text(text)
    with caplog.at_level(logging.WARNING, logger="costguard"):
        for _ in range(3):
            source.look()
        assert most(budgets) == [("day", Decimal(2))]
        (record,) = caplog.records
        assert says in record.getMessage()
        assert str(file) in record.getMessage()
        assert "stay as they were last read" in record.getMessage()
        caplog.clear()
        write(file, "$4/day per user")
        source.look()
        assert most(budgets) == [("day", Decimal(4))]
        assert [one.getMessage() for one in caplog.records] == [f"budgets of the file {file} are read again"]


def test_an_app_does_not_start_without_the_file_it_was_given(ledger: Ledger, tmp_path: Path, file: Path) -> None:
    missing = BudgetSource(BudgetSet(), ledger, tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"the budget file .*nowhere\.toml cannot be read .*leave out budget_file="):
        missing.start()
    file.write_text("[[budget]]\nrule = '$5 a day'")
    with pytest.raises(ConfigError, match=r"budgets\.toml, budget 1"):
        BudgetSource(BudgetSet(), ledger, file).start()


def test_a_file_that_contradicts_itself_does_not_come_into_force(start: Start, file: Path) -> None:
    budgets = BudgetSet(["$1/day per team"])
    source = start(budgets, file)
    write(file, "$5/day per user for plan=pro", "$6/day per user for region=eu")
    source.look()
    assert sorted(map(str, budgets)) == ["$1.00/day per team", "$2.00/day per user"]


def test_a_store_that_is_away_is_told_once_and_leaves_the_rules_as_they_are(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    url = server.database()
    ledger = open_ledger(url)
    set_budget(ledger, "$3/day per user", "ann")
    budgets = BudgetSet(["$1/day per user"])
    source = start(budgets, over=ledger)
    server.stop()
    with caplog.at_level(logging.WARNING, logger="costguard"):
        source.look()
        source.look()
        assert most(budgets) == [("day", Decimal(3))]
        # Another of this process may tell that it misses a store of its own.
        told = [record.getMessage() for record in caplog.records if record.module == "budget_source"]
        assert len(told) == 1
        assert "budgets of the database postgresql://" in told[0]
        with pytest.raises(StoreUnavailable):
            BudgetSource(BudgetSet(), open_ledger(ledger)).start()
        server.start()
        source.look()
        assert caplog.records[-1].getMessage().endswith("are read again")
    set_budget(ledger, "$4/day per user", "ann")
    source.look()
    assert most(budgets) == [("day", Decimal(4))]
    ledger.close()


def test_a_rule_of_a_newer_version_leaves_the_rules_as_they_are(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/costs.db")
    set_budget(ledger, "$3/day per user", "ann")
    budgets = BudgetSet()
    source = start(budgets, over=ledger)
    newer = set_budget(ledger, "$9/month", "ann")
    with ledger._driver.reading() as connection:  # type: ignore[attr-defined]
        path = connection.exec_driver_sql("PRAGMA database_list").fetchone()[2]
    change(path, f"UPDATE costguard_budgets SET rule = '$9/fortnight' WHERE id = {newer.id}")
    source.look()
    assert most(budgets) == [("day", Decimal(3))]
    message = caplog.records[-1].getMessage()
    assert f"budget {newer.id} of the database, by ann: " in message
    assert f"upgrade costguard, or: costguard budgets remove {newer.id}" in message
    remove_budget(ledger, newer.id, "ann")
    set_budget(ledger, "$5/day per user", "ann")
    source.look()
    assert most(budgets) == [("day", Decimal(5))]
    ledger.close()


def change(path: str, statement: str) -> None:
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def test_a_look_that_fails_in_an_unknown_way_harms_nobody(
    start: Start, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryLedger):
        @property
        def inner(self) -> Ledger:
            if self.broken:
                raise ZeroDivisionError("a bug")
            return None  # type: ignore[return-value]

        broken = False

    ledger = Broken()
    budgets = BudgetSet()
    source = start(budgets, file, over=ledger)
    ledger.broken = True
    write(file, "$8/day per user")
    source.look()
    assert most(budgets) == [("day", Decimal(8))]
    assert "ZeroDivisionError: a bug" in caplog.text


def test_its_thread_looks_again_and_again_and_ends_with_it(ledger: Ledger, file: Path) -> None:
    budgets = BudgetSet()
    others = threads()
    source = BudgetSource(budgets, ledger, file, every=0.01)
    source.start()
    source.start()
    assert len(threads() - others) == 1
    set_budget(ledger, "$3/day per user", "ann")
    assert until(lambda: most(budgets) == [("day", Decimal(3))])
    write(file, "$4/month")
    assert until(lambda: ("month", Decimal(4)) in most(budgets))
    source.close(PATIENCE)
    source.close()
    assert threads() <= others
    # It can be started again.
    source.start()
    assert len(threads() - others) == 1
    source.close(PATIENCE)


def threads() -> set[threading.Thread]:
    """Those that look for changes; guards of other tests may have some, too."""
    return {thread for thread in threading.enumerate() if thread.name == "costguard-budgets"}


def test_a_guard_that_is_forgotten_is_not_kept_by_its_thread(ledger: Ledger) -> None:
    others = threads()
    source = BudgetSource(BudgetSet(), ledger, every=0.01)
    source.start()
    gone = ref(source)
    del source

    def collected() -> bool:
        gc.collect()
        return gone() is None

    assert until(collected)
    assert until(lambda: threads() <= others)


def test_a_forked_worker_sees_changes_too(tmp_path: Path, file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.budget_worker", "fork", f"sqlite:///{tmp_path}/costs.db", str(file)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"child": ["$3.00/day per user"], "parent": ["$3.00/day per user"]}


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_two_workers_see_a_change_of_the_command_line_within_seconds(store: str, tmp_path: Path, file: Path) -> None:
    url = new_url(store, tmp_path)
    open_ledger(url).close()
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.budget_worker", "watch", url, str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        assert [read(worker) for worker in workers] == [["$2.00/day per user"]] * 2
        costguard("budgets", "set", "$3/day per user", "--author", "ann", "--store", url)
        assert [read(worker) for worker in workers] == [["$3.00/day per user"]] * 2
        write(file, "$2/day per user", "$70/month")
        assert [read(worker) for worker in workers] == [["$3.00/day per user", "$70.00/month"]] * 2
        costguard("budgets", "remove", "$3/day per user", "--author", "ann", "--store", url)
        assert [read(worker) for worker in workers] == [["$2.00/day per user", "$70.00/month"]] * 2
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_a_guard_refuses_by_what_was_set_while_it_runs(tmp_path: Path, file: Path) -> None:
    url = new_url("sqlite", tmp_path)
    others = threads()
    with Guard(url, budgets=["$1/day per user"], budget_file=file) as guard:
        assert [standing.limit for standing in guard.standings(user="alice")] == [Decimal(2)]
        guard.check(ALICE)
        costguard("budgets", "set", "$0/day per user for user=alice", "--author", "ann", "--store", url)

        def refused() -> bool:
            try:
                guard.check(ALICE)
            except BudgetExceeded:
                return True
            return False

        assert until(refused)
        guard.check({"user": "bob"})
        costguard(
            "grants", "add", "$0/day per user for user=alice", "3", "--payer", "user=alice", "--reason", "sorry",
            "--author", "ann", "--store", url,
        )  # fmt: skip
        assert until(lambda: not refused())
        assert [standing.limit for standing in guard.standings(user="alice")] == [Decimal(3)]
    assert threads() <= others


def read(worker: subprocess.Popen[str]) -> list[str]:
    """The next line of a worker: the rules in force after the next change that it sees."""
    assert worker.stdout is not None
    found: list[str] = json.loads(worker.stdout.readline())
    return found


def costguard(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
