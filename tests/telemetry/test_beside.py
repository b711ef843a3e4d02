"""Spans beside other instrumentors: the tests themselves are in tests/interop/spans_beside_instrumentors.py."""

from __future__ import annotations

import pytest

from tests.interop.environment import run_in


@pytest.mark.long
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("tool", ["openinference", "logfire"])
def test_a_call_has_one_cost_in_its_trace(tool: str, order: str) -> None:
    run_in("instrumentors", "spans_beside_instrumentors.py", COSTGUARD_BESIDE=f"{tool} {order}")
