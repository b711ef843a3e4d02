"""`costguard grants add | list | remove`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from costguard.cli import app
from costguard.grants import Grant
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import add_grant, rules

WHY = ("--reason", "demo day", "--author", "ann")
DAY = 86_400 * 10**9


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    open_ledger(url).close()
    monkeypatch.setenv("COSTGUARD_STORE", url)
    for name in ("COSTGUARD_BUDGET_FILE", "COSTGUARD_AUTHOR"):
        monkeypatch.delenv(name, raising=False)
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*arguments: str) -> Any:
    return json.loads(done(*arguments, "--json"))


def test_a_grant_lasts_for_the_running_window(store: str) -> None:
    done("budgets", "set", "$5/day per user")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    said = done("grants", "add", "$5/day per user", "10", "--payer", "user=alice", *WHY)
    assert said == f"grant 1: $10.00 for user=alice, until {tomorrow} 00:00Z\nWorkers see it within seconds.\n"
    (grant,) = told("grants", "list")["grants"]
    assert grant["until"] == f"{tomorrow}T00:00:00Z"
    assert (grant["payer"], grant["amount"], grant["unit"]) == ({"user": "alice"}, "10.00", "usd")
    assert (grant["account"], grant["author"], grant["reason"]) == ("day per user", "ann", "demo day")
    line = done("grants", "list").splitlines()[1]
    for cell in ("user=alice", "$10.00", "day per user", "ann", "demo day"):
        assert cell in line


def test_a_grant_can_end_later_or_never() -> None:
    added = told(
        "grants", "add", "50 calls/hour per user,team", "25", "--payer", "user=a,team=t", "--until", "7d", *WHY
    )
    end = datetime.fromisoformat(added["until"])
    assert timedelta(days=6, hours=23) < end - datetime.now(UTC) <= timedelta(days=7)
    assert (added["amount"], added["unit"]) == ("25", "calls")
    dated = told("grants", "add", "$5/day", "$2.50", "--until", "2999-12-24", *WHY)
    assert dated["until"] == "2999-12-24T00:00:00Z"
    assert told("grants", "add", "$5/day", "1", "--until", "2999-12-24T18:00+01:00", *WHY)["until"].endswith(
        "T17:00:00Z"
    )
    assert told("grants", "add", "$5/ever", "1", *WHY)["until"] is None
    assert "for good" in done("grants", "list")


def test_a_grant_on_a_budget_that_nobody_knows_says_so() -> None:
    said = done("grants", "add", "$5/day per usr", "10", "--payer", "usr=alice", *WHY)
    assert "No budget that is known here counts that" in said
    assert "costguard grants remove 1" in said


def test_a_grant_knows_the_budgets_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text("[[budget]]\nrule = '$2/day per user'\n")
    assert told("grants", "add", "$1/day per user", "1", "--payer", "user=a", "--file", str(file), *WHY)["known_budget"]


def test_a_grant_is_taken_back_once_and_stays_in_the_history() -> None:
    done("grants", "add", "$5/day", "10", *WHY)
    assert done("grants", "remove", "1", "--author", "bob").startswith("grant 1 of everyone is taken back\n")
    assert done("grants", "list") == "No grants.\n"
    (kept,) = told("grants", "list", "--history")["grants"]
    assert kept["removed_by"] == "bob"
    assert "taken back" in done("grants", "list", "--history")
    again = run("grants", "remove", "1")
    assert again.exit_code == 2
    assert "the database has no grant 1; see them with: costguard grants list" in again.stderr


def test_grants_that_are_over_are_in_the_history_alone(store: str) -> None:
    ledger = open_ledger(store)
    yesterday = time.time_ns() - 2 * DAY
    for end in (None, yesterday + DAY):
        add_grant(ledger, Grant('["day","UTC",[],{}]', (), 5, "usd", yesterday, end, "ann", "x"))  # type: ignore[arg-type]
    ledger.close()
    assert done("grants", "list") == "No grants.\n"
    assert len(told("grants", "list", "--history")["grants"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["$5 a day", "10", *WHY], "budget '$5 a day' cannot be read"),
        (["$5/day", "much", *WHY], "grant 'much' is not an amount of USD"),
        (["$5/day", "0", *WHY], "a grant of nothing changes nothing"),
        (["50 calls/hour", "$5", *WHY], "has a $, but is in calls"),
        (["50 calls/hour", "1.5", *WHY], "must be a whole number of calls"),
        (["$5/day per user", "10", *WHY], "a grant for nobody does not go with an account per user"),
        (["$5/day", "10", "--payer", "user=a", *WHY], "a grant for user does not go with an account per nobody"),
        (["$5/day per user", "10", "--payer", "alice", *WHY], "--payer 'alice' is not TAG=VALUE"),
        (["$5/day", "10", "--until", "soon", *WHY], "--until 'soon' is not a time"),
        (["$5/day", "10", "--until", "2020-01-01", *WHY], "--until 2020-01-01 is over already"),
        (["$5/day", "10", "--until", "0d", *WHY], "--until 0d is over already"),
        (["$5/day", "10", "--until", "9999-12-31T23:59-12:00", *WHY], "a grant ends by 9999-12-31 (UTC)"),
        (["$5/day", "10", "--reason", " ", "--author", "ann"], "a grant has a reason; say what it is for"),
        (["$5/day", "10", "--reason", "x", "--author", " "], "the author is empty"),
        (["$5/day", "10", "--file", "/nowhere.toml", *WHY], "budget file /nowhere.toml cannot be read"),
    ],
)
def test_a_wrong_grant_is_one_line_on_stderr_and_is_not_kept(store: str, arguments: list[str], says: str) -> None:
    result = run("grants", "add", *arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    ledger = open_ledger(store)
    assert rules(ledger, history=True).grants == ()
    ledger.close()


def test_commands_without_their_arguments_are_usage_errors() -> None:
    for arguments in (["add", "$5/day"], ["add", "$5/day", "10"], ["remove"], ["remove", "first"]):
        assert run("grants", *arguments).exit_code == 2


def test_who_gives_and_takes_back_grants_and_why_is_in_the_audit_trail(store: str) -> None:
    done("grants", "add", "$5/day per user", "10", "--payer", "user=alice", *WHY)
    done("grants", "remove", "1", "--author", "bob", "--reason", "a  mistake")
    assert run("grants", "remove", "1", "--author", "bob").exit_code == 2
    done("grants", "add", "$5/day per user", "10", "--payer", "user=alice", *WHY)
    done("grants", "remove", "2", "--author", "bob")
    assert run("grants", "add", "$5/day", "10", "--payer", "user=alice", *WHY).exit_code == 2
    ledger = open_ledger(store)
    deeds = ledger.deeds()
    nonces = [stored.nonce for stored in rules(ledger, history=True).grants]
    ledger.close()
    assert [(deed.action, deed.author, deed.reason) for deed in deeds] == [
        ("take back grant", "bob", "on the command line"), ("grant", "ann", "demo day"),
        ("take back grant", "bob", "a mistake"), ("grant", "ann", "demo day"),
    ]  # fmt: skip
    assert deeds[1].details["payer"] == {"user": "alice"}
    assert [deeds[3].nonce, deeds[1].nonce] == nonces
