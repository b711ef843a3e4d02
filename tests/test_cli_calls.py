"""`costguard calls` and `costguard tail`: single calls, and those that come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from costguard.call import new_call_id
from costguard.cli import app
from costguard.cli_tail import line
from costguard.events import Entry
from costguard.ledger.opening import open_ledger
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
from costguard.reprice import reprice
from costguard.tags import Tags
from tests.alerts.crossings import record

MINUTE = 60 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    open_ledger(url).close()
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def priced(store: str, usage: Usage, **more: object) -> Entry:
    """An entry as the guard makes it, with its rates."""
    now = time.time_ns() - MINUTE
    rates = PriceBook().rates("openai", "gpt-4o", now)
    assert rates is not None
    entry = Entry(
        new_call_id(now), now, "openai", "gpt-4o", "chat", rates.nanos(usage), usage, rates,
        tags=Tags(user="alice", feature="chat"), **more,
    )  # fmt: skip
    ledger = open_ledger(store)
    ledger.settle(entry, None)
    ledger.close()
    return entry


def test_the_receipt_of_a_call_adds_up(store: str) -> None:
    entry = priced(store, Usage(input_tokens=12_000, cache_read_tokens=9_000, output_tokens=2_500), attempts=2)
    result = run("calls", "show", entry.call_id, "--store", store)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["cache_read", "9,000", "$1.25", "per", "M", "$0.01125"] in lines
    assert ["total", "$0.04375"] in lines
    assert "2 attempts" in result.stdout
    assert "Prices of openai/gpt-4o from genai-prices" in result.stdout
    told = json.loads(run("calls", "show", entry.call_id, "--store", store, "--json").stdout)
    assert (told["cost"], told["receipt"]["cost"]) == ("0.04375", "0.04375")


def test_a_correction_is_shown_with_the_call_that_it_corrects(store: str) -> None:
    ledger = open_ledger(store)
    entry = record(ledger, None, model="own-model", at_ns=time.time_ns() - MINUTE)
    reprice(
        ledger, PriceBook({"openai/own-model": {"input": "1", "output": "2"}}), dry_run=False, author="ann"
    )  # fmt: skip
    ledger.close()
    result = run("calls", "show", entry.call_id, "--store", store)
    assert "openai/own-model  $0.00014" in result.stdout
    assert "Corrected by +$0.00014" in result.stdout
    assert "There is no receipt: it has no price." in result.stdout


def test_calls_are_listed_by_time_cost_or_duration_and_paged(store: str) -> None:
    ledger = open_ledger(store)
    now = time.time_ns()
    for place, cost in enumerate(("0.3", "0.1", "0.2")):
        record(ledger, cost, user=f"user{place}", at_ns=now - (3 - place) * MINUTE)
    ledger.close()

    def users(*arguments: str) -> list[str]:
        page = json.loads(run("calls", "list", "--store", store, "--json", *arguments).stdout)
        return [one["tags"]["user"] for one in page["calls"]]

    assert users() == ["user2", "user1", "user0"]
    assert users("--order", "dearest") == ["user0", "user2", "user1"]
    page = run("calls", "list", "--store", store, "-n", "2")
    assert "user=user2" in page.stdout
    after = page.stdout.rsplit("--after ", 1)[1].strip()
    assert users("--after", after) == ["user0"]
    assert users("--where", "user=user1") == ["user1"]


def test_the_newest_calls_are_shown_oldest_first(store: str) -> None:
    ledger = open_ledger(store)
    now = time.time_ns()
    record(ledger, "0.3", user="early", at_ns=now - 3 * MINUTE)
    record(ledger, None, user="late", model="made-up-1", at_ns=now - MINUTE)
    ledger.close()
    first, second = run("tail", "--store", store).stdout.splitlines()
    assert "user=early" in first
    assert "$0.30" in first
    assert "unpriced" in second
    assert run("tail", "-n", "1", "--store", store).stdout.splitlines() == [second]
    assert run("tail", "-n", "0", "--store", store).stdout == ""
    told = [json.loads(text) for text in run("tail", "--store", store, "--json").stdout.splitlines()]
    assert [one["tags"]["user"] for one in told] == ["early", "late"]


@pytest.mark.long
def test_following_shows_each_call_that_comes_once_also_one_that_took_long(store: str) -> None:
    ledger = open_ledger(store)
    record(ledger, "0.1", user="before", at_ns=time.time_ns() - MINUTE)
    command = [sys.executable, "-m", "costguard.cli", "tail", "-f", "--every", "0.1", "--store", store, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["tags"]["user"] == "before"
        record(ledger, "0.2", user="now", at_ns=time.time_ns())
        assert json.loads(process.stdout.readline())["tags"]["user"] == "now"
        record(ledger, "0.2", user="long", at_ns=time.time_ns() - 10 * MINUTE)
        assert json.loads(process.stdout.readline())["tags"]["user"] == "long"
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    ledger.close()
    assert (rest, errors, process.returncode) == ("", "", 130)


@pytest.mark.long
def test_a_reader_that_goes_away_ends_it_without_a_traceback(store: str) -> None:
    ledger = open_ledger(store)
    for _ in range(300):
        record(ledger, "0.1", user="x" * 150, at_ns=time.time_ns() - MINUTE)
    ledger.close()
    command = [sys.executable, "-m", "costguard.cli", "tail", "-n", "300", "--store", store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        process.wait(30)


def test_a_line_fits_the_terminal_and_tags_do_not_drive_it() -> None:
    now = time.time_ns()
    entry = Entry(
        new_call_id(now), now, "openai", "gpt-4o", "chat", 2, status="error", tags=Tags(user="\x1b[31m漢字" * 20)
    )
    text = line(entry, width=60)
    assert "\x1b" not in text
    assert text.endswith("…")
    from rich.cells import cell_len

    assert cell_len(text) <= 60
    assert line(entry, width=200, color=True).startswith("\x1b[31m")
    assert os.linesep not in line(entry)
