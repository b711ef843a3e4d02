"""A provider that answers with the same usage every time, and what OpenTelemetry's SDK keeps in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from examples.provider import Provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from costguard import Guard
from costguard.telemetry.otel import OpenTelemetry

MODEL = "gpt-4o"
INPUT, OUTPUT, COST = 12_000, 8_000, 0.11
"""12,000 x $2.50 + 8,000 x $10, per million."""


def a_tenth(_body: dict[str, Any]) -> tuple[int, int, str]:
    return INPUT, OUTPUT, "An answer."


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with Provider(reply=a_tenth) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "local")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
        yield provider


@pytest.fixture
def ask(provider: Provider) -> Iterator[Callable[..., Any]]:
    """Makes one chat call; gives the answer, or with stream=True its chunks."""
    with openai.OpenAI(max_retries=0) as client:

        def call(**options: Any) -> Any:
            asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **options}
            answer = client.chat.completions.create(**asked)
            return list(answer) if options.get("stream") else answer

        yield call


class Traces:
    """provider: a TracerProvider; finished(): the spans that ended"""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.tracer = self.provider.get_tracer("somebody.else")

    def finished(self) -> list[Any]:
        return list(self._kept.get_finished_spans())


class Meters:
    """provider: a MeterProvider; points(name): those of one metric"""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self._reader])

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def meters() -> Meters:
    return Meters()


@pytest.fixture
def watched(traces: Traces, meters: Meters) -> Iterator[Callable[..., Guard]]:
    """Makes an instrumented guard in memory that tells `traces` and `meters`: options of the hook, then its own."""
    guards = []

    def make(hook: dict[str, Any] | None = None, **options: Any) -> Guard:
        told = OpenTelemetry(tracer_provider=traces.provider, meter_provider=meters.provider, **(hook or {}))
        guard = Guard("memory://", hooks=[told], **options)
        guards.append(guard)
        guard.instrument()
        return guard

    yield make
    for guard in guards:
        guard.close()
