"""Measurements: bounded in their attributes, right in their sums, of each call once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import openai
import pytest
from examples.provider import Provider

from costguard import Guard, StoreUnavailable, tagged
from costguard.call import Call
from costguard.events import Outcome
from costguard.ledger.memory import MemoryLedger
from costguard.pricing.usage import Usage
from costguard.telemetry.otel import OpenTelemetry
from tests.telemetry.conftest import COST, MODEL, Meters, a_tenth

Watched = Callable[..., Guard]
Ask = Callable[..., Any]


def test_attributes_have_few_values_and_never_a_user(watched: Watched, ask: Ask, meters: Meters) -> None:
    watched()
    for number in range(120):
        with tagged(user=f"user-{number}", session=f"session-{number}", feature=f"feature-{number}"):
            ask()
    points = meters.points("costguard.cost")
    features = [point.attributes["costguard.feature"] for point in points]
    assert len(features) <= 101
    assert "other" in features
    assert not any({"user.id", "session.id"} & set(point.attributes) for point in points)
    assert sum(point.value for point in points) == pytest.approx(120 * COST)


def test_calls_under_way_and_what_is_held_for_them(
    watched: Watched, ask: Ask, meters: Meters, provider: Provider
) -> None:
    watched(budgets=["$5/day"])
    asked, go_on = Event(), Event()

    def slowly(body: dict[str, Any]) -> Any:
        asked.set()
        assert go_on.wait(10)
        return a_tenth(body)

    provider.reply = slowly
    caller = Thread(target=ask, kwargs={"max_tokens": 8000})
    caller.start()
    try:
        assert asked.wait(10)
        assert [point.value for point in meters.points("costguard.calls.running")] == [1]
        (held,) = [point.value for point in meters.points("costguard.held")]
        assert 0 < held < 1
    finally:
        go_on.set()
        caller.join(10)
    assert [point.value for point in meters.points("costguard.calls.running")] == [0]
    assert [point.value for point in meters.points("costguard.held")] == [0]


def test_a_call_without_a_price_is_counted_as_such(watched: Watched, ask: Ask, meters: Meters) -> None:
    watched()
    ask(model="nobody-knows-it")
    (point,) = meters.points("costguard.calls.unpriced")
    assert (point.value, point.attributes["gen_ai.request.model"]) == (1, "nobody-knows-it")
    assert meters.points("costguard.cost") == []


def test_another_model_that_a_budget_chose_is_counted(watched: Watched, ask: Ask, meters: Meters) -> None:
    watched(budgets=["$0.2/day then downgrade:gpt-4o-mini at 50%"])
    ask()
    ask()
    (point,) = meters.points("costguard.downgrades")
    assert dict(point.attributes) == {"gen_ai.request.model": MODEL, "gen_ai.response.model": "gpt-4o-mini"}


class Away(MemoryLedger):
    """A store that can be told to be down."""

    down = False

    def settle(self, *arguments: Any) -> Any:
        if self.down:
            raise StoreUnavailable("down")
        return super().settle(*arguments)

    def undelivered(self) -> int:
        if self.down:
            raise StoreUnavailable("down")
        return super().undelivered()


def test_a_call_is_told_of_once_also_where_the_store_was_away(provider: Provider, meters: Meters) -> None:
    ledger = Away()
    with Guard(ledger, alerts=[print], hooks=[OpenTelemetry(meter_provider=meters.provider, spans=False)]) as guard:
        guard.instrument()
        ledger.down = True
        with openai.OpenAI() as client:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        assert meters.points("costguard.cost") == []
        assert meters.points("costguard.alerts.undelivered") == [], "not known is not zero"
        assert [point.value for point in meters.points("costguard.journal.entries")] == [1], "this process knows it"
        assert guard.health(here=True).entries_waiting == 1
        ledger.down = False
        guard.flush()
        assert guard.health().entries_waiting == 0
        assert [point.value for point in meters.points("costguard.cost")] == [pytest.approx(COST)]
        assert [point.value for point in meters.points("costguard.calls.running")] == [0]


def test_alerts_are_told_by_what_became_of_them(provider: Provider, ask: Ask, meters: Meters) -> None:
    told: list[Any] = []
    hook = OpenTelemetry(meter_provider=meters.provider, spans=False)
    with Guard("memory://", budgets=["$0.2/day alerts at 50%"], alerts=[told.append], hooks=[hook]) as guard:
        guard.instrument()
        ask()
        guard.flush()
        found = {point.attributes["costguard.outcome"]: point.value for point in meters.points("costguard.alerts")}
    assert found == {"waiting": 0, "told": len(told), "given up": 0, "muted": 0}
    assert told


def test_attributes_that_are_few_each_are_few_together(watched: Watched, meters: Meters) -> None:
    guard = watched({"spans": False})
    for model in range(46):
        for feature in range(46):
            with tagged(feature=f"feature-{feature}"):
                call = Call("openai", f"nobody-knows-{model}")
                guard.reserve(call)
                guard.settle(call, Outcome("ok", Usage.of({"input": 4})))
    points = meters.points("costguard.calls.unpriced")
    assert len(points) <= 2001
    assert sum(point.value for point in points) == 46 * 46


def test_guards_that_tell_the_same_provider_are_told_of_together(meters: Meters) -> None:
    """The SDK takes the instruments of a name once: those of a second guard would be heard of by nobody."""
    guards = [
        Guard("memory://", budgets=["$5/day"], hooks=[OpenTelemetry(meter_provider=meters.provider, spans=False)])
        for _ in range(2)
    ]
    for guard in guards:
        call = Call("openai", MODEL)
        guard.reserve(call)
        guard.settle(call, Outcome("ok", Usage.of({"input": 12_000, "output": 8_000})))
    assert sum(point.value for point in meters.points("costguard.cost")) == pytest.approx(2 * COST)
    assert sum(point.count for point in meters.points("gen_ai.client.operation.duration")) == 2
    (used,) = meters.points("costguard.budget.used")
    assert used.value == pytest.approx(COST / 5)
    for guard in guards:
        guard.close()


ORDERS = """
import sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from costguard import Guard
from costguard.call import Call
from costguard.events import Outcome
from costguard.pricing.usage import Usage
from costguard.telemetry.otel import OpenTelemetry

