"""`costguard doctor`: each thing that it knows to be wrong, made wrong, is found, with a way out."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from costguard import Guard
from costguard.cli import app
from costguard.doctor import Diagnosis, diagnose
from costguard.doctor_finding import Finding
from costguard.doctor_setup import look_at_prices, look_at_sdks, look_at_telemetry
from costguard.doctor_store import file_system, look_at_journals, look_at_store, workers
from costguard.ledger.journal_file import JournalFile
from costguard.ledger.journal_place import journal_directory
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import set_budget
from tests.alerts.crossings import record, tell
from tests.ledger.stores import new_url

NOW = time.time_ns()
MINUTE = 60 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    open_ledger(url).close()
    return url


def found(diagnosis: Diagnosis, words: str) -> Finding:
    matching = [each for each in diagnosis.findings if words in each.text]
    assert matching, [each.text for each in diagnosis.findings]
    return matching[0]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_set_up_that_is_right_has_no_problem(store: str) -> None:
    ledger = open_ledger(store)
    set_budget(ledger, "$5/day per user", "ann")
    record(ledger, "1", user="alice", feature="chat", at_ns=NOW - MINUTE)
    ledger.close()
    diagnosis = diagnose(store, environment={})
    assert diagnosis.ok, diagnosis.of("problem")
    assert not diagnosis.of("warning"), diagnosis.of("warning")
    result = run("doctor", "--store", store)
    assert result.exit_code == 0, result.output
    assert "Nothing is wrong." in result.stdout


def test_every_finding_that_is_no_praise_has_a_way_out(tmp_path: Path) -> None:
    missing = diagnose(
        f"sqlite:///{tmp_path / 'none.db'}", app="nothing.here:app", environment={"WEB_CONCURRENCY": "4"}
    )
    for each in missing.findings:
        assert each.text
        assert each.way_out or each.level in ("ok", "note"), each


def test_a_store_that_is_not_there_is_a_problem_and_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    result = run("doctor", "--store", f"sqlite:///{tmp_path / 'none.db'}", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["problems"] == 1
    assert {each["about"] for each in told["findings"]} >= {"SDKs", "store", "prices"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("costs.db", "store 'costs.db' is not a URL"),
        ("oracle://host/db", "of a kind that this version does not know"),
        ("sqlite://data/costs.db", "names a host"),
        ("STORE?sinchronous=FULL", "has the unknown option 'sinchronous'"),
    ],
)
def test_a_store_that_no_app_could_open_is_a_problem(store: str, url: str, says: str) -> None:
    assert found(diagnose(url.replace("STORE", store)), says).level == "problem"


def test_an_old_schema_is_told_and_not_changed(store: str, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "costs.db") as connection:
        connection.execute("UPDATE costguard_version SET version_num = '0003'")
    connection.close()
    problem = found(diagnose(store), "has schema 0003")
    assert (problem.level, "costguard migrate" in problem.way_out) == ("problem", True)
    assert found(diagnose(store), "has schema 0003")


def test_without_a_store_or_with_one_in_memory_it_says_so() -> None:
    assert found(diagnose(), "no store is known").level == "problem"
    assert found(diagnose("memory://", environment={}), "gone with the process").level == "warning"
    several = found(diagnose("memory://", environment={"WEB_CONCURRENCY": "4"}), "each of 4 workers")
    assert several.level == "problem"


@pytest.mark.parametrize(
    ("variables", "number"),
    [
        ({}, 1), ({"WEB_CONCURRENCY": "3"}, 3), ({"UVICORN_WORKERS": "2"}, 2), ({"WEB_CONCURRENCY": "many"}, 1),
        ({"GUNICORN_CMD_ARGS": "--bind=:80 --workers=5"}, 5), ({"GUNICORN_CMD_ARGS": "-w 6"}, 6),
    ],
)  # fmt: skip
def test_workers_are_known_by_the_variables_of_their_servers(variables: dict[str, str], number: int) -> None:
    assert workers(variables) == number


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /mnt/shared nfs4 rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
tmpfs /mnt/shared/local tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/costs.db", "ext4"), ("/mnt/shared/costs.db", "nfs4"), ("/mnt/shared/local/costs.db", "tmpfs"),
        ("/mnt/with space/costs.db", "cifs"), ("/mnt/sharedother/costs.db", "ext4"),
    ],
)  # fmt: skip
def test_the_file_system_of_a_store_is_known_by_its_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_sqlite_on_a_network_file_system_is_a_problem(
    store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/export {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr("costguard.doctor_store._MOUNTS", mounts)
    problem = found(diagnose(store), "network file system (nfs4)")
    assert "PostgreSQL" in problem.way_out


def test_what_a_dead_process_left_in_its_journal_is_told(store: str) -> None:
    place = journal_directory(store)
    place.mkdir()
    assert [each.level for each in look_at_journals(store)] == ["ok"]
    journal = JournalFile.create(place)
    journal.append(b"an entry")
    assert [each.level for each in look_at_journals(store)] == ["ok"]
    journal.close()
    (left,) = look_at_journals(store)
    assert (left.level, "1 journal of dead processes" in left.text) == ("warning", True)


def test_a_place_of_the_journals_that_cannot_be_written_is_a_problem(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root, who may run this, may write everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "problem" in [each.level for each in look_at_journals(store)]
    journal_directory(store).mkdir()
    assert "problem" in [each.level for each in look_at_journals(store)]


def test_a_ledger_without_budgets_lets_every_call_through(store: str) -> None:
    assert found(diagnose(store), "no budget is known").level == "warning"


def test_a_budget_by_a_tag_that_no_call_has_is_told(store: str) -> None:
    ledger = open_ledger(store)
    set_budget(ledger, "$5/day per team", "ann")
    set_budget(ledger, "$5/day where feature=summarise", "ann")
    record(ledger, "1", user="alice", feature="chat", at_ns=NOW - MINUTE)
    ledger.close()
    diagnosis = diagnose(store)
    assert "all of them are one payer, unattributed" in found(diagnosis, "goes by the tag team").text
    assert found(diagnosis, "feature=summarise").level == "note"


def test_a_stored_budget_that_no_worker_counts_by_is_told(store: str) -> None:
    ledger = open_ledger(store)
    set_budget(ledger, "$5/day per user", "ann", now_ns=NOW - 10 * MINUTE)
    assert not [each for each in diagnose(store).findings if "no worker counts" in each.text]
    record(ledger, "1", user="alice", at_ns=NOW - MINUTE)
    ledger.close()
    assert found(diagnose(store), "no worker counts by the budget").level == "warning"


def test_a_budget_file_that_cannot_be_read_is_a_problem(store: str, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[[budget]]\nrule = "lots of money"\n')
    result = run("doctor", "--store", store, "--file", str(file))
    assert result.exit_code == 1
    assert "budgets.toml, budget 1" in " ".join(result.stdout.split())


def test_alerts_that_wait_long_or_were_given_up_are_told(store: str) -> None:
    ledger = open_ledger(store)
    tell(ledger, "alice", at_ns=NOW - 60 * MINUTE)
    tell(ledger, "bob", at_ns=NOW)
    assert found(diagnose(store), "2 not told yet, the oldest since").level == "warning"
    for parcel in ledger.claim(NOW, lease_ns=MINUTE):
        ledger.give_up(parcel, NOW, "404 from the channel")
    ledger.close()
    assert "404 from the channel" in found(diagnose(store), "2 given up").text


def test_calls_without_a_price_are_told_with_the_models(store: str) -> None:
    ledger = open_ledger(store)
    record(ledger, None, model="made-up-1", at_ns=NOW - MINUTE)
    ledger.close()
    assert found(diagnose(store), "1 of 1 calls of the last 7 days have no price: openai/made-up-1").level == "warning"


def test_calls_without_a_user_are_told(store: str) -> None:
    ledger = open_ledger(store)
    record(ledger, "1", user=None, at_ns=NOW - MINUTE)
    ledger.close()
    assert found(diagnose(store), "1 of 1 calls of the last 7 days have no user").level == "note"


def test_the_sdks_here_are_known() -> None:
    findings = list(look_at_sdks())
    assert {each.level for each in findings} == {"ok"}, findings
    assert any("openai" in each.text and "anthropic" in each.text for each in findings)


def test_an_sdk_without_the_functions_that_are_wrapped_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "groq").mkdir()
    (tmp_path / "groq" / "__init__.py").write_text("")
    (tmp_path / "groq" / "_base_client.py").write_text("class NewClient:\n    def send(self): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    # Another test of this process may have imported the real one.
    for name in [name for name in sys.modules if name.partition(".")[0] == "groq"]:
        monkeypatch.delitem(sys.modules, name)
    problem = next(each for each in look_at_sdks() if each.level == "problem")
    assert "groq" in problem.text
    assert "its calls are not seen" in problem.text


def test_a_price_list_that_cannot_be_read_is_a_problem(tmp_path: Path, store: str) -> None:
    result = run("doctor", "--store", store, "--prices", str(tmp_path / "none.json"))
    assert result.exit_code == 1
    assert "none.json" in result.stdout
    assert [each.level for each in look_at_prices(())] in (["ok"], ["warning"])


def test_prometheus_with_several_workers_needs_its_directory(tmp_path: Path) -> None:
    def level(variables: dict[str, str]) -> str:
        return next(each.level for each in look_at_telemetry(variables) if "rometheus" in each.text.lower()
                    or "PROMETHEUS" in each.text)  # fmt: skip

    assert level({}) == "ok"
    assert level({"WEB_CONCURRENCY": "2"}) == "warning"
    assert level({"WEB_CONCURRENCY": "2", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}) == "ok"
    assert level({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "none")}) == "problem"


APP = """
    from fastapi import FastAPI
    from costguard import Guard
    from costguard.web.fastapi import install
    from costguard.alerts.webhook import webhook

    app = FastAPI()
    guard = Guard({store!r}, budgets=["$5/day per user"]{alerts})
    {lines}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> Callable[..., str]:
    """Writes the module of an app, and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    number = 0

    def write(lines: str, *, alerts: str = "", url: str | None = store, text: str = APP) -> str:
        nonlocal number
        number += 1
        name = f"app_of_{tmp_path.name.replace('-', '_')}_{number}"
        made = dedent(text).format(store=url, alerts=alerts, lines=lines)
        (tmp_path / f"{name}.py").write_text(made)
        return name

    return write


def look(name: str, **more: Any) -> Diagnosis:
    return diagnose(app=name, environment={}, **more)


def test_an_app_with_all_that_it_needs_has_no_problem(module: Callable[..., str]) -> None:
    name = module("install(app, guard, user=lambda request: 'x')\nguard.instrument()")
    diagnosis = look(f"{name}:app")
    assert diagnosis.ok, diagnosis.of("problem")
    assert found(diagnosis, "1 in force").level == "ok"
    assert "has the middleware" in found(diagnosis, "Starlette app").text
    assert found(diagnosis, "instrumented: openai").level == "ok"
    assert found(diagnosis, "the guard has no channel").level == "warning"


def test_an_app_without_middleware_or_instrumentation_is_told_how(module: Callable[..., str]) -> None:
    diagnosis = look(f"{module('')}:app")
    assert "install(app, guard" in found(diagnosis, "has no middleware of ours").way_out
    assert "guard.instrument()" in found(diagnosis, "no SDK is instrumented").way_out
    assert not diagnosis.ok


FLASK = """
    from flask import Flask
    from costguard import Guard
    from costguard.web.flask import CostGuard

    guard = Guard({store!r}{alerts})

    def create_app():
        app = Flask(__name__)
        {lines}
        guard.instrument()
        return app
