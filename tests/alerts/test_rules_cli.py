"""`costguard alerts preview | list | mute | unmute`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from costguard.cli import app
from costguard.ledger.base import Ledger
from costguard.ledger.mutes import mutes
from costguard.ledger.opening import open_ledger
from tests.alerts.scenario import HOUR, MINUTE, Story


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTGUARD_STORE", raising=False)


@pytest.fixture
def store(url: str) -> str:
    ledger = open_ledger(url)
    story = Story(ledger)
    now = time.time_ns()
    story.calls(now - 3 * HOUR, now - 2 * HOUR, 10 * MINUTE, "2.50", user="alice")
    story.calls(now - 3 * HOUR, now - 2 * HOUR, 10 * MINUTE, "0.10", user="bob")
    story.write()
    ledger.close()
    return url


@pytest.fixture
def reading(store: str) -> Iterator[Ledger]:
    ledger = open_ledger(store)
    yield ledger
    ledger.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["alerts", *arguments])


def test_a_preview_tells_what_rules_would_have_sent(store: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[alerts]\nrules = ["call over $2", "spike 3x", "request over $5"]\n', "utf-8")
    budgets = tmp_path / "budgets.toml"
    budgets.write_text('[[budget]]\nrule = "$1000/month per user alerts at 1%"\n', "utf-8")
    result = run("preview", "--since", "1d", "--rules", str(file), "--file", str(budgets), "--json", "--store", store)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["counts"] == {"call over $2.00": 6, "spike 3x": 0, "$1000.00/month per user": 1}
    assert found["unseen"] == ["request over $5.00"]
    titles = [alert["title"] for alert in found["alerts"]]
    assert titles.count("A call of alice cost $2.50") == 6
    assert "alice has reached 1 % of $1000.00/month per user" in titles


def test_a_preview_is_a_table_with_the_counts_of_each_rule(store: str) -> None:
    result = run("preview", "--since", "1d", "--rule", "call over $2", "--rule", "journal over 64MB", "--store", store)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert sum("A call of alice cost $2.50" in line for line in lines) == 6
    assert lines[-2:] == ["call over $2.00  6", "not to be seen in a ledger: journal over 64MB"]


def test_a_preview_begins_where_the_ledger_does_and_ends_now(store: str) -> None:
    result = run("preview", "--since", "1900-01-01", "--until", "2100-01-01", "--rule", "digest daily 09:00", "--json",
                 "--store", store)  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["until"] <= datetime.now(UTC).isoformat()
    assert all(alert["at"] <= found["until"] for alert in found["alerts"])


def test_a_preview_has_rules_of_its_own_to_begin_with(store: str) -> None:
    result = run("preview", "--since", "1d", "--full", "--store", store)
    assert result.exit_code == 0, result.output
    assert "burn fast" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rule", "brun fast"], "alert rule 'brun fast'"),
        (["--since", "yesterday"], "since 'yesterday' is not a time"),
        (["--since", "1d", "--until", "2d"], "is not before until"),
        (["--rules", "nowhere.toml"], "alert rules in nowhere.toml cannot be read"),
    ],
)
def test_what_a_preview_cannot_read_is_one_line(store: str, arguments: list[str], said: str) -> None:
    result = run("preview", *arguments, "--store", store)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_alerts_are_muted_for_a_while_and_unmuted(store: str, reading: Ledger) -> None:
    result = run(
        "mute", "--kind", "spike", "--for", "2h", "--reason", "a load test", "--author", "ann", "--store", store
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("mute 1: kind spike, until ")
    result = run("mute", "--budget", "$5.00/day per user", "--payer", "user=bob", "--author", "ann", "--store", store)
    assert result.stdout == "mute 2: budget $5.00/day per user, user=bob, until it is unmuted\n"
    listed = json.loads(run("list", "--json", "--store", store).stdout)
    assert listed["undelivered"] == 0
    assert [(one["id"], one["kind"], one["payer"], one["author"]) for one in listed["mutes"]] == [
        (1, "spike", {}, "ann"), (2, "", {"user": "bob"}, "ann"),
    ]  # fmt: skip
    assert "a load test" in run("list", "--store", store).stdout
    result = run("unmute", "1", "--author", "ben", "--store", store)
    assert result.stdout == "mute 1 is over: kind spike\n"
    assert [one.id for one in mutes(reading)] == [2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mute"], "say what to mute: --kind, --budget or --payer"),
        (["mute", "--kind", "spikes"], "--kind 'spikes' is not one of budget, unpriced"),
        (["mute", "--kind", "spike", "--for", "soon"], "--for 'soon' is not a span"),
        (["unmute", "7"], "no mute 7 is in force"),
    ],
)
def test_what_cannot_be_muted_is_said_in_one_line(store: str, arguments: list[str], said: str) -> None:
    result = run(*arguments, "--store", store)
    assert result.exit_code == 2
    assert said in result.stderr
