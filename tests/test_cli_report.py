"""`costguard report`, `top`, `explain` and `forecast`: what people see; the numbers are tested with the reports."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from costguard.budgets import Budget
from costguard.call import Call
from costguard.cli import app
from costguard.events import Entry, Hold
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import set_budget
from costguard.money import to_nanos
from costguard.reports.sparkline import bar, sparkline
from costguard.reports.spend import spend
from costguard.reports.table import FIGURES, as_table, trend_of
from costguard.reports.terminal_table import Column, about, draw
from costguard.tags import Tags
from tests.alerts.crossings import record

DAY = 24 * 3600 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    ledger = open_ledger(url)
    now = time.time_ns()
    for days, cost in ((1, "4"), (2, "2"), (8, "1"), (9, "1")):
        record(ledger, cost, user="alice", feature="chat", at_ns=now - days * DAY + 3600 * 10**9)
    record(ledger, "0.5", user="bob", feature="search", model="gpt-4o-mini", at_ns=now - DAY)
    record(ledger, None, user="bob", feature="search", model="made-up-1", at_ns=now - DAY)
    ledger.close()
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def line_of(text: str, word: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if word in line)


def test_a_report_beside_the_period_before_shows_what_changed(store: str) -> None:
    result = run("report", "--store", store, "--by", "user", "--compare", "previous")
    assert line_of(result.stdout, "alice")[:5] == ["alice", "$6.00", "$2.00", "+$4.00", "(+200.0"]
    told = json.loads(run("report", "--store", store, "--by", "user", "--compare", "previous", "--json").stdout)
    assert told["rows"][0]["change"] == "4.00"


def test_a_report_beside_any_other_period(store: str) -> None:
    result = run("report", "--store", store, "--by", "user", "--since", "2d", "--compare", "10d,7d")
    assert line_of(result.stdout, "alice")[:4] == ["alice", "$6.00", "$2.00", "+$4.00"]


def test_a_report_over_time_has_a_line_for_each_day(store: str) -> None:
    result = run("report", "--store", store, "--by", "user", "--grain", "day", "--since", "3d")
    yesterday = datetime.fromtimestamp((time.time_ns() - DAY + 3600 * 10**9) / 1e9, UTC)
    assert "$4.00" in line_of(result.stdout, f"{yesterday:%Y-%m-%d}")
    assert line_of(result.stdout, "total")[:3] == ["total", "$6.50", "4"]
    told = json.loads(run("report", "--store", store, "--grain", "day", "--since", "3d", "--json").stdout)
    assert told["total"]["total"]["cost"] == "6.50"
    assert len(told["starts"]) in (3, 4)


def test_the_columns_of_a_report_are_chosen(store: str) -> None:
    result = run("report", "--store", store, "--by", "user", "--columns", "calls,errors,p95,per_call")
    assert line_of(result.stdout, "user") == ["user", "cost", "calls", "errors", "p95", "per", "call"]
    everything = run("report", "--store", store, "--columns", ",".join(FIGURES))
    assert everything.exit_code == 0, everything.output


def test_a_trend_is_drawn_where_it_is_asked_for(store: str) -> None:
    assert "trend" not in run("report", "--store", store).stdout
    result = run("report", "--store", store, "--by", "user", "--trend")
    assert "█" in next(line for line in result.stdout.splitlines() if "alice" in line)


def test_of_several_values_of_one_name_any_will_do(store: str) -> None:
    report = ("report", "--store", store, "--by", "user", "--json", "--where", "user=alice", "--where", "user=bob")
    assert len(json.loads(run(*report).stdout)["rows"]) == 2
    assert len(json.loads(run(*report, "--where", "model=gpt-4o").stdout)["rows"]) == 1


def test_the_top_has_the_most_first_and_the_others_in_one_line(store: str) -> None:
    result = run("top", "feature", "--store", store, "--most", "1", "--compare", "previous")
    assert "Top feature by cost" in result.stdout
    assert line_of(result.stdout, "chat")[:2] == ["1", "chat"]
    assert "1 other" in result.stdout
    assert "Not in the total: 1 call without a price" in result.stdout
    for order in ("calls", "tokens", "errors", "unpriced", "repeats"):
        assert run("top", "model", "--store", store, "--order", order).exit_code == 0
    assert json.loads(run("top", "--store", store, "--json").stdout)["rows"][0]["group"] == {"user": "alice"}


def test_a_change_is_explained_and_its_parts_add_up(store: str) -> None:
    result = run("explain", "--store", store, "--by", "user")
    assert result.exit_code == 0, result.output
    assert "+$4.50 (+225.0 %)" in result.stdout
    assert line_of(result.stdout, "all of it")[-1] == "+$4.50"
    assert "calls without a price, 0 before and 1 after" in result.stdout
    told = json.loads(run("explain", "--store", store, "--json").stdout)
    assert told["total"]["change"] == "4.50"
    assert sum(map(Decimal, told["total"]["parts"].values())) == Decimal("4.50")


def test_a_forecast_says_what_to_expect_and_when_a_limit_is_reached(store: str) -> None:
    for window in ("day", "week", "month"):
        assert "by the end of the " + window in run("forecast", "--store", store, "--window", window).stdout
    assert "$0.01 is reached already" in run("forecast", "--store", store, "--limit", "0.01").stdout
    assert "will not be reached" in run("forecast", "--store", store, "--limit", "100000").stdout
    assert json.loads(run("forecast", "--store", store, "--json").stdout)["window"] == "month"


def test_an_empty_ledger_has_reports_without_calls(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    open_ledger(url).close()
    for command in (["report"], ["report", "--grain", "day"], ["top"], ["explain"], ["forecast"], ["calls", "list"]):
        result = run(*command, "--store", url)
        assert result.exit_code == 0, result.output
        assert result.stdout.strip()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_narrow_terminal_loses_columns_and_says_which_but_never_a_digit(width: int) -> None:
    ledger = open_ledger("memory://")
    now = time.time_ns()
    record(ledger, "1234.000000001", user="somebody-with-a-rather-long-name@example.com", feature="chat", at_ns=now)
    made = spend(ledger, compare="previous", since="7d")
    text = as_table(made, width=width, trend={(): [1, 2, 3]})  # type: ignore[dict-item]
    assert "$1,234.000000001" in text
    assert "…" not in text
    if width == 60:
        assert "Not shown in a terminal this narrow:" in " ".join(text.split())
    if width >= 60:
        assert max(map(len, text.splitlines())) <= width


def test_colors_are_for_terminals_only() -> None:
    ledger = open_ledger("memory://")
    record(ledger, "1", user="alice", at_ns=time.time_ns())
    assert "\x1b[" not in as_table(spend(ledger))
    assert "\x1b[" in as_table(spend(ledger), width=100, color=True)


def test_the_trend_of_a_series_has_all_groups_and_the_total() -> None:
    from costguard.reports.series import series

    ledger = open_ledger("memory://")
    now = time.time_ns()
    record(ledger, "1", user="alice", at_ns=now - DAY)
    record(ledger, "3", user="bob", at_ns=now)
    found = trend_of(series(ledger, "user", since="2d"))
    assert set(found) == {(), ("alice",), ("bob",)}
    assert sum(found[()]) == 4


def test_a_sparkline_shows_sizes_and_tells_nothing_from_little() -> None:
    assert sparkline([0, 1, 50, 100]) == "·▁▄█"
    assert sparkline([0, 0]) == "··"
    assert sparkline([]) == ""
    assert sparkline([-5, 5]) == "·█"


def test_a_bar_is_as_long_as_its_part() -> None:
    assert bar(100, 100, 4) == "████"
    assert bar(50, 100, 4) == "██"
    assert bar(1, 1_000_000, 4) == "▏"
    assert bar(0, 100, 4) == ""


def test_a_table_shows_markup_and_control_characters_as_text() -> None:
    text, _ = draw([Column("user", name=True)], [["[red]x[/red]\x1b[2J\u202eevil"]], width=80)
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_standings_show_who_is_near_a_limit(store: str) -> None:
    ledger = open_ledger(store)
    set_budget(ledger, "$7/week per user", "ann")
    now = time.time_ns()
    for user, cost in (("alice", "6.50"), ("bob", "1")):
        limit = Budget.parse("$7/week per user").limit_for(Tags(user=user), now)
        call = Call("openai", "gpt-4o", tags=Tags(user=user))
        ledger.reserve(Hold(call, (limit,), 0, now + DAY), now)
        entry = Entry(call.id, now, "openai", "gpt-4o", "chat", to_nanos(Decimal(cost)), tags=call.tags)
        ledger.settle(entry, Hold(call, (limit,), 0, now + DAY))
    ledger.close()
    everybody = run("budgets", "standings", "--store", store)
    assert line_of(everybody.stdout, "user=alice")[-7:-2] == ["92.9", "%", "$6.50", "-", "$0.50"]
    assert "user=bob" in everybody.stdout
    near = run("budgets", "standings", "--at-risk", "--store", store)
    assert "nearly spent" in near.stdout
    told = json.loads(run("budgets", "standings", "--at-risk", "--json", "--store", store).stdout)
    assert told["risks"][0]["payer"] == {"user": "alice"}


def test_amounts_to_be_read_along_a_line_are_short_and_never_nothing() -> None:
    shown = {text: about(Decimal(text)) for text in ("1234.5678", "1", "0.044444444", "-0.000123456", "1e-9", "0")}
    assert list(shown.values()) == ["$1,234.57", "$1.00", "$0.04444", "-$0.0001235", "$0.000000001", "$0.00"]
