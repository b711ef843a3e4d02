from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from costguard.cli import app
from costguard.ledger.opening import open_ledger
from costguard.version import __version__
from tests.alerts.crossings import record, tell

HOUR = 3600 * 10**9


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTGUARD_STORE", raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    ledger = open_ledger(url)
    now = time.time_ns()
    record(ledger, "1.25", user="alice", feature="chat", at_ns=now - HOUR)
    record(ledger, "0.75", user="bob", feature="search", at_ns=now - HOUR, estimated=True)
    record(ledger, None, user="bob", feature="chat", model="made-up-1", at_ns=now - HOUR)
    record(ledger, "8.00", user="alice", feature="chat", at_ns=now - 30 * 24 * HOUR)
    ledger.close()
    return url


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=dict(environment))


def test_a_report_is_a_table_of_the_last_week(store: str) -> None:
    result = run("report", "--store", store)
    assert result.exit_code == 0, result.output
    (alice,) = [line.split() for line in result.stdout.splitlines() if "alice" in line]
    assert alice[:3] == ["alice", "chat", "$1.25"]
    assert "Not in the total: 1 call without a price" in result.stdout
    assert "Estimated: $0.75 of the total" in result.stdout


def test_a_report_can_be_json(store: str) -> None:
    result = run("report", "--by", "user", "--since", "all", "--json", "--store", store)
    report = json.loads(result.stdout)
    assert report["total"]["cost"] == "10.00"
    assert report["total"]["unpriced_calls"] == 1
    assert [(row["group"]["user"], row["cost"]) for row in report["rows"]] == [("alice", "9.25"), ("bob", "0.75")]


def test_a_report_can_be_narrowed_by_tag_and_time(store: str) -> None:
    narrowed = ("report", "--store", store, "--json", "--where", "feature=chat", "--where", "user=alice")
    assert json.loads(run(*narrowed, "--since", "24h").stdout)["total"]["cost"] == "1.25"
    assert json.loads(run(*narrowed, "--since", "all", "--until", "24h").stdout)["total"]["cost"] == "8.00"


def test_the_store_can_come_from_the_environment(store: str) -> None:
    assert run("report", COSTGUARD_STORE=store).exit_code == 0


