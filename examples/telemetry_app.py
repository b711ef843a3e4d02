"""One app, its costs in OpenTelemetry and in Prometheus, and tags that travel between two services.

    uvicorn --factory examples.telemetry_app:create_app --port 8000
    curl localhost:8000/ask -H 'Authorization: Bearer session-of-alice' --json '{"text": "hi"}'
    curl localhost:8000/metrics/

It needs llm-costguard[fastapi,openai,otel,prometheus], opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http.
Spans and metrics go to OTEL_EXPORTER_OTLP_ENDPOINT where that is set, such as http://localhost:6006 of Phoenix or a
collector's http://localhost:4318; else spans are printed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from openai import AsyncOpenAI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from pydantic import BaseModel

from costguard import Guard
from costguard.telemetry.otel import OpenTelemetry
from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.scrape import metrics_app
from costguard.web.fastapi import install
from examples.shared import OPENAI_MODEL, signed_in_user

# Those whose W3C baggage is believed: another service of ours, never a browser.
PEERS = ["10.0.0.0/8"]


class Ask(BaseModel):
    text: str


def create_app() -> FastAPI:
    tracers, meters = set_up_opentelemetry()
    prometheus = Prometheus()
    opentelemetry = OpenTelemetry(
        tracer_provider=tracers,
        meter_provider=meters,
        user_ids="hashed",
        salt=os.environ.get("USER_ID_SALT", "change this"),
        openinference=True,
    )
    guard = Guard(
        os.environ.get("COSTGUARD_STORE", "sqlite:///costs.db"),
        budgets=["$5/day per user", "$500/month"],
        hooks=[opentelemetry, prometheus],
    )
    guard.instrument()
    openai = AsyncOpenAI()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        guard.close()
        tracers.shutdown()
        meters.shutdown()

    app = FastAPI(title="Costs in telemetry", lifespan=lifespan)
    install(app, guard, user=signed_in_user, environment="production", baggage=PEERS)
    # It tells what everybody costs: let nobody but Prometheus come to it.
    app.mount("/metrics", metrics_app(prometheus))

    @app.post("/ask")
    @guard.feature("ask")
    async def ask(asked: Ask) -> dict[str, str]:
        answer = await openai.chat.completions.create(
            model=OPENAI_MODEL, messages=[{"role": "user", "content": asked.text}], max_completion_tokens=400
        )
        return {"text": answer.choices[0].message.content or ""}

    return app


def set_up_opentelemetry() -> tuple[TracerProvider, MeterProvider]:
    """As an app does that has OpenTelemetry already; costguard needs no more of it than these two."""
    resource = Resource.create({"service.name": "notes", "openinference.project.name": "notes"})
    tracers = TracerProvider(resource=resource)
    exporter: SpanExporter = ConsoleSpanExporter()
    meters = MeterProvider(resource=resource)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        exporter = OTLPSpanExporter()
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        meters = MeterProvider(resource=resource, metric_readers=[reader])
    tracers.add_span_processor(BatchSpanProcessor(exporter))
    return tracers, meters
