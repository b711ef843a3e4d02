"""Usage read off real recorded exchanges equals their ground truth, field by field, whatever the network does."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.providers import exchanges
from tests.providers.drivers import drivers, name_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not exchanges.FOLDER.exists(), reason=f"the recorded exchanges are not there: {exchanges.FOLDER}"
    ),
]

of_each_sdk = pytest.mark.parametrize("driver", drivers(), ids=name_of)


def differing(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("differing")]


def one_of_each(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record of each provider, API and manner of answering."""
    seen = set()
    for record in records:
        key = (record["provider"], record["api"], record["stream"], record["status"] < 400)
        if key not in seen:
            seen.add(key)
            yield record


@of_each_sdk
async def test_every_exchange_equals_its_ground_truth(driver: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rows, lines = await exchanges.table([driver])
    with capsys.disabled():
        print(f"\n{exchanges.show(rows)}")
    assert differing(lines) == []
    assert sum(row[3] for row in rows) > 0


@of_each_sdk
async def test_bodies_cut_into_ragged_pieces_are_read_alike(driver: ModuleType) -> None:
    streams = [record for record in exchanges.records() if record["stream"] and record["status"] < 400]
    _, lines = await exchanges.table([driver], options="~ragged", among=streams)
    assert differing(lines) == []


@of_each_sdk
async def test_bodies_that_break_off_are_estimated_and_never_free(driver: ModuleType) -> None:
    streams = [record for record in exchanges.records() if record["stream"] and record["status"] < 400]
    _, lines = await exchanges.table([driver], options="~cut3", among=streams)
    assert differing(lines) == []


@of_each_sdk
async def test_what_the_sdk_tries_again_is_one_call_of_three_attempts(driver: ModuleType) -> None:
    answered = [record for record in exchanges.records() if record["status"] < 400]
    _, lines = await exchanges.table([driver], options="~fail429x2", among=list(one_of_each(answered)))
    assert differing(lines) == []
