"""OpenInference (Phoenix, Arize): spans with all messages; no cost."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.watched import Watched, tracer_provider

PACKAGES = ("openinference-instrumentation-openai", "openai", "opentelemetry-sdk")


def watch(client: Any) -> Watched:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    provider = tracer_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return Watched(client.chat.completions.create, provider.force_flush)
