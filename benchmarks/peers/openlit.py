"""OpenLIT: spans, metrics and the cost of each call, from a price file on disk."""

from __future__ import annotations

import json
import tempfile
from typing import Any

from benchmarks.peers.watched import Watched, meter_provider, tracer_provider

PACKAGES = ("openlit", "openai", "opentelemetry-sdk")


def watch(client: Any) -> Watched:
    import openlit
    from opentelemetry import metrics, trace

    provider = tracer_provider()
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(meter_provider())
    price = {"promptPrice": 0.00015, "completionPrice": 0.0006}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as prices:
        json.dump({"chat": {"gpt-4o-mini": price, "gpt-4o-mini-2024-07-18": price}}, prices)
        prices.flush()
        # By default it fetches the list of prices from the network while the app starts.
        openlit.init(pricing_json=prices.name, disable_events=True, otlp_endpoint="http://127.0.0.1:9")
    return Watched(client.chat.completions.create, provider.force_flush)
