"""`costguard check | retain | migrate`, and what every command says of a store it cannot use."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, inspect
from typer.testing import CliRunner, Result

from costguard.cli import app
from costguard.ledger import migrate
from costguard.ledger.opening import open_ledger
from tests.alerts.crossings import record
from tests.ledger.postgres import server
from tests.ledger.stores import new_url
from tests.ledger.values import entry, hold, limit

DAY = 86_400 * 10**9
READING = (
    ["report"], ["alerts"], ["check"], ["retain", "--before", "2026-01-01"], ["budgets", "list"],
    ["budgets", "set", "$5/day"], ["grants", "list"],
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COSTGUARD_STORE", "COSTGUARD_BUDGET_FILE", "COSTGUARD_AUTHOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = new_url(request.param, tmp_path)
    open_ledger(url).close()
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def told(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def spend(url: str) -> None:
    """One call of ten cents, and one that runs and holds twenty."""
    ledger = open_ledger(url)
    now = time.time_ns()
    limits = limit("$1/day per user", at_ns=now), limit("$5/month", at_ns=now)
    settled, running = (hold(*limits, cents=cents, at_ns=now) for cents in (10, 20))
    for one in (settled, running):
        assert ledger.reserve(one, now) is None
    ledger.settle(entry(settled), settled)
    ledger.close()


def change(url: str, statement: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute(statement)
        connection.close()
    else:
        server().execute(statement, url)


def test_books_that_add_up_are_told_to(store: str) -> None:
    spend(store)
    result = run("check", "--store", store)
    assert (result.exit_code, result.stdout) == (0, "2 balances and 1 hold: all add up\nrollups of 1 day: all add up\n")
    found = told("check", "--store", store)
    assert (found["ok"], found["balances"], found["holds"], found["differences"]) == (True, 2, 1, [])


def test_a_balance_that_differs_is_shown_and_repaired(store: str) -> None:
    spend(store)
    change(store, "UPDATE costguard_balances SET spent = spent + 50000000, held = 0 WHERE payer <> '[]'")
    for _ in range(2):
        result = run("check", "--store", store)
        assert result.exit_code == 1
        line = result.stdout.splitlines()[1]
        assert line.split() == ["user=alice", "$1.00/day", "per", "user", "$0.15", "$0.10", "$0.00", "$0.20"]
        assert "1 of 2 balances differs; mend with: --repair" in result.stdout
    found = run("check", "--json", "--store", store)
    assert found.exit_code == 1
    (difference,) = json.loads(found.stdout)["differences"]
    assert (difference["spent_recorded"], difference["spent_entries"]) == ("0.15", "0.10")
    repaired = run("check", "--repair", "--store", store)
    assert repaired.exit_code == 0
    assert "1 of 2 balances differs, and were made what the rows say" in repaired.stdout
    assert run("check", "--store", store).exit_code == 0


def test_rollups_that_differ_are_told_and_rebuilt(store: str) -> None:
    spend(store)
    change(store, "UPDATE costguard_days SET cost = cost + 1")
    result = run("check", "--store", store)
    assert result.exit_code == 1
    assert "1 line of the rollups of 1 day differed from the entries; mend with: --rebuild" in result.stdout
    found = json.loads(run("check", "--json", "--store", store).stdout)
    assert (found["ok"], found["rollups"]["differences"]) == (False, 1)
    rebuilt = run("check", "--rebuild", "--store", store)
    assert rebuilt.exit_code == 0
    assert "1 line of the rollups of 1 day differed, and were made what the entries say" in rebuilt.stdout
    assert run("check", "--store", store).exit_code == 0
    assert told("report", "--since", "all", "--store", store)["total"]["cost"] == "0.10"


def test_holds_past_their_expiry_are_told_and_are_no_difference(store: str) -> None:
    ledger = open_ledger(store)
    now = time.time_ns()
    one = hold(limit(at_ns=now), at_ns=now - 3600 * 10**9, seconds=60)
    assert ledger.reserve(one, now - 3600 * 10**9) is None
    ledger.close()
    result = run("check", "--store", store)
    assert result.exit_code == 0
    assert "1 hold past the expiry: charged as lost by whoever looks next" in result.stdout
    (expired,) = told("check", "--store", store)["expired"]
    assert expired["call_id"] == one.call.id


def test_old_entries_are_forgotten_and_balances_stay(store: str) -> None:
    spend(store)
    ledger = open_ledger(store)
    record(ledger, "1.25", at_ns=time.time_ns() - 100 * DAY)
    ledger.close()
    before = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 40 * 86_400))
    result = run("retain", "--before", before, "--store", store)
    assert (result.exit_code, result.stdout) == (0, f"1 entry from before {before} forgotten\n")
    assert told("report", "--since", "all", "--store", store)["total"]["cost"] == "0.10"
    assert run("retain", "--before", before, "--store", store).stdout.startswith("0 entries")
    assert run("check", "--store", store).exit_code == 0


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("soon", "--before 'soon' is not a date; write it as 2026-01-01"),
        ("2026-13-01", "is not a date"),
        ("2999-01-01", "--before 2999-01-01 must be a day between 1970 and today"),
        ("1950-01-01", "must be a day between 1970 and today"),
    ],
)
def test_a_wrong_date_forgets_nothing(tmp_path: Path, before: str, says: str) -> None:
    url = new_url("sqlite", tmp_path)
    ledger = open_ledger(url)
    record(ledger, "1.25", at_ns=time.time_ns() - 100 * DAY)
    result = run("retain", "--before", before, "--store", url)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(ledger.entries({})) == 1
    ledger.close()


def test_retain_has_to_be_told_from_when(store: str) -> None:
    assert run("retain", "--store", store).exit_code == 2


def of_before(postgres: bool, tmp_path: Path) -> str:
    """A ledger of the version before."""
    url = server().database("template1") if postgres else f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    if postgres:
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.begin() as connection:
        migrate.upgrade(connection, "0001")
    engine.dispose()
    return url


@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgres"])
def test_only_migrate_changes_the_schema(postgres: bool, tmp_path: Path) -> None:
    url = of_before(postgres, tmp_path)
    for arguments in READING:
        result = run(*arguments, "--store", url)
        assert result.exit_code == 2, result.output
        assert f"has schema 0001, and this costguard reads {migrate.HEAD}" in result.stderr
        assert "costguard migrate" in result.stderr
    assert not has_table(url, "costguard_budgets")
    assert run("migrate", "--store", url).exit_code == 0
    for arguments in READING:
        assert run(*arguments, "--store", url).exit_code == 0
    assert has_table(url, "costguard_budgets")


def has_table(url: str, name: str) -> bool:
    engine = create_engine(url)
    if url.startswith("postgresql"):
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    found = inspect(engine).has_table(name)
    engine.dispose()
    return found


@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgres"])
def test_a_database_without_a_ledger_gets_none_by_being_read(postgres: bool, tmp_path: Path) -> None:
    if postgres:
        url = server().database("template1")
    else:
        url = f"sqlite:///{tmp_path}/empty.db"
        sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE theirs (id INTEGER)").connection.close()
    result = run("report", "--store", url)
    assert result.exit_code == 2
    assert "has no ledger in it yet; check the name, or make one: costguard migrate" in result.stderr
    assert not has_table(url, "costguard_entries")


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_each_command_says_what_is_wrong_with_a_store(arguments: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.db"
    for url, code, says in (
        (f"sqlite:///{missing}", 2, f"there is no file '{missing}'"),
        ("memory://", 2, "lives inside one process"),
        ("oracle://me:secret@x", 2, "oracle://..."),
        ("postgresql://nobody@127.0.0.1:1/none", 1, "cannot be reached"),
        ("", 2, "no store given"),
    ):
        result = run(*arguments, "--store", url)
        assert result.exit_code == code, result.output
        assert says in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert "secret" not in result.stderr
    assert not missing.exists()
