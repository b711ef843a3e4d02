"""The span of a call: one, with what every backend reads, whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from opentelemetry import trace

from costguard import BudgetExceeded, ConfigError, Guard, tagged
from costguard.telemetry.otel import OpenTelemetry
from tests.telemetry.conftest import COST, INPUT, MODEL, OUTPUT, Traces

Watched = Callable[..., Guard]
Ask = Callable[..., Any]
COSTS = {"gen_ai.usage.cost": COST, "operation.cost": COST, "llm.cost.total": COST}


def the_only(traces: Traces) -> Any:
    (span,) = traces.finished()
    return span


def test_a_call_without_any_other_instrumentation_gets_a_span_of_its_own(
    watched: Watched, ask: Ask, traces: Traces
) -> None:
    watched()
    with tagged(user="alice", feature="chat", environment="production", session="s-1", route="/chat"):
        answer = ask()
    span = the_only(traces)
    assert span.name == f"chat {MODEL}"
    assert span.kind is trace.SpanKind.CLIENT
    assert {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.system": "openai",
        "gen_ai.request.model": MODEL, "gen_ai.response.model": MODEL, "gen_ai.response.id": answer.id,
        "gen_ai.usage.input_tokens": INPUT, "gen_ai.usage.output_tokens": OUTPUT,
        **COSTS,
        "user.id": "alice", "session.id": "s-1", "deployment.environment.name": "production",
        "costguard.feature": "chat", "costguard.route": "/chat",
    }.items() <= dict(span.attributes).items()  # fmt: skip
    assert set(span.attributes) == {
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model",
        "gen_ai.response.model", "gen_ai.response.id", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens",
        *COSTS, "user.id", "session.id", "deployment.environment.name", "costguard.feature", "costguard.route",
        "costguard.status", "costguard.call_id",
    }, "no more names than these: some backends misread the newest ones"  # fmt: skip


def test_it_lies_below_the_span_that_was_current_and_lasts_as_long_as_the_call(
    watched: Watched, ask: Ask, traces: Traces
) -> None:
    guard = watched()
    with traces.tracer.start_as_current_span("the view") as view:
        ask()
    own, _ = traces.finished()
    (entry,) = guard.entries()
    assert own.parent.span_id == view.get_span_context().span_id
    assert (own.start_time, own.end_time - own.start_time) == (entry.at_ns, entry.duration_ns)


def test_the_span_of_another_instrumentation_gets_the_cost_and_no_second_one_is_made(
    watched: Watched, ask: Ask, traces: Traces
) -> None:
    watched()
    theirs = {"gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL, "gen_ai.usage.input_tokens": 7}
    with tagged(user="alice"), traces.tracer.start_as_current_span("chat", attributes=theirs):
        ask()
    span = the_only(traces)
    assert span.attributes.items() >= {**COSTS, "user.id": "alice"}.items()
    assert span.attributes["gen_ai.usage.input_tokens"] == 7, "what the other one read stays"


def test_a_cost_that_the_other_one_writes_when_it_ends_does_not_replace_ours(
    watched: Watched, ask: Ask, traces: Traces
) -> None:
    """As OpenLIT does."""
    watched()
    with traces.tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as span:
        ask()
        span.set_attribute("gen_ai.usage.cost", 0)
        span.set_attributes({"operation.cost": 0.5, "gen_ai.response.id": "theirs"})
    assert the_only(traces).attributes.items() >= {**COSTS, "gen_ai.response.id": "theirs"}.items()


@pytest.mark.parametrize(
    "attributes",
    [
        {"openinference.span.kind": "CHAIN"},
        {"openinference.span.kind": "AGENT", "gen_ai.request.model": MODEL},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": MODEL},
        {"http.route": "/chat"},
    ],
)
def test_a_span_of_something_larger_is_left_alone(
    watched: Watched, ask: Ask, traces: Traces, attributes: dict[str, str]
) -> None:
    watched()
    with traces.tracer.start_as_current_span("larger", attributes=attributes):
        ask()
    own, larger = traces.finished()
    assert "gen_ai.usage.cost" in own.attributes
    assert dict(larger.attributes) == attributes


def test_a_second_call_below_one_llm_span_gets_a_span_of_its_own(watched: Watched, ask: Ask, traces: Traces) -> None:
    watched()
    with traces.tracer.start_as_current_span("chat", attributes={"openinference.span.kind": "LLM"}):
        ask()
        ask()
    assert [span.attributes["gen_ai.usage.cost"] for span in traces.finished()] == [COST, COST]


@pytest.fixture
def inside(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Puts an instrumentation below ours, whose span has ended when its function returns; given: at its end."""

    def install(given: dict[str, Any]) -> None:
        original = openai.OpenAI.request

        def request(self: Any, *args: Any, **kwargs: Any) -> Any:
            with traces.tracer.start_as_current_span("theirs", attributes={"gen_ai.request.model": MODEL}) as span:
                answer = original(self, *args, **kwargs)
                span.set_attributes(given)
            return answer

        monkeypatch.setattr(openai.OpenAI, "request", request, raising=False)

    return install


def test_where_their_span_has_ended_its_cost_is_left_to_be_the_only_one(
    watched: Watched, ask: Ask, traces: Traces, inside: Callable[[dict[str, Any]], None]
) -> None:
    """As with Logfire, installed before: it prices calls by itself."""
    inside({"operation.cost": 0.11})
    watched()
    ask()
    assert the_only(traces).name == "theirs"


