"""What Prometheus scrapes, read by its own client's parser."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from costguard import BudgetExceeded, ConfigError, CostGuardError, Guard, tagged
from costguard.alerts.alert import Undeliverable
from costguard.call import Call
from costguard.events import Outcome
from costguard.ledger.memory import MemoryLedger
from costguard.pricing.usage import Usage
from costguard.telemetry.files import DASHBOARD, RULES
from costguard.telemetry.otel import OpenTelemetry
from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.scrape import metrics_app, metrics_wsgi_app
from tests.telemetry.conftest import COST, INPUT, MODEL, OUTPUT, Meters
from tests.telemetry.queries import metrics_in, panel_queries, rule_queries

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
    with Guard(
        "memory://", budgets=["$0.5/day", "$0.0001/day where feature=broke"], wait=0, alerts=[str], hooks=[told]
    ) as guard:
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
    guard.flush()
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
        closed = False
        ledger = MemoryLedger()

        def health(self, *, here: bool = False) -> Any:
            raise RuntimeError("down")

        standings = health

    away = Away()
    told.attached(away)
    found = scrape()
    assert "costguard_alerts_undelivered" not in found
    assert "costguard_budget_spent" not in found
    assert "costguard_calls_running" in found


def test_calls_are_counted_when_they_are_scraped_by_whom_ever(guard: Guard, ask: Ask, told: Prometheus) -> None:
    """prometheus_client's own servers and its pushes read the registry, not our app."""
    ask(max_tokens=OUTPUT)
    assert b"costguard_calls_total{" in generate_latest(told.registry)
    where = {"provider": "openai", "model": MODEL, "feature": "unattributed", "environment": "unattributed"}
    assert told.registry.get_sample_value("costguard_cost_usd_total", where) == COST


def test_what_is_billed_beside_a_call_is_no_second_call(told: Prometheus, scrape: Scrape) -> None:
    with Guard("memory://", hooks=[told]) as guard:
        call = Call("openai", MODEL)
        guard.reserve(call)
        beside = (("gpt-4o-mini", Usage.of({"input": 1_000_000})),)
        guard.settle(call, Outcome("ok", Usage.of({"input": INPUT, "output": OUTPUT}), extra=beside))
    found = scrape()
    assert sum(found["costguard_calls_total"].values()) == 1
    assert sum(found["costguard_call_duration_seconds_count"].values()) == 1
    assert sum(found["costguard_cost_usd_total"].values()) == pytest.approx(COST + 0.15)


@pytest.mark.parametrize("model", ["\ud800", "nobody's\x00" * 10_000], ids=["no text", "without end"])
def test_a_model_that_somebody_made_up_spoils_no_scrape(told: Prometheus, scrape: Scrape, model: str) -> None:
    with Guard("memory://", hooks=[told]) as guard:
        call = Call("openai", model)
        guard.reserve(call)
        guard.settle(call, Outcome("error", billable=False))
    ((where, count),) = scrape()["costguard_calls_total"].items()
    assert count == 1
    assert len(dict(where)["model"]) <= 256


def test_labels_that_are_few_each_are_few_together(told: Prometheus, scrape: Scrape) -> None:
    with Guard("memory://", hooks=[told]) as guard:
        for model in range(46):
            for feature in range(46):
                with tagged(feature=f"feature-{feature}"):
                    call = Call("openai", f"nobody-knows-{model}")
                    guard.reserve(call)
                    guard.settle(call, Outcome("ok", Usage.of({"input": 4})))
    found = scrape()["costguard_calls_total"]
    assert len(found) <= 2001
    assert sum(found.values()) == 46 * 46


def test_budgets_for_one_user_each_have_no_series_each(told: Prometheus, ask: Ask, scrape: Scrape) -> None:
    budgets = [f"$0.0000001/day per user for user=user-{number}" for number in range(120)]
    with Guard("memory://", budgets=budgets, holds="strict", wait=0, hooks=[told]) as guard:
        guard.instrument()
        for number in range(120):
            with tagged(user=f"user-{number}"), pytest.raises(BudgetExceeded):
                ask()
    found = scrape()["costguard_refusals_total"]
    assert len(found) <= 101
    assert sum(found.values()) == 120


def test_without_payers_nobodys_id_is_in_the_name_of_a_budget(ask: Ask) -> None:
    told = Prometheus(CollectorRegistry(), payers=())
    budgets = ["$5/day per user", "$0.0000001/day per user for user=alice"]
    with Guard("memory://", budgets=budgets, holds="strict", wait=0, hooks=[told]) as guard:
        guard.instrument()
        with tagged(user="alice"), pytest.raises(BudgetExceeded):
            ask()
    text = generate_latest(told.registry).decode()
    assert 'costguard_refusals_total{budget="' in text
    assert "alice" not in text


