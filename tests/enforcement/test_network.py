"""Hosts with clocks that differ, each in a network namespace of its own (where there can be none: processes)."""

from __future__ import annotations

import pytest

from tests.enforcement import proof_network
from tests.enforcement.proof_namespaces import lacking
from tests.enforcement.proof_runs import DOLLAR

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("store", "holds"), [("postgres", "strict"), ("leases", "learned")])
def test_two_hosts_with_clocks_apart_spend_a_dollar_of_one_store_and_no_more(store: str, holds: str) -> None:
    (row,) = proof_network.results(store, 40, [holds])
    assert row.kept, row
    assert row.answered + row.refused == row.calls == 40
    assert row.spent >= 0.9 * DOLLAR
    assert (row.scenario == proof_network.NAME) == (not lacking())
