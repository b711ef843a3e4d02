"""Usage read off real recorded exchanges equals their ground truth, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers import exchanges

pytestmark = pytest.mark.skipif(
    not exchanges.FOLDER.exists(), reason=f"the recorded exchanges are not there: {exchanges.FOLDER}"
)


async def test_every_exchange_equals_its_ground_truth(capsys: pytest.CaptureFixture[str]) -> None:
    rows, lines = await exchanges.table()
    with capsys.disabled():
        print(f"\n{exchanges.show(rows)}")
    assert [line for line in lines if line.startswith("differing")] == []
    assert sum(row[2] for row in rows) > 500


def streams() -> list[dict[str, Any]]:
    return [record for record in exchanges.records() if record["stream"] and record["status"] < 400]


async def test_streams_cut_into_ragged_pieces_are_read_alike() -> None:
    wrong = []
    clients = exchanges.Clients()
    with exchanges.replay().Replay(exchanges.FOLDER / "dev.jsonl") as server:
        for number, record in enumerate(streams()):
            if record["ground_truth"].get("ambiguous"):
                continue
            # Every other one async: the bytes take the same way in both.
            told = await exchanges.run(clients, server, record, exchanges.KINDS[number % 2], "~ragged")
            wrong += [f"{record['id']}: {line}" for line in exchanges.differences(record, told)]
    await clients.close()
    assert wrong == []


async def test_streams_that_die_are_estimated_and_never_free() -> None:
    wrong = []
    clients = exchanges.Clients()
    with exchanges.replay().Replay(exchanges.FOLDER / "dev.jsonl") as server:
        for number, record in enumerate(streams()):
            if record["ground_truth"]["billable"] is not True or record["ground_truth"].get("ambiguous"):
                continue
            told = await exchanges.run(clients, server, record, exchanges.KINDS[number % 2], "~cut3")
            outcomes = [outcome for _, outcome in told.settled]
            done = [o for o in outcomes if o.billable and (o.usage is None or o.usage.buckets)]
            if len(done) != 1 or len(outcomes) != 1:
                wrong.append(f"{record['id']} {record['api']}: {[(o.status, o.usage, o.billable) for o in outcomes]}")
            elif done[0].status != "ok" and not done[0].estimated and exchanges.differences(record, told):
                wrong.append(f"{record['id']} {record['api']}: {done[0].status}, not estimated")
    await clients.close()
    assert wrong == []
