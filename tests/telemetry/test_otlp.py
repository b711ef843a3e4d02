"""What a backend receives: OpenTelemetry's own exporters to a real OTLP receiver over HTTP."""

from __future__ import annotations

import openai
import pytest
from examples.provider import Provider
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from costguard import BudgetExceeded, Guard, tagged
from costguard.call import Call
from costguard.events import Outcome
from costguard.pricing.usage import Usage
from costguard.telemetry.otel import OpenTelemetry
from tests.telemetry.conftest import COST, INPUT, MODEL, OUTPUT
from tests.telemetry.otlp import Receiver, plain


def test_spans_and_metrics_arrive_whole(provider: Provider) -> None:
    with Receiver() as receiver:
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{receiver.url}/v1/metrics"), 60_000)
        meters = MeterProvider(metric_readers=[reader])
        telemetry = OpenTelemetry(tracer_provider=tracers, meter_provider=meters)
        with Guard("memory://", budgets=["$0.6/day", "$0.5/day per user"], holds="strict", hooks=[telemetry]) as guard:
            guard.instrument()
            with openai.OpenAI(max_retries=0) as client, tagged(user="alice", feature="chat"):
                ask = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": OUTPUT}
                client.chat.completions.create(**ask)
                list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
                with pytest.raises(BudgetExceeded):
                    client.chat.completions.create(**{**ask, "max_tokens": 60_000})
            assert tracers.force_flush(10_000)
            assert meters.force_flush(10_000)
        tracers.shutdown()
        meters.shutdown()
    assert [span.name for span in receiver.spans] == [f"chat {MODEL}"] * 2
    for span in receiver.spans:
        assert plain(span.attributes).items() >= {
            "gen_ai.usage.cost": COST, "operation.cost": COST, "llm.cost.total": COST, "user.id": "alice",
            "gen_ai.usage.input_tokens": INPUT, "gen_ai.usage.output_tokens": OUTPUT,
        }.items()  # fmt: skip
    points = receiver.points
    (cost,) = points["costguard.cost"]
    assert cost.as_double == pytest.approx(2 * COST)
    where = plain(cost.attributes)
    assert where == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL, "costguard.feature": "chat",
    }  # fmt: skip
    tokens = {plain(point.attributes)["gen_ai.token.type"]: point for point in points["gen_ai.client.token.usage"]}
    assert {kind: (point.count, point.sum) for kind, point in tokens.items()} == {
        "input": (2, 2 * INPUT),
        "output": (2, 2 * OUTPUT),
    }
    assert list(tokens["input"].explicit_bounds)[:3] == [1, 4, 16]
    (duration,) = points["gen_ai.client.operation.duration"]
    assert (duration.count, list(duration.explicit_bounds)[:2]) == (2, [0.01, 0.02])
    (call_cost,) = points["costguard.call.cost"]
    assert (call_cost.count, 0.01 in call_cost.explicit_bounds) == (2, True)
    (refused,) = points["costguard.refusals"]
    assert refused.as_int == 1
    assert [point.as_int for point in points["costguard.calls.running"]] == [0]
    assert {"costguard.journal.entries", "costguard.journal.size", "costguard.alerts.undelivered"} <= set(points)
    (used,) = points["costguard.budget.used"]
    assert used.as_double == pytest.approx(2 * COST / 0.6)


def test_names_that_no_exporter_can_send_spoil_no_batch() -> None:
    """A client may have made up the model, and what a provider answers is JSON, which can say any half of a letter."""
    with Receiver() as receiver:
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{receiver.url}/v1/metrics"), 60_000)
        meters = MeterProvider(metric_readers=[reader])
        with Guard("memory://", hooks=[OpenTelemetry(tracer_provider=tracers, meter_provider=meters)]) as guard:
            for model in (MODEL, "\ud800"):
                call = Call("openai", model)
                guard.reserve(call)
                guard.settle(call, Outcome("ok", Usage.of({"input": INPUT}), response_id="\udfff"))
            assert tracers.force_flush(10_000)
            assert meters.force_flush(10_000)
        tracers.shutdown()
        meters.shutdown()
    assert [span.name for span in receiver.spans] == [f"chat {MODEL}", "chat ?"]
    assert [plain(span.attributes)["gen_ai.response.id"] for span in receiver.spans] == ["?", "?"]
    models = {plain(point.attributes)["gen_ai.request.model"] for point in receiver.points["gen_ai.client.token.usage"]}
    assert models == {MODEL, "?"}


def test_a_dead_endpoint_keeps_no_call_waiting(provider: Provider) -> None:
    """The exporters send from threads of their own; what cannot be sent is theirs to drop."""
    tracers = TracerProvider()
    # Port 9 of this machine answers nobody.
    exporter = OTLPSpanExporter("http://127.0.0.1:9/v1/traces", timeout=1)
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    with Guard("memory://", hooks=[OpenTelemetry(tracer_provider=tracers, metrics=False)]) as guard:
        guard.instrument()
        with openai.OpenAI() as client:
            for _ in range(5):
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        assert len(guard.entries()) == 5
    exporter.shutdown()
    tracers.shutdown()


def test_an_endpoint_that_takes_everything_and_answers_nobody_keeps_no_call_waiting(provider: Provider) -> None:
    with Receiver() as receiver:
        receiver.answers.clear()
        tracers = TracerProvider()
        exporter = OTLPSpanExporter(f"{receiver.url}/v1/traces", timeout=30)
        tracers.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{receiver.url}/v1/metrics"), 10)
        meters = MeterProvider(metric_readers=[reader])
        telemetry = OpenTelemetry(tracer_provider=tracers, meter_provider=meters)
        with Guard("memory://", hooks=[telemetry]) as guard:
            guard.instrument()
            with openai.OpenAI() as client:

                def ask() -> None:
                    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])

                ask()
                assert receiver.asked.wait(10)
                for _ in range(20):
                    ask()
            assert len(guard.entries()) == 21
            assert receiver.answered == 0, "all calls ended before the endpoint said anything"
        receiver.answers.set()
        tracers.shutdown()
        meters.shutdown()
    assert len(receiver.spans) == 21
