"""Other instrumentors on the same SDKs: both see every call, whoever came first.

The tests themselves are in beside_instrumentors.py; each tool and order has a process of its own.
"""

from __future__ import annotations

import pytest

from tests.interop.environment import run_in

pytestmark = [pytest.mark.long, pytest.mark.timeout(330)]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("tool", ["openinference", "logfire", "sentry"])
def test_another_instrumentor_and_costguard_do_not_hurt_each_other(tool: str, order: str) -> None:
    run_in("instrumentors", "beside_instrumentors.py", COSTGUARD_BESIDE=f"{tool} {order}")


def test_instrumentors_come_and_go_in_any_order() -> None:
    run_in("instrumentors", "instrumentors_come_and_go.py")
