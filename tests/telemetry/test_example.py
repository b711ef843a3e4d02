"""The example app tells a real OTLP receiver and a scraper what its calls cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.provider import Provider
from fastapi.testclient import TestClient

from tests.telemetry.conftest import COST
from tests.telemetry.otlp import Receiver, plain


def test_what_it_costs_is_in_both(provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import prometheus_client
    from prometheus_client import CollectorRegistry

    monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
    monkeypatch.setenv("COSTGUARD_STORE", f"sqlite:///{tmp_path}/costs.db")
    from examples.telemetry_app import create_app

    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with TestClient(create_app()) as client:
            headers = {
                "authorization": "Bearer session-of-alice",
                # From outside: a browser's baggage is not believed.
                "baggage": "costguard.user=mallory,costguard.team=red",
            }
            assert client.post("/ask", json={"text": "hi"}, headers=headers).status_code == 200
            scraped = client.get("/metrics/").text
    (span,) = receiver.spans
    told = plain(span.attributes)
    assert told["gen_ai.usage.cost"] == COST
    assert told["costguard.feature"] == "ask"
    assert told["user.id"] not in ("alice", "mallory")
    (cost,) = receiver.points["costguard.cost"]
    assert cost.as_double == pytest.approx(COST)
    assert 'costguard_payer_cost_usd_total{payer="alice",tag="user"}' in scraped
