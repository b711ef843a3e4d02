"""Stores that go away under load and come back: what was paid in between is in the books. See `proof_faults`."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import OpenAI

from costguard import Guard, StoreUnavailable
from tests.enforcement.proof_faults import disk_full, flushed, impatient, server_stopped, table_locked, under_load
from tests.enforcement.proof_kills import Result
from tests.enforcement.proof_provider import PaidProvider
from tests.enforcement.proof_stores import place
from tests.enforcement.proof_victims import call
from tests.ledger.postgres import server

pytestmark = pytest.mark.long


@pytest.mark.parametrize("store", ["postgres", "valkey", "leases"])
def test_a_server_stopped_and_started_under_load_costs_no_answer_and_no_entry(store: str, tmp_path: Path) -> None:
    result, load = under_load(place(store, tmp_path), "", tmp_path, server_stopped())
    assert result.kept, result
    assert load.failed == []
    assert result.read == result.sold == result.asked == result.exact


def test_a_valkey_that_forgets_everything_under_load_costs_no_answer_and_no_entry(tmp_path: Path) -> None:
    result, load = under_load(place("valkey", tmp_path), "", tmp_path, flushed(3))
    assert result.kept, result
    assert load.failed == []
    assert result.read == result.sold == result.asked == result.exact


def test_a_pool_that_is_exhausted_costs_no_answer_and_no_entry(tmp_path: Path) -> None:
    where = impatient(place("postgres", tmp_path))
    result, load = under_load(where, "", tmp_path, table_locked(where))
    assert result.kept, result
    assert load.failed == []
    assert result.read == result.sold == result.asked == result.exact


def test_a_disk_that_is_full_for_a_while_costs_no_answer_and_no_entry(tmp_path: Path) -> None:
    found = disk_full(tmp_path)
    result = Result(**found["result"])
    assert found["disk"], "the disk was never full"
    assert found["told"], "nobody was told"
    assert result.kept, result
    assert result.read == result.sold == result.exact


def test_with_refuse_the_provider_is_not_asked_while_the_store_is_away(tmp_path: Path) -> None:
    where = place("postgres", tmp_path)
    acknowledged = tmp_path / "acknowledged"
    with PaidProvider() as provider, Guard(where.ledger(), budgets=["$1/ever"], on_store_failure="refuse") as guard:
        guard.instrument()
        client = OpenAI(base_url=provider.url, api_key="none", max_retries=0)
        call(client, "w0-before", 10, acknowledged)
        server().stop()
        try:
            for number in range(5):
                with pytest.raises(StoreUnavailable) as refused:
                    call(client, f"w0-{number}", 10, acknowledged)
                assert refused.value.retry_after > 0
        finally:
            server().start()
        call(client, "w0-after", 10, acknowledged)
        assert set(provider.asked) == {"w0-before", "w0-after"}
        assert len(guard.entries()) == 2
