"""Beside spans of others: one cost and one count of tokens for each call, on the right span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from examples.provider import Provider

from costguard import BudgetExceeded, Guard, tagged
from costguard.call import Call
from costguard.events import Outcome
from costguard.pricing.usage import Usage
from costguard.telemetry.otel import OpenTelemetry
from tests.telemetry.conftest import COST, MODEL, Meters, Traces
from tests.telemetry.test_measures import Away

Watched = Callable[..., Guard]
Ask = Callable[..., Any]


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "image", "gen_ai.system": "openai"},
        {"gen_ai.operation.name": "text_to_speech"},
        {"openinference.span.kind": "RERANKER"},
        {"gen_ai.system": "openai"},
    ],
)
def test_spans_of_calls_of_every_kind_are_used(
    watched: Watched, ask: Ask, traces: Traces, attributes: dict[str, str]
) -> None:
    watched()
    with traces.tracer.start_as_current_span("theirs", attributes=attributes):
        ask()
    (span,) = traces.finished()
    assert span.attributes["gen_ai.usage.cost"] == COST


def test_a_workflow_that_names_a_system_is_no_call(watched: Watched, ask: Ask, traces: Traces) -> None:
    """As those of OpenLLMetry do."""
    watched()
    larger = {"traceloop.span.kind": "workflow", "gen_ai.system": "openai"}
    with traces.tracer.start_as_current_span("workflow", attributes=larger):
        ask()
    own, workflow = traces.finished()
    assert dict(workflow.attributes) == larger
    assert own.attributes["gen_ai.usage.cost"] == COST


def test_with_the_newest_names_a_cost_that_they_wrote_is_ours_too(
    watched: Watched, ask: Ask, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    watched()
    theirs = {"gen_ai.operation.name": "chat", "gen_ai.usage.cost": 0.5}
    with traces.tracer.start_as_current_span("theirs", attributes=theirs) as span:
        ask()
        span.set_attribute("llm.cost.total", 0.7)
    (span,) = traces.finished()
    told = {name: value for name, value in span.attributes.items() if "cost" in name and "currency" not in name}
    assert {value for name, value in told.items() if not name.startswith("costguard.")} == {COST}


def cached() -> Outcome:
    return Outcome("ok", Usage(input_tokens=1000, cache_write_tokens=400, cache_read_tokens=100, output_tokens=10))


@pytest.mark.parametrize("when", ["before", "after"])
def test_cached_tokens_have_one_name_on_a_span(watched: Watched, traces: Traces, when: str) -> None:
    """Langfuse counts those that are written twice where both names are there."""
    guard = watched()
    theirs = {"gen_ai.usage.cache_write.input_tokens": 400}
    with traces.tracer.start_as_current_span("theirs", attributes={"gen_ai.operation.name": "chat"}) as span:
        if when == "before":
            span.set_attributes(theirs)
        call = Call("anthropic", "claude-sonnet-4-5")
        guard.reserve(call)
        guard.settle(call, cached())
        if when == "after":
            span.set_attributes(theirs)
    (span,) = traces.finished()
    names = {name for name in span.attributes if "cache_write" in name or "cache_creation" in name}
    assert len(names) == 1
    assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 100


def test_cached_tokens_are_part_of_the_input_and_told_by_name(watched: Watched, traces: Traces) -> None:
    guard = watched({"openinference": True})
    call = Call("anthropic", "claude-sonnet-4-5")
    guard.reserve(call)
    guard.settle(call, cached())
    (span,) = traces.finished()
    assert span.attributes.items() >= {
        "gen_ai.provider.name": "anthropic", "gen_ai.system": "anthropic",
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 100, "gen_ai.usage.cache_creation.input_tokens": 400,
        "llm.token_count.prompt": 1000, "llm.token_count.prompt_details.cache_read": 100,
        "llm.token_count.prompt_details.cache_write": 400,
    }.items()  # fmt: skip


def test_a_call_made_while_a_stream_is_read_keeps_its_own_span(
    watched: Watched, provider: Provider, ask: Ask, traces: Traces
) -> None:
    """Somebody watches the second call alone: the stream's cost does not go on its span."""
    watched()
    with openai.OpenAI() as client, tagged(user="alice"):
        messages: Any = [{"role": "user", "content": "Hello"}]
        stream = client.chat.completions.create(
            model="gpt-4o-mini", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        first = next(stream)
        assert first is not None
        with traces.tracer.start_as_current_span("theirs", attributes={"gen_ai.operation.name": "chat"}):
            ask()
        list(stream)
    costs = {span.name: span.attributes["gen_ai.usage.cost"] for span in traces.finished()}
    assert costs == {"theirs": COST, "chat gpt-4o-mini": pytest.approx(0.0066)}


def test_after_a_refusal_the_call_that_is_made_instead_has_the_span(watched: Watched, ask: Ask, traces: Traces) -> None:
    watched(budgets=["$0.000001/day where feature=dear"], holds="strict", wait=0)
    with traces.tracer.start_as_current_span("theirs", attributes={"gen_ai.operation.name": "chat"}):
        with pytest.raises(BudgetExceeded), tagged(feature="dear"):
            ask()
        ask()
    (span,) = traces.finished()
    assert span.attributes.items() >= {"costguard.refused": True, "gen_ai.usage.cost": COST}.items()


def test_where_the_store_was_away_tokens_are_told_once(provider: Provider, ask: Ask, traces: Traces) -> None:
    """By the time the entry is written, their span has ended: the cost comes below it."""
    ledger = Away()
    hook = OpenTelemetry(tracer_provider=traces.provider, metrics=False)
    with Guard(ledger, hooks=[hook]) as guard:
        guard.instrument()
        ledger.down = True
        with traces.tracer.start_as_current_span("theirs", attributes={"gen_ai.operation.name": "chat"}) as theirs:
            ask()
        ledger.down = False
        guard.flush()
    _, own = traces.finished()
    assert (own.name, own.parent.span_id) == ("costguard.cost", theirs.get_span_context().span_id)
    assert own.attributes["gen_ai.usage.cost"] == COST
    assert not [name for name in own.attributes if "tokens" in name]


def test_what_is_billed_beside_a_call_lies_below_it_and_is_no_second_call(
    watched: Watched, traces: Traces, meters: Meters
) -> None:
    guard = watched()
    with traces.tracer.start_as_current_span("the view"):
        call = Call("openai", MODEL)
        guard.reserve(call)
        beside = (("gpt-4o-mini", Usage.of({"input": 1_000_000})),)
        guard.settle(call, Outcome("ok", Usage.of({"input": 12_000, "output": 8_000}), extra=beside))
    own, second, _ = traces.finished()
    assert (own.name, second.name) == (f"chat {MODEL}", "chat gpt-4o-mini")
    assert second.parent.span_id == own.context.span_id
    assert own.attributes["gen_ai.usage.cost"] == COST
    assert second.attributes["gen_ai.usage.cost"] == pytest.approx(0.15)
    assert sum(point.count for point in meters.points("gen_ai.client.operation.duration")) == 1
    assert sum(point.value for point in meters.points("costguard.cost")) == pytest.approx(COST + 0.15)


@pytest.mark.parametrize("user_ids", ["hashed", "none"])
def test_nobodys_id_is_in_the_name_of_a_budget(
    watched: Watched, ask: Ask, traces: Traces, meters: Meters, user_ids: str
) -> None:
    watched(
        {"user_ids": user_ids, "salt": "secret"},
        budgets=["$0.000001/day per user for user=alice", "$0.000002/day where user=alice"],
        holds="strict", wait=0,
    )  # fmt: skip
    with (
        pytest.raises(BudgetExceeded),
        tagged(user="alice"),
        traces.tracer.start_as_current_span("theirs", attributes={"gen_ai.operation.name": "chat"}),
    ):
        ask()
    (span,) = traces.finished()
    (point,) = meters.points("costguard.refusals")
    assert "/day" in point.attributes["costguard.budget"]
    assert "alice" not in f"{dict(span.attributes)} {dict(point.attributes)}"


def test_two_guards_on_one_provider_tell_each_call_once(
    watched: Watched, provider: Provider, ask: Ask, traces: Traces
) -> None:
    first, second = watched(), watched()
    ask()
    assert len(first.entries()) + len(second.entries()) == len(traces.finished()) == 1
