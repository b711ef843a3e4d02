"""OpenLLMetry (Traceloop): spans with all messages, and metrics; no cost."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.watched import Watched, meter_provider, tracer_provider

PACKAGES = ("opentelemetry-instrumentation-openai", "openai", "opentelemetry-sdk")


def watch(client: Any) -> Watched:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    provider = tracer_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider, meter_provider=meter_provider())
    return Watched(client.chat.completions.create, provider.force_flush)
