"""`costguard reprice`: what differs, what is recorded, and who did it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from costguard.cli import app
from costguard.ledger.opening import open_ledger
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger import valkey
from tests.ledger.stores import new_url
from tests.ledger.values import entry, hold, limit

PRICES = {"openai/mine": {"input": "3", "output": "3"}}
USAGE = Usage(input_tokens=1_000_000)


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COSTGUARD_STORE", "COSTGUARD_BUDGET_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COSTGUARD_AUTHOR", "ann")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = new_url(request.param, tmp_path)
    ledger = open_ledger(url)
    now = time.time_ns()
    rates = PriceBook({"openai/mine": {"input": "1", "output": "1"}}).rates("openai", "mine", now)
    for cents, model in ((100, "mine"), (100, "mine"), (None, "unheard-of")):
        held = hold(limit("$5/day per user", at_ns=now), at_ns=now, model=model)
        assert ledger.reserve(held, now) is None
        ledger.settle(entry(held, cents, usage=USAGE, rates=rates if cents else None), held)
    ledger.close()
    return url


@pytest.fixture
def prices(tmp_path: Path) -> str:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(PRICES))
    return str(file)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["reprice", *arguments])


def told(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_a_dry_run_shows_the_difference_by_model_and_by_payer(store: str, prices: str) -> None:
    result = run("--since", "7d", "--prices", prices, "--dry-run", "--store", store)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["openai", "mine", "2", "-", "$2.00", "$6.00", "+$4.00"] in lines
    assert ["alice", "2", "-", "$2.00", "$6.00", "+$4.00"] in lines
    assert lines.count(["total", "2", "-", "$2.00", "$6.00", "+$4.00"]) == 2
    assert "Without a price: openai/unheard-of, 1 call, 1,000,000 tokens" in result.stdout
    assert "Nothing was recorded. To record it: the same without --dry-run" in result.stdout
    assert told("--history", "--store", store) == []


def test_what_differs_is_recorded_once_and_the_books_stay_exact(store: str, prices: str) -> None:
    given = ("--since", "all", "--prices", prices, "--reason", "a new contract", "--store", store)
    assert "2 adjustments recorded" in run(*given).stdout
    again = run(*given)
    assert "2 cost what is recorded" in again.stdout
    assert "Nothing differs." in again.stdout
    check = CliRunner().invoke(app, ["check", "--store", store])
    assert check.exit_code == 0
    assert check.stdout.splitlines() == ["1 balance and 0 holds: all add up", "rollups of 1 day: all add up"]
    report = json.loads(CliRunner().invoke(app, ["report", "--by", "user", "--json", "--store", store]).stdout)
    assert (report["total"]["cost"], report["total"]["calls"]) == ("6.00", 3)
    (deed,) = told("--history", "--store", store)
    assert (deed["author"], deed["reason"]) == ("ann", "a new contract")
    assert deed["details"] == {"adjusted": 2, "nanos": 4_000_000_000}
    assert "ann" in run("--history", "--store", store).stdout


def test_it_can_be_told_to_programs(store: str, prices: str) -> None:
    found = told("--since", "1d", "--prices", prices, "--model", "mine", "--provider", "openai", "--store", store)
    assert (found["written"], found["total"]["difference"], found["dry_run"]) == (2, "4.00", False)
    assert found["by_model"][0]["group"] == {"provider": "openai", "model": "mine"}
    assert told("--since", "1d", "--until", "2030-01-01", "--model", "gpt-4o", "--store", store)["calls"] == 0


def test_prices_that_only_the_app_has_are_not_taken_for_gone(store: str) -> None:
    result = run("--since", "7d", "--store", store)
    assert "2 calls keep their cost: have a price that is in no list any more" in result.stdout
    assert "Nothing differs." in result.stdout


def test_without_a_time_nothing_is_done(store: str) -> None:
    result = run("--store", store)
    assert result.exit_code == 2
    assert "add --since 7d, or --since all" in result.stderr


def test_a_price_file_that_cannot_be_read_is_named(store: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"openai/mine": {"input": "a lot"}}')
    for name in ("bad.json", "missing.json"):
        result = run("--since", "7d", "--prices", str(tmp_path / name), "--store", store)
        assert result.exit_code == 2
        assert name in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_long_tables_end_in_a_line_for_the_rest(tmp_path: Path, prices: str) -> None:
    url = new_url("sqlite", tmp_path)
    ledger = open_ledger(url)
    now = time.time_ns()
    for number in range(40):
        held = hold(at_ns=now, tags=Tags(user=f"user{number:02}"), model="mine")
        ledger.settle(entry(held, None, usage=USAGE), None)
    ledger.close()
    result = run("--since", "7d", "--prices", prices, "--dry-run", "--store", url)
    (rest,) = [line.split() for line in result.stdout.splitlines() if line.startswith("...")]
    assert rest == ["...", "10", "more", "10", "10", "$0.00", "$30.00", "+$30.00"]
    assert len(told("--since", "7d", "--prices", prices, "--dry-run", "--store", url)["by_payer"]) == 40


def test_balances_in_valkey_are_corrected_where_it_is_named(tmp_path: Path, prices: str) -> None:
    url, shared = new_url("sqlite", tmp_path), valkey.server().url()
    ledger = valkey.opened(url, shared)
    now = time.time_ns()
    rates = PriceBook({"openai/mine": {"input": "1", "output": "1"}}).rates("openai", "mine", now)
    held = hold(limit("$5/day per user", at_ns=now), at_ns=now, model="mine")
    assert ledger.reserve(held, now) is None
    ledger.settle(entry(held, 100, usage=USAGE, rates=rates), held)
    assert ledger.balances(held.limits) == [(10**9, 0)]
    assert run("--since", "7d", "--prices", prices, "--balances", shared, "--store", url).exit_code == 0
    assert ledger.balances(held.limits) == [(3 * 10**9, 0)]
    ledger.close()