def test_a_report_on_a_file_that_is_not_there_says_so_and_makes_none(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.db"
    result = run("report", "--store", f"sqlite:///{missing}")
    assert result.exit_code == 2
    assert f"there is no file '{missing}'" in result.stderr
    assert not missing.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report"], "no store given: add --store sqlite:///costs.db, or set COSTGUARD_STORE"),
        (["report", "--store", "memory://"], "'memory://' lives inside one process"),
        (["report", "--store", "oracle://me:secret@x"], "oracle"),
        (["report", "--store", "sqlite://data/costs.db"], "names a host, 'data'"),
        (["report", "--store", "sqlite:///."], "is a directory; give the path of a file in it"),
        (["report", "--store", "sqlite://"], "sqlite://"),
        (["report", "--store", "sqlite:///:memory:"], "in memory"),
        (["report", "--store", "STORE", "--since", "yesterday"], "since 'yesterday' is not a time"),
        (["report", "--store", "STORE", "--until", "soon"], "until 'soon' is not a time"),
        (["report", "--store", "STORE", "--by", "us er"], "by 'us er'"),
        (["report", "--store", "STORE", "--where", "feature"], "--where 'feature' is not TAG=VALUE"),
        (["report", "--store", "STORE", "--where", "day=2026-11-22"], "where 'day' is a time"),
        (["report", "--store", "STORE", "--compare", "before"], "--compare 'before' is not previous"),
        (["report", "--store", "STORE", "--since", "all", "--compare", "previous"], "has no period before it"),
        (["report", "--store", "STORE", "--columns", "cost"], "column 'cost' is not one of share, calls"),
        (["report", "--store", "STORE", "--grain", "year"], "grain 'year' is not one of"),
        (["report", "--store", "STORE", "--tz", "Mars/Base"], "Mars/Base"),
        (["top", "--store", "STORE", "--order", "size"], "order 'size' is not one of"),
        (["explain", "--store", "STORE", "--since", "all"], "--since all has no period before it"),
        (["forecast", "--store", "STORE", "--limit", "much"], "limit 'much' is not an amount"),
        (["tail", "--store", "STORE", "--every", "0"], "--every 0 is not between"),
        (["calls", "list", "--store", "STORE", "--order", "oldest"], "order 'oldest' is not one of"),
        (["calls", "show", "--store", "STORE", "17"], "'17' is not the id of a call"),
        (["calls", "show", "--store", "STORE", "019aab3c-9c00-7000-8000-000000000001"], "has no call 019aab3c"),
        (["export", "xlsx", "--store", "STORE"], "format 'xlsx' is not one of csv, jsonl, parquet, focus"),
        (["export", "focus", "--store", "STORE"], "--billing-account"),
        (["export", "focus", "--store", "STORE", "--billing-account", "openai="], "is not ID or PROVIDER=ID"),
        (["export", "csv", "--store", "STORE", "--output", "/nowhere/at/all.csv"], "cannot be written"),
        (["export", "csv", "--store", "STORE", "--output", "x" * 300], "cannot be written (File name too long)"),
    ],
)
def test_a_wrong_setting_is_one_line_on_stderr(store: str, arguments: list[str], says: str) -> None:
    result = run(*[store if part == "STORE" else part for part in arguments])
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["report", "doctor", "migrate", "dashboard"])
@pytest.mark.parametrize(
    "url",
    [
        "memory://me:secret@x", "me:secret@host/db", "host=h password=secret", "postgresql:me:secret@h/db",
        "postgresql://me:a@secret@127.0.0.1:1/db", "postgresql://me:a[secret@127.0.0.1:1/db",
        "postgresql://[me:secret@h]/db",
    ],
)  # fmt: skip
def test_no_command_prints_the_password_of_a_store_that_was_written_wrong(command: str, url: str) -> None:
    result = run(command, "--store", url)
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "secret" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [("tail", "-n", "9" * 23), ("alerts", "retry", "9" * 23), ("alerts", "unmute", "9" * 23)],
)
def test_a_number_that_no_database_holds_is_a_wrong_setting(store: str, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--store", store)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr


def test_what_people_have_named_cannot_drive_the_terminal(store: str) -> None:
    ledger = open_ledger(store)
    record(ledger, None, user="mallory", model="made-up\x1bc", at_ns=time.time_ns() - HOUR)
    ledger.close()
    rule, who = "$5/day per user for user=\x1bc", "user=\x1bc"
    said = [
        run(*arguments, "--store", store, "--author", "ann")
        for arguments in (
            ("reprice", "--since", "all", "--dry-run"),
            ("budgets", "set", rule),
            ("budgets", "set", rule),
            ("budgets", "set", rule.replace("5", "6")),
            ("grants", "add", "$5/day per user", "1", "--payer", who, "--reason", "x"),
            ("grants", "remove", "1"),
            ("budgets", "remove", rule),
        )
    ]
    said.append(run("budgets", "list", "--tags", who, "--store", store))
    said.append(run("export", "\x1bc", "--store", store))
    assert [each.exit_code for each in said] == [0] * 8 + [2], [each.output for each in said]
    assert not any("\x1b" in each.output for each in said)


def test_a_file_that_is_no_ledger_is_a_store_failure(tmp_path: Path) -> None:
    junk = tmp_path / "costs.db"
    junk.write_bytes(b"this is not a database, " * 100)
    result = run("report", "--store", f"sqlite:///{junk}")
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert "costs.db is not an SQLite database; give the path of another file" in result.stderr


def test_an_unknown_command_or_option_is_a_usage_error() -> None:
    assert run("reprot").exit_code == 2
    assert run("report", "--nonsense").exit_code == 2


def test_migrate_makes_the_ledger_and_can_be_repeated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    for _ in range(2):
        result = run("migrate", "--store", url)
        assert result.exit_code == 0, result.output
        assert "is up to date" in result.stdout
    assert "No calls." in run("report", "--store", url).stdout


def test_alerts_counts_what_is_still_to_be_told(store: str) -> None:
    assert run("alerts", "--store", store).stdout == "every alert is told or given up\n"
    ledger = open_ledger(store)
    tell(ledger)
    ledger.close()
    assert run("alerts", "--store", store).stdout == "1 alert not told yet\n"


def test_version_is_the_packages_own() -> None:
    assert run("version").stdout == f"costguard {__version__}\n"


def test_the_installed_command_works_as_a_process(store: str) -> None:
    command = Path(sys.executable).with_name("costguard")
    done = subprocess.run([command, "report", "--store", store, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["total"]["cost"] == "2.00"
    wrong = subprocess.run([command, "report"], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"})
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("costguard: no store given")


def test_a_terminal_without_unicode_gets_a_table_too(store: str) -> None:
    ledger = open_ledger(store)
    record(ledger, "1", user="zoë", at_ns=time.time_ns() - HOUR)
    ledger.close()
    done = subprocess.run(
        [sys.executable, "-m", "costguard.cli", "report", "--store", store],
        capture_output=True, check=True, env={"PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert "zoë".encode("latin-1") in done.stdout
    assert b"$3.00" in done.stdout