def test_where_their_span_has_ended_without_a_cost_a_span_below_it_has_that_alone(
    watched: Watched, ask: Ask, traces: Traces, inside: Callable[[dict[str, Any]], None]
) -> None:
    """Tokens are told once: backends add up those of all spans."""
    inside({})
    watched()
    with tagged(user="alice"):
        ask()
    theirs, own = traces.finished()
    assert (own.name, own.parent.span_id) == ("costguard.cost", theirs.context.span_id)
    assert own.attributes.items() >= {**COSTS, "user.id": "alice"}.items()
    assert not [name for name in own.attributes if "tokens" in name or "model" in name]


def test_a_streams_span_ends_when_the_stream_does(watched: Watched, ask: Ask, traces: Traces) -> None:
    guard = watched()
    with traces.tracer.start_as_current_span("the view"):
        chunks = ask(stream=True, stream_options={"include_usage": True})
    assert len(chunks) > 1
    own, _ = traces.finished()
    (entry,) = guard.entries()
    assert own.end_time == entry.at_ns + entry.duration_ns
    assert own.attributes["gen_ai.usage.output_tokens"] == OUTPUT


def test_a_stream_that_is_read_elsewhere_still_belongs_to_the_span_it_began_in(
    watched: Watched, provider: Any, traces: Traces
) -> None:
    watched()
    with openai.OpenAI() as client:
        with traces.tracer.start_as_current_span("the view") as view:
            stream = client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Hello"}], stream=True
            )
        with traces.tracer.start_as_current_span("another"):
            list(stream)
    (own,) = [span for span in traces.finished() if span.name == f"chat {MODEL}"]
    assert own.parent.span_id == view.get_span_context().span_id


async def test_async_calls_that_run_at_once_have_each_its_own_parent(
    watched: Watched, provider: Any, traces: Traces
) -> None:
    import asyncio

    watched()
    async with openai.AsyncOpenAI() as client:

        async def one(name: str) -> None:
            with tagged(user=name), traces.tracer.start_as_current_span(name):
                await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": name}])

        await asyncio.gather(*map(one, ("alice", "bob")))
    spans = traces.finished()
    views = {span.context.span_id: span.name for span in spans if span.parent is None}
    assert {span.attributes["user.id"]: views[span.parent.span_id] for span in spans if span.parent} == {
        "alice": "alice",
        "bob": "bob",
    }


def test_a_failed_call_is_a_failed_span(watched: Watched, ask: Ask, traces: Traces, provider: Any) -> None:
    watched()
    provider.answer = lambda *_: None
    with pytest.raises(openai.NotFoundError):
        ask()
    span = the_only(traces)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["error.type"] == "_OTHER"
    assert span.attributes["gen_ai.usage.cost"] == 0


def test_a_refused_call_has_no_span_but_the_one_that_was_there_says_so(
    watched: Watched, ask: Ask, traces: Traces
) -> None:
    watched(budgets=["$0.000001/day"], holds="strict", wait=0)
    with pytest.raises(BudgetExceeded):
        ask()
    assert traces.finished() == []
    with (
        pytest.raises(BudgetExceeded),
        traces.tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}),
    ):
        ask()
    assert the_only(traces).attributes["costguard.refused"] is True


def test_a_model_without_a_price_has_no_cost_and_says_so(watched: Watched, ask: Ask, traces: Traces) -> None:
    watched()
    ask(model="nobody-knows-it")
    span = the_only(traces)
    assert span.attributes["costguard.unpriced"] is True
    assert not set(COSTS) & set(span.attributes)


def test_user_ids_are_hashed_by_a_secret_or_left_out(watched: Watched, ask: Ask, traces: Traces) -> None:
    for hook in ({"user_ids": "hashed", "salt": "one"}, {"user_ids": "hashed", "salt": "two" * 50}):
        guard = watched(hook)
        with tagged(user="alice"):
            ask()
            ask()
        guard.close()
    guard = watched({"user_ids": "none"})
    with tagged(user="alice"):
        ask()
    first, again, other, _, none = [span.attributes.get("user.id") for span in traces.finished()]
    assert first == again != other
    assert "alice" not in (first, other)
    assert none is None


def test_openinference_names_come_by_option(watched: Watched, ask: Ask, traces: Traces) -> None:
    watched({"openinference": True})
    ask()
    assert the_only(traces).attributes.items() >= {
        "openinference.span.kind": "LLM", "llm.model_name": MODEL, "llm.token_count.prompt": INPUT,
        "llm.token_count.completion": OUTPUT, "llm.token_count.total": INPUT + OUTPUT,
    }.items()  # fmt: skip


def test_the_newest_names_come_by_the_conventions_own_switch_and_not_beside_the_older_ones(
    watched: Watched, ask: Ask, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_latest_experimental")
    watched()
    ask()
    attributes = the_only(traces).attributes
    assert attributes["gen_ai.usage.cost.amount"] == COST
    assert attributes["gen_ai.usage.cost.currency"] == "USD"
    assert not {"gen_ai.usage.cost", "llm.cost.total", "gen_ai.usage.cache_creation.input_tokens"} & set(attributes)


@pytest.mark.parametrize("hook", [{"user_ids": "rot13"}, {"user_ids": "hashed"}])
def test_wrong_settings_are_told(hook: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="user_ids"):
        OpenTelemetry(**hook)