"""


def test_a_factory_makes_a_flask_app(module: Callable[..., str]) -> None:
    name = module("CostGuard(app, guard)", text=FLASK)
    assert "has the middleware" in found(look(f"{name}:create_app", factory=True), "Flask app").text
    without = module("pass", text=FLASK)
    assert "CostGuard(app, guard" in found(look(f"{without}:create_app", factory=True), "has no middleware").way_out


def test_the_store_of_an_app_and_the_one_that_is_given_should_be_the_same(
    module: Callable[..., str], tmp_path: Path
) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    open_ledger(other).close()
    name = module("")
    assert found(look(f"{name}:app", store=other), "the app's guard writes to").level == "warning"


@pytest.mark.parametrize(
    ("lines", "target", "says"),
    [
        ("raise RuntimeError('no DATABASE_URL')", "app", "RuntimeError: no DATABASE_URL"),
        ("", "wrong", "has no attribute 'wrong'"),
    ],
)
def test_an_app_that_cannot_be_imported_is_a_problem(
    module: Callable[..., str], lines: str, target: str, says: str
) -> None:
    name = module(lines)
    assert says in found(look(f"{name}:{target}"), "it cannot be imported").text
    assert "is not module:attribute" in found(look("justamodule"), "it cannot be imported").text


def test_what_an_app_prints_as_it_starts_is_no_part_of_the_json(module: Callable[..., str]) -> None:
    result = run("doctor", "--json", "--app", module('print("starting")') + ":app")
    assert "starting" in result.stderr
    assert json.loads(result.stdout)["findings"]


def test_guards_of_the_app_are_closed_and_others_left_alone(module: Callable[..., str], tmp_path: Path) -> None:
    mine = Guard("memory://")
    mine.instrument()
    try:
        look(f"{module('guard.instrument()')}:app")
        from costguard.providers.instrument import patched

        assert patched()
    finally:
        mine.uninstrument()


def test_warnings_end_with_exit_code_1_where_they_are_asked_to(store: str) -> None:
    assert run("doctor", "--store", store).exit_code == 0
    assert run("doctor", "--store", store, "--strict").exit_code == 1


@pytest.mark.long
def test_the_clock_of_postgresql_is_compared_with_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = new_url("postgres", tmp_path)
    open_ledger(url).close()
    assert any("clocks" in each.text and each.level == "ok" for each in look_at_store(url, None, {}))
    real = time.time
    monkeypatch.setattr("costguard.doctor_store.time.time", lambda: real() + 60)
    (late,) = [each for each in look_at_store(url, None, {}) if "clock" in each.text]
    assert late.level == "warning"
    assert "60.0 s behind" in late.text


def test_alerts_that_quiet_hours_hold_back_are_no_fault(store: str) -> None:
    ledger = open_ledger(store)
    tell(ledger, "alice", at_ns=NOW - 60 * MINUTE)
    for parcel in ledger.claim(NOW - 50 * MINUTE, lease_ns=MINUTE):
        ledger.postpone(parcel, NOW + 600 * MINUTE, "slack 1: quiet hours; mail 2: quiet hours")
    assert found(diagnose(store), "0 told, 1 waiting").level == "ok"
    tell(ledger, "bob", at_ns=NOW - 60 * MINUTE)
    for parcel in ledger.claim(NOW - 50 * MINUTE, lease_ns=MINUTE):
        ledger.postpone(parcel, NOW + 600 * MINUTE, "slack 1: quiet hours; mail 2: refused")
    assert found(diagnose(store), "1 not told yet, the oldest since").level == "warning"
    ledger.close()