def test_one_for_several_guards_tells_of_all(told: Prometheus, scrape: Scrape) -> None:
    with Guard("memory://", budgets=["$5/day"], hooks=[told]), Guard("memory://", budgets=["$9/month"], hooks=[told]):
        budgets = scrape()["costguard_budget_limit"]
    assert set(budgets) == {labels(budget="$5.00/day", unit="usd"), labels(budget="$9.00/month", unit="usd")}
    with pytest.raises(ConfigError, match="every guard"):
        Prometheus(told.registry)


def test_alerts_are_told_by_what_became_of_them(told: Prometheus, ask: Ask, scrape: Scrape) -> None:
    def channel(alert: Any) -> None:
        if "feature=broke" in str(alert.budget):
            raise Undeliverable("nobody there")

    budgets = ["$0.1/day then alert at 50%", "$0.1/day where feature=broke then alert at 100%"]
    with Guard("memory://", budgets=budgets, alerts=[channel], hooks=[told]) as guard:
        guard.instrument()
        with tagged(feature="broke"):
            ask()
        with suppress(CostGuardError):
            guard.flush(10)
        found = {dict(where)["outcome"]: count for where, count in scrape()["costguard_alerts"].items()}
    assert found["told"] > 0
    assert found["given up"] > 0
    assert (found["waiting"], found["muted"]) == (0, 0)


async def test_while_a_store_keeps_scrapes_waiting_the_app_has_its_threads(told: Prometheus) -> None:
    """Those of the event loop resolve the names of providers, too."""
    answering = threading.Event()

    class Slow(MemoryLedger):
        def balances(self, *given: Any) -> Any:
            assert answering.wait(30)
            return super().balances(*given)

    transport = httpx.ASGITransport(app=metrics_app(told))
    with Guard(Slow(), budgets=["$5/day"], hooks=[told]):
        async with httpx.AsyncClient(transport=transport, base_url="http://app", timeout=60) as client:
            scrapes = [asyncio.create_task(client.get("/metrics")) for _ in range(40)]
            await asyncio.sleep(0)
            try:
                await asyncio.wait_for(asyncio.to_thread(answering.is_set), 10)
            finally:
                answering.set()
            answers = await asyncio.gather(*scrapes)
    assert all('costguard_budget_limit{budget="$5.00/day"' in each.text for each in answers)


def test_guards_of_one_store_have_the_same_alerts(told: Prometheus, scrape: Scrape, tmp_path: Path) -> None:
    def channel(alert: Any) -> None:
        raise Undeliverable("nobody there")

    store = f"sqlite:///{tmp_path / 'costs.db'}"
    meters = Meters()
    hooks = [told, OpenTelemetry(meter_provider=meters.provider, spans=False)]
    budgets = ["$0.1/day then alert at 50%"]
    with (
        Guard(store, budgets, [channel], hooks=hooks) as guard,
        Guard(store, budgets, [channel], hooks=hooks),
        Guard(store, hooks=hooks),
    ):
        call = Call("openai", MODEL)
        guard.reserve(call)
        guard.settle(call, Outcome("ok", Usage.of({"input": 24_000})))
        with suppress(CostGuardError):
            guard.flush()
        waiting = guard.health()
        found = scrape()
        assert sum(waiting.alerts.values()) == 1
        assert sum(found["costguard_alerts"].values()) == 1
        assert found["costguard_alerts_undelivered"] == {(): waiting.alerts_undelivered}
        assert sum(point.value for point in meters.points("costguard.alerts")) == 1
        (undelivered,) = meters.points("costguard.alerts.undelivered")
        assert undelivered.value == waiting.alerts_undelivered


def test_a_scrape_does_not_open_the_store_of_a_closed_guard_again(
    told: Prometheus, scrape: Scrape, tmp_path: Path
) -> None:
    store = tmp_path / "costs.db"
    guard = Guard(f"sqlite:///{store}", budgets=["$5/day"], alerts=[str], hooks=[told])
    guard.close()
    store.unlink()
    assert "costguard_budget_limit" not in scrape()
    assert not store.exists()
    guard.reserve(Call("openai", MODEL))
    assert "costguard_budget_limit" in scrape(), "it is used again"
    guard.close()


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
