"""What Prometheus scrapes, read by its own client's parser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from costguard import BudgetExceeded, ConfigError, Guard, tagged
from costguard.telemetry.files import DASHBOARD, RULES
from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.scrape import metrics_app, metrics_wsgi_app
from tests.telemetry.conftest import COST, INPUT, MODEL, OUTPUT
from tests.telemetry.queries import metrics_in, panel_queries, rule_queries

ROOT = Path(__file__).parents[2]
Ask = Callable[..., Any]
Scrape = Callable[[], dict[str, dict[tuple[tuple[str, str], ...], float]]]


def read(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Names of samples to labels to values."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.fixture
def told() -> Prometheus:
    return Prometheus(CollectorRegistry(), payers=("user", "team"), most=4)


@pytest.fixture
def guard(told: Prometheus) -> Iterator[Guard]:
    with Guard("memory://", budgets=["$0.5/day", "$0.0001/day where feature=broke"], wait=0, hooks=[told]) as guard:
        guard.instrument()
        yield guard


@pytest.fixture
def scrape(told: Prometheus) -> Scrape:
    client = httpx.Client(transport=httpx.WSGITransport(app=metrics_wsgi_app(told)), base_url="http://app")
    return lambda: read(client.get("/metrics").text)


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def test_calls_costs_and_tokens_by_model_and_few_tags(guard: Guard, ask: Ask, scrape: Scrape) -> None:
    with tagged(user="alice", feature="chat"):
        ask(max_tokens=OUTPUT)
    found = scrape()
    where = {"provider": "openai", "model": MODEL, "feature": "chat", "environment": "unattributed"}
    assert found["costguard_cost_usd_total"] == {labels(**where): COST}
    assert found["costguard_calls_total"] == {labels(**where, status="ok"): 1}
    assert found["costguard_tokens_total"] == {
        labels(**where, kind="input"): INPUT,
        labels(**where, kind="output"): OUTPUT,
    }
    model = {"provider": "openai", "model": MODEL}
    assert found["costguard_call_cost_usd_bucket"][labels(**model, le="0.1")] == 0
    assert found["costguard_call_cost_usd_bucket"][labels(**model, le="0.3")] == 1
    assert found["costguard_call_duration_seconds_count"] == {labels(**model): 1}
    assert found["costguard_payer_cost_usd_total"] == {
        labels(tag="user", payer="alice"): COST,
        labels(tag="team", payer="unattributed"): COST,
    }


def test_where_shared_budgets_stand_and_who_was_refused(guard: Guard, ask: Ask, scrape: Scrape) -> None:
    with tagged(user="alice"):
        ask(max_tokens=OUTPUT)
        with pytest.raises(BudgetExceeded), tagged(feature="broke"):
            ask(max_tokens=OUTPUT)
    found = scrape()
    budget = labels(budget="$0.50/day", unit="usd")
    assert {name: found[f"costguard_budget_{name}"] for name in ("limit", "spent", "held")} == {
        "limit": {budget: 0.5},
        "spent": {budget: COST},
        "held": {budget: 0},
    }
    ((refused, count),) = found["costguard_refusals_total"].items()
    assert (dict(refused)["observed"], count) == ("false", 1)
    assert found["costguard_calls_running"] == {(): 0}
    assert found["costguard_held_usd"] == {(): 0}
    assert found["costguard_entries_waiting"] == {(): 0}
    assert found["costguard_journal_bytes"] == {(): 0}
    assert found["costguard_alerts_undelivered"] == {(): 0}


def test_payers_and_models_without_end_have_series_with_an_end(guard: Guard, ask: Ask, scrape: Scrape) -> None:
    for number in range(110):
        with tagged(user=f"user-{number}"):
            ask(model=f"nobody-knows-{number}")
    assert len({dict(where)["model"] for where in scrape()["costguard_unpriced_calls_total"]}) <= 101


async def test_the_asgi_app_answers_a_scraper_what_it_accepts(guard: Guard, ask: Ask, told: Prometheus) -> None:
    with tagged(user="alice"):
        ask(max_tokens=OUTPUT)
    transport = httpx.ASGITransport(app=metrics_app(told))
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        text = await client.get("/metrics")
        opened = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert "costguard_cost_usd_total" in read(text.text)
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


def test_a_store_that_is_away_leaves_out_what_only_it_knows(told: Prometheus, scrape: Scrape) -> None:
    class Away:
        def health(self, *, here: bool = False) -> Any:
            raise RuntimeError("down")

        standings = health

    told.attached(Away())
    found = scrape()
    assert "costguard_alerts_undelivered" not in found
    assert "costguard_budget_spent" not in found
    assert "costguard_calls_running" in found


WORKER = """
import sys
from costguard import Guard, tagged
from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.scrape import metrics_wsgi_app
import openai
told = Prometheus()
with Guard("memory://", hooks=[told]) as guard, openai.OpenAI() as client:
    guard.instrument()
    with tagged(user=sys.argv[1]):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
    if sys.argv[2:]:
        def start(status, headers, _=None):
            assert status == "200 OK"
        body = metrics_wsgi_app(told)({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}, start)
        sys.stdout.write(b"".join(body).decode())
"""


def test_several_processes_are_scraped_as_one(provider: Any, tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def work(*arguments: str) -> str:
        command = [sys.executable, "-c", WORKER, *arguments]
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    work("alice")
    found = read(work("bob", "scrape"))
    assert sum(found["costguard_cost_usd_total"].values()) == pytest.approx(2 * COST)
    assert {dict(where)["payer"] for where in found["costguard_payer_cost_usd_total"]} == {"alice", "bob"}
    assert sum(found["costguard_call_cost_usd_count"].values()) == 2


def test_every_query_of_the_dashboard_and_the_rules_names_what_is_scraped(
    guard: Guard, ask: Ask, scrape: Scrape
) -> None:
    with tagged(user="alice"):
        ask(max_tokens=OUTPUT)
        ask(model="nobody-knows-it")
        with pytest.raises(BudgetExceeded), tagged(feature="broke"):
            ask(max_tokens=OUTPUT)
    found = scrape()
    wanted = {name for _, query in (*panel_queries(DASHBOARD), *rule_queries(RULES)) for name in metrics_in(query)}
    assert len(wanted) > 10
    assert sorted(wanted - set(found)) == []


def test_the_files_are_told_by_a_command() -> None:
    command = [sys.executable, "-m", "costguard.telemetry.files"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(DASHBOARD), str(RULES)]
    assert all(Path(line).is_file() for line in done.stdout.split())


@pytest.mark.parametrize("settings", [{"payers": "user"}, {"by": "feature"}, {"most": 0}, {"by": ("model",)}])
def test_wrong_settings_are_told(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Prometheus(CollectorRegistry(), **settings)
