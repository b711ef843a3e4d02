"""What a peer gives back once it is in place, and OpenTelemetry providers that throw everything away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.worker import nothing


class Watched:
    """method: makes one call that the peer sees. finish: waits for the peer's background work."""

    def __init__(self, method: Callable[..., Any], finish: Callable[[], object] = nothing) -> None:
        self.method = method
        self.finish = finish


def null_exporter() -> Any:
    """A span exporter that keeps nothing."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Null(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    return Null()


def tracer_provider() -> Any:
    """Spans in batches, as in production, to an exporter that keeps nothing."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(null_exporter()))
    return provider


def meter_provider() -> Any:
    """Metrics that are added up and never sent."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return MeterProvider([InMemoryMetricReader()])
