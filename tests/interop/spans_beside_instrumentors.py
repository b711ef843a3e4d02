"""One cost in the trace of each call, beside another instrumentor that came before or after costguard.

Run in its own environment by tests/telemetry/test_beside.py; COSTGUARD_BESIDE names tool and order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from costguard import Guard, tagged
from costguard.telemetry.attributes import COSTS
from costguard.telemetry.otel import OpenTelemetry
from tests.interop.conftest import COSTS as USD
from tests.interop.server import Server
from tests.interop.tools import TOOLS
from tests.interop.ways import WAYS

NAME, ORDER = os.environ["COSTGUARD_BESIDE"].split()


@pytest.fixture(scope="module")
def tool() -> Any:
    return TOOLS[NAME]()


@pytest.fixture(scope="module")
def guard(tool: Any) -> Iterator[Guard]:
    if ORDER == "before":
        tool.install()
    # Logfire makes its own provider the global one.
    telemetry = OpenTelemetry(tracer_provider=getattr(tool, "_tracers", None), metrics=False)
    with Guard("memory://", hooks=[telemetry]) as guard:
        guard.instrument()
        if ORDER == "after":
            tool.install()
        yield guard


@pytest.mark.parametrize("way", WAYS)
def test_a_call_has_one_cost_and_it_is_ours(way: str, guard: Guard, server: Server, tool: Any) -> None:
    with tagged(user="alice"), tool.watching():
        WAYS[way](server)
    spans = list(tool._spans.get_finished_spans())
    (entry,) = guard.entries(limit=1)
    told = {name: [span.attributes[name] for span in spans if name in span.attributes] for name in COSTS}
    # Of each name that a backend may read there is one at most: Logfire tells a stream's `operation.cost` in a log of
    # its own, after its span has ended.
    assert max(map(len, told.values())) == 1, [(span.name, dict(span.attributes)) for span in spans]
    assert {value for values in told.values() for value in values} == {float(USD[entry.model])}
    counted = [span for span in spans if "gen_ai.usage.input_tokens" in span.attributes]
    assert not [span for span in counted if span.instrumentation_scope.name == "costguard"]
    if NAME == "openinference":
        (span,) = counted
        assert span.attributes["user.id"] == "alice"
        assert not [each for each in spans if each.instrumentation_scope.name == "costguard"]