reader = InMemoryMetricReader()
given = MeterProvider(metric_readers=[reader])
hooks = []
for step in sys.argv[1].split():
    if step == "set":
        metrics.set_meter_provider(given)
    else:
        hooks.append(OpenTelemetry(meter_provider=given if step == "given" else None, spans=False))
for hook in hooks:
    with Guard("memory://", hooks=[hook]) as guard:
        call = Call("openai", "gpt-4o")
        guard.reserve(call)
        guard.settle(call, Outcome("ok", Usage.of({"input": 12_000})))
found = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print(sum(point.count for each in found if each.name == "costguard.call.cost" for point in each.data.data_points))
"""


@pytest.mark.parametrize("order", ["set global given", "set given global", "global set given", "given set global"])
def test_a_provider_that_is_given_and_is_the_global_one_hears_of_all_guards(order: str) -> None:
    command = [sys.executable, "-c", ORDERS, order]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert told.stdout.strip() == "2", told.stderr


def test_a_child_process_begins_with_nothing(watched: Watched, ask: Ask, meters: Meters) -> None:
    watched()
    ask()
    child = os.fork()
    if child == 0:
        # Not even what its parent had not collected yet.
        os._exit(len(meters.points("costguard.cost")) + len(meters.points("costguard.call.cost")))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [point.value for point in meters.points("costguard.cost")] == [pytest.approx(COST)]


def test_a_hook_that_fails_at_the_beginning_costs_no_call(
    provider: Provider, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad:
        def began(self, call: object) -> None:
            raise RuntimeError("bad")

        ended = began

        def __call__(self, event: object) -> None:
            """Hears of nothing."""

    with Guard("memory://") as guard:
        guard.add_hook(Bad())
        guard.instrument()
        ask()
        assert len(guard.entries()) == 1
    assert caplog.text.count("the call goes on") == 2
