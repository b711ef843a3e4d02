"""What is true of every command: `--json`, help, exit codes, quiet pipes; and completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from costguard.cli import app
from costguard.ledger.opening import open_ledger
from tests.alerts.crossings import record

NOT_FOR_PROGRAMS = {("dashboard",)}
"""Serves until somebody ends it."""

DAY = 24 * 3600 * 10**9


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words."""
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield (*path, name), command
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    ledger = open_ledger(url)
    record(ledger, "1.25", user="alice", feature="chat", at_ns=time.time_ns() - DAY)
    ledger.close()
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_commands_are_these() -> None:
    assert {path[0] for path in ALL} == {
        "report", "top", "tail", "explain", "forecast", "budgets", "grants", "prices", "alerts", "calls", "export",
        "check", "reprice", "retain", "migrate", "doctor", "dashboard", "version",
    }  # fmt: skip


@pytest.mark.parametrize("path", [path for path in ALL if path not in NOT_FOR_PROGRAMS], ids=" ".join)
def test_every_command_has_an_answer_for_programs(path: tuple[str, ...]) -> None:
    assert any("--json" in parameter.opts for parameter in ALL[path].params)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_says_what_it_does(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert ALL[path].help


READING: dict[tuple[str, ...], tuple[str, ...]] = {
    ("report",): (), ("top",): (), ("tail",): (), ("explain",): (), ("forecast",): (), ("budgets", "list"): (),
    ("budgets", "standings"): (), ("grants", "list"): (), ("prices", "check"): (), ("alerts", "list"): (),
    ("alerts",): (), ("alerts", "preview"): ("--rule", "burn fast"), ("calls", "list"): (), ("check",): (),
    ("migrate",): (), ("retain",): ("--before", "2020-01-01"), ("reprice",): ("--since", "all", "--dry-run"),
    ("doctor",): (),
}  # fmt: skip
"""Commands that read a store, with what they must be told."""


@pytest.mark.parametrize("path", READING, ids=" ".join)
def test_what_is_for_programs_is_json_and_nothing_else(path: tuple[str, ...], store: str) -> None:
    result = run(*path, *READING[path], "--store", store, "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)


@pytest.mark.parametrize("path", READING, ids=" ".join)
def test_what_is_for_people_has_no_escape_sequence_in_a_pipe(path: tuple[str, ...], store: str) -> None:
    ledger = open_ledger(store)
    record(ledger, "1", user="eve\x1b[2J\x07", feature="\u202eevil", model="gpt-4o\x1b]0;x", at_ns=time.time_ns() - DAY)
    ledger.close()
    result = run(*path, *READING[path], "--store", store)
    assert result.exit_code in (0, 1), result.output
    assert not {"\x1b", "\x07", "\u202e"} & set(result.stdout)


@pytest.mark.parametrize("path", [path for path in READING if path not in (("migrate",), ("doctor",))], ids=" ".join)
def test_a_store_that_is_not_there_is_exit_code_2_and_one_line(path: tuple[str, ...], tmp_path: Path) -> None:
    result = run(*path, *READING[path], "--store", f"sqlite:///{tmp_path / 'none.db'}")
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize("path", [("report",), ("tail",), ("check",), ("calls", "list")], ids=" ".join)
def test_a_store_that_cannot_be_read_is_exit_code_1(path: tuple[str, ...], tmp_path: Path) -> None:
    junk = tmp_path / "costs.db"
    junk.write_bytes(b"this is not a database, " * 100)
    result = run(*path, "--store", f"sqlite:///{junk}")
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1


def complete(shell: str, words: str) -> str:
    environment = {
        **os.environ,
        "_COSTGUARD_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
        "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "costguard.cli"], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    found = complete(shell, "costguard re")
    assert "report" in found
    assert "reprice" in found
    assert "tail" not in found


@pytest.mark.long
def test_a_shell_completes_values() -> None:
    assert complete("bash", "costguard export p").split() == ["parquet"]
    assert set(complete("bash", "costguard calls list --order ").split()) == {"newest", "dearest", "slowest"}
    assert complete("bash", "costguard report --grain m").split() == ["month"]


def test_the_completion_of_a_shell_can_be_shown() -> None:
    assert "--install-completion" in run("--help").stdout
    assert "--show-completion" in run("--help").stdout


def in_terminal(command: list[str], **environment: str) -> str:
    """What a command writes into a terminal of 100 columns."""
    import pty

    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "costguard.cli", *command], stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
    ) as process:  # fmt: skip
        os.close(slave)
        written = b""
        while True:
            try:
                part = os.read(master, 65_536)
            except OSError:
                break
            if not part:
                break
            written += part
        process.wait(60)
    os.close(master)
    return written.decode()


@pytest.mark.long
def test_a_terminal_gets_colors_unless_it_says_no(store: str) -> None:
    assert "\x1b[1m" in in_terminal(["report", "--store", store])
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        assert "\x1b[" not in in_terminal(["report", "--store", store], **{name: value})
        assert "\x1b[" not in in_terminal(["prices", "show", "gpt-4o"], **{name: value})


@pytest.mark.long
def test_an_export_into_a_terminal_shows_no_control_character(store: str) -> None:
    ledger = open_ledger(store)
    record(ledger, "1", user="\x1b[2J", at_ns=time.time_ns() - DAY)
    ledger.close()
    shown = in_terminal(["export", "csv", "--store", store], TERM="dumb")
    assert "�[2J" in shown
    assert "\x1b" not in shown


@pytest.mark.long
def test_a_bar_in_a_terminal_leaves_the_file_alone(store: str, tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    shown = in_terminal(["export", "csv", "-o", str(path), "--store", store])
    assert "1 row of 1 entry" in shown
    assert "\x1b" not in path.read_text()
