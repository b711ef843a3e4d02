"""Logfire: spans with request and response, and the cost by genai-prices; not sent."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.watched import Watched, null_exporter

PACKAGES = ("logfire", "openai", "opentelemetry-sdk")


def watch(client: Any) -> Watched:
    import logfire
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    processor = BatchSpanProcessor(null_exporter())
    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[processor])
    logfire.instrument_openai(client)
    return Watched(client.chat.completions.create, logfire.force_flush)
