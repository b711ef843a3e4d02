"""`costguard budgets list | set | remove`."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from costguard.budgets import Budget
from costguard.call import Call, new_call_id
from costguard.cli import app
from costguard.events import Hold
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import rules
from costguard.tags import Tags
from tests.ledger.stores import new_url

SECOND = 10**9


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COSTGUARD_BUDGET_FILE", "COSTGUARD_AUTHOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "costs.db"


@pytest.fixture
def store(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    url = f"sqlite:///{path}"
    open_ledger(url).close()
    monkeypatch.setenv("COSTGUARD_STORE", url)
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def done(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*arguments: str) -> Any:
    return json.loads(done(*arguments, "--json"))


def hold(url: str, *lines: str, user: str = "alice", dollars: int = 1) -> None:
    """A running call of an app that has these budgets in its code."""
    ledger = open_ledger(url)
    now = time.time_ns()
    call = Call("openai", "gpt-4o", tags=Tags(user=user))
    call.started_ns, call.id = now, new_call_id(now)
    limits = tuple(Budget.parse(line).limit_for(call.tags, now) for line in lines)
    assert ledger.reserve(Hold(call, limits, dollars * SECOND, now + 600 * SECOND), now) is None
    ledger.close()


def test_a_budget_is_set_listed_replaced_and_removed(store: str) -> None:
    assert done("budgets", "list") == "No budgets.\n"
    assert done("budgets", "set", "$5/day per user", "--author", "ann").startswith(
        "budget 1 is set: $5.00/day per user\n"
    )
    assert "in place of 1: $5.00/day per user" in done("budgets", "set", "$7/day per user", "--author", "bob")
    done("budgets", "set", "$500/month", "--author", "ann")
    lines = [line.split("  ") for line in done("budgets", "list").splitlines()[1:]]
    assert [[cell.strip() for cell in line if cell][:4] for line in lines] == [
        ["2", "$7.00/day per user", "database", "bob"],
        ["3", "$500.00/month", "database", "ann"],
    ]
    assert done("budgets", "remove", "3", "--author", "bob").startswith("budget 3 is removed: $500.00/month\n")
    # Any limit will do: what is counted, and for whom, says which one is meant.
    assert done("budgets", "remove", "$1/day per user").startswith("budget 2 is removed: $7.00/day per user\n")
    assert done("budgets", "list") == "No budgets.\n"
    history = told("budgets", "list", "--history")["budgets"]
    assert [(one["rule"], one["author"], one["removed_by"]) for one in history][:2] == [
        ("$5.00/day per user", "ann", "bob"),
        ("$7.00/day per user", "bob", rules_of(store)[1].removed_by),
    ]


def rules_of(url: str) -> Any:
    ledger = open_ledger(url)
    found = rules(ledger, history=True).budgets
    ledger.close()
    return found


def test_the_history_says_who_replaced_what(store: str) -> None:
    done("budgets", "set", "$5/day", "--author", "ann")
    done("budgets", "set", "$6/day", "--author", "bob")
    first, second = done("budgets", "list", "--history").splitlines()[1:]
    assert "$5.00/day" in first
    assert first.endswith("by bob")
    assert "$6.00/day" in second
    assert second.rstrip().endswith("Z")


def test_a_budget_that_is_there_is_not_set_again(store: str) -> None:
    done("budgets", "set", "$5/day")
    assert done("budgets", "set", "$5.00/day") == "budget 1 is that already: $5.00/day\n"


def test_what_is_set_and_removed_can_be_json(store: str) -> None:
    made = told("budgets", "set", "$5/day", "--author", "ann")
    assert (made["id"], made["rule"], made["source"], made["author"]) == (1, "$5.00/day", "database", "ann")
    assert told("budgets", "list")["budgets"] == [made | {"overruled_by": None}]
    assert told("budgets", "remove", "1", "--author", "bob")["removed_by"] == "bob"
    assert told("budgets", "list") == {"version": 2, "budgets": []}


def test_the_author_is_the_login_name_unless_told(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    assert told("budgets", "set", "$5/day")["author"] == "carol"
    monkeypatch.setenv("COSTGUARD_AUTHOR", "deploy-bot")
    assert told("budgets", "set", "$6/day")["author"] == "deploy-bot"


def test_a_list_says_where_each_budget_comes_from_and_what_overrules_it(store: str, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text("[[budget]]\nrule = '$2/day per user'\n[[budget]]\nrule = '$90/month'\n")
    hold(store, "$1/day per user", "$3/hour")
    done("budgets", "set", "$80/month")
    found = told("budgets", "list", "--file", str(file))["budgets"]
    assert [(one["rule"], one["source"], one["overruled_by"]) for one in found] == [
        ("$80.00/month", "database", None),
        ("$2.00/day per user", "file", None),
        ("$90.00/month", "file", "database"),
        ("$3.00/hour", "code", None),
        ("$1.00/day per user", "code", "file"),
    ]
    assert "overruled by the database" in done("budgets", "list", "--file", str(file))


def test_a_list_of_a_file_can_come_from_the_environment(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text("[[budget]]\nrule = '$2/day per user'\n")
    monkeypatch.setenv("COSTGUARD_BUDGET_FILE", str(file))
    assert [one["source"] for one in told("budgets", "list")["budgets"]] == ["file"]


def test_what_was_removed_from_the_database_is_not_taken_for_code(store: str) -> None:
    done("budgets", "set", "$5/day per user")
    hold(store, "$5/day per user")
    done("budgets", "remove", "1")
    assert told("budgets", "list")["budgets"] == []


def test_for_tags_it_says_which_limit_wins_and_where_it_stands(store: str) -> None:
    hold(store, "$4/day per user", "50 calls/hour per user", dollars=2)
    done("budgets", "set", "$50/day per user for plan=pro")
    done("grants", "add", "$1/day per user", "10", "--payer", "user=alice", "--reason", "demo")
    found = told("budgets", "list", "--tags", "user=alice", "--tags", "plan=pro")
    assert found["tags"] == {"plan": "pro", "user": "alice"}
    daily, hourly = found["standings"]
    assert (daily["rule"], daily["source"]) == ("$50.00/day per user for plan=pro", "database")
    assert [daily[name] for name in ("limit", "granted", "spent", "held", "remaining")] == [
        "60.00", "10.00", "0.00", "2.00", "58.00",
    ]  # fmt: skip
    assert (hourly["rule"], hourly["unit"], hourly["limit"], hourly["held"]) == (
        "50 calls/hour per user", "calls", "50", "1",
    )  # fmt: skip
    assert daily["resets_at"].endswith("T00:00:00Z")
    assert [(one["rule"], one["why"]) for one in found["passed_over"]] == [
        ("$4.00/day per user", "$50.00/day per user for plan=pro is more specific, or tighter")
    ]
    text = done("budgets", "list", "--tags", "user=alice,plan=pro")
    assert "Granted to user=alice: $10.00 of the limit of $50.00/day per user for plan=pro" in text
    assert (
        "Passed over: $4.00/day per user (code), $50.00/day per user for plan=pro is more specific, or tighter" in text
    )
    # Without the plan the general limit holds, and the other one is not meant for her.
    free = told("budgets", "list", "--tags", "user=alice")
    assert [one["limit"] for one in free["standings"]] == ["14.00", "50"]
    assert free["passed_over"] == []


def test_for_tags_the_stronger_source_wins(store: str) -> None:
    hold(store, "$4/day per user")
    done("budgets", "set", "$2/day per user")
    found = told("budgets", "list", "--tags", "user=alice")
    assert [(one["rule"], one["remaining"]) for one in found["standings"]] == [("$2.00/day per user", "1.00")]
    assert [one["why"] for one in found["passed_over"]] == ["overruled by the database: $2.00/day per user"]


def test_for_tags_a_limit_on_one_call_has_no_standing(store: str) -> None:
    done("budgets", "set", "$0.25/call")
    (found,) = told("budgets", "list", "--tags", "user=alice")["standings"]
    assert found == {
        "payer": "everyone", "rule": "$0.25/call", "source": "database", "unit": "usd", "limit": "0.25",
    }  # fmt: skip
    assert "each call" in done("budgets", "list", "--tags", "user=alice")


def test_for_tags_a_rolling_window_counts_its_earlier_buckets(store: str) -> None:
    line = "$20/30d per user"
    done("budgets", "set", line)
    ledger = open_ledger(store)
    tags = Tags(user="alice")
    now = time.time_ns()
    earlier = Budget.parse(line).limit_for(tags, now - 10 * 86_400 * SECOND)
    call = Call("openai", "gpt-4o", tags=tags)
    call.started_ns, call.id = now, new_call_id(now)
    assert ledger.reserve(Hold(call, (earlier,), 3 * SECOND, now + 600 * SECOND), now) is None
    ledger.close()
    (found,) = told("budgets", "list", "--tags", "user=alice")["standings"]
    assert (found["limit"], found["remaining"]) == ("20.00", "17.00")


def test_tags_that_no_budget_counts_say_so(store: str) -> None:
    done("budgets", "set", "$5/day where environment=production")
    assert "No budget counts calls with these tags." in done("budgets", "list", "--tags", "environment=staging")


def test_a_budget_of_a_newer_version_is_shown_and_can_be_removed(store: str, path: Path) -> None:
    done("budgets", "set", "$5/day")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE costguard_budgets SET rule = '$5/fortnight'")
    connection.close()
    assert "cannot be read by this version" in done("budgets", "list")
    refused = run("budgets", "list", "--tags", "user=alice")
    assert refused.exit_code == 2
    assert "upgrade costguard, or: costguard budgets remove 1" in refused.stderr
    done("budgets", "remove", "1")
    assert done("budgets", "list") == "No budgets.\n"


def test_a_name_cannot_drive_the_terminal(store: str) -> None:
    done("budgets", "set", '$5/day named "\\u001b[31mred"')
    assert "\x1b" not in done("budgets", "list")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "$5 a day"], "budget '$5 a day' cannot be read"),
        (["set", "$0/day"], "budget limit is $0"),
        (["set", "$5/day tz Mars/Base"], "time zone 'Mars/Base' is not known"),
        (["set", "$5/day", "--author", " "], "the author is empty; give --author NAME"),
        (["set", "$9/day per user for region=eu"], "plan=pro"),
        (["remove", "9"], "the database has no budget 9; see them with: costguard budgets list"),
        (["remove", "$1/month"], "the database has no budget '$1.00/month'"),
        (["remove", "all"], "budget 'all' cannot be read"),
        (["list", "--tags", "alice"], "--tags 'alice' is not TAG=VALUE"),
        (["list", "--tags", "user=a,user=b"], "--tags names the tag 'user' twice"),
        (["list", "--tags", "user=a", "--history"], "--tags and --history do not go together"),
        (["list", "--file", "/nowhere/budgets.toml"], "budget file /nowhere/budgets.toml cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr_and_changes_nothing(store: str, arguments: list[str], says: str) -> None:
    done("budgets", "set", "$5/day per user for plan=pro", "--author", "ann")
    result = run("budgets", *arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
    assert [one.rule for one in rules_of(store)] == ["$5.00/day per user for plan=pro"]


def test_commands_without_their_arguments_are_usage_errors(store: str) -> None:
    for arguments in (["budgets", "set"], ["budgets", "remove"], ["budgets", "put", "$5/day"]):
        assert run(*arguments).exit_code == 2


def test_they_work_on_postgresql_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_url("postgres", tmp_path)
    monkeypatch.setenv("COSTGUARD_STORE", url)
    hold(url, "$4/day per user")
    done("budgets", "set", "$50/day per user for plan=pro", "--author", "ann")
    done("budgets", "set", "$60/day per user for plan=pro", "--author", "ann")
    assert [one["rule"] for one in told("budgets", "list")["budgets"]] == [
        "$60.00/day per user for plan=pro", "$4.00/day per user",
    ]  # fmt: skip
    done("grants", "add", "$1/day per user", "1.50", "--payer", "user=alice", "--reason", "demo")
    (found,) = told("budgets", "list", "--tags", "user=alice")["standings"]
    assert (found["limit"], found["held"]) == ("5.50", "1.00")
    done("grants", "remove", "1")
    done("budgets", "remove", "2")
    assert told("check")["ok"]


def test_who_sets_and_removes_budgets_and_why_is_in_the_audit_trail(store: str) -> None:
    done("budgets", "set", "$5/day per user", "--author", "ann", "--reason", "a new  plan")
    done("budgets", "set", "$7/day per user", "--author", "bob")
    assert "is that already" in done("budgets", "set", "$7/day per user", "--author", "bob")
    done("budgets", "remove", "$9/day per user", "--author", "carol", "--reason", "too many")
    assert run("budgets", "remove", "2", "--author", "carol").exit_code == 2
    result = run("budgets", "set", "$5/day per user", "--reason", " ")
    assert result.exit_code == 2
    assert "a budget has a reason" in result.stderr
    ledger = open_ledger(store)
    found = [(deed.action, deed.author, deed.reason, dict(deed.details)) for deed in ledger.deeds()]
    ledger.close()
    assert found == [
        ("remove budget", "carol", "too many", {"budget": "$7.00/day per user", "number": 2}),
        ("budget", "bob", "on the command line", {"budget": "$7.00/day per user", "before": "$5.00/day per user"}),
        ("budget", "ann", "a new plan", {"budget": "$5.00/day per user", "before": None}),
    ]
