"""Langfuse: its drop-in `langfuse.openai`; the server computes costs; exported to nowhere."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.watched import Watched, null_exporter

PACKAGES = ("langfuse", "openai", "opentelemetry-sdk")


def watch(client: Any) -> Watched:
    from langfuse import Langfuse

    tracing = Langfuse(
        public_key="pk-bench", secret_key="sk-bench", base_url="http://127.0.0.1:9", span_exporter=null_exporter()
    )
    import langfuse.openai  # noqa: F401 - patches the SDK

    return Watched(client.chat.completions.create, tracing.flush)
