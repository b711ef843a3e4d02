"""The proof of delivery in its short form: see docs/alert-proof.md."""

from __future__ import annotations

import pytest

from tests.alerts.proof import HEAD, cells, run


@pytest.mark.long
@pytest.mark.parametrize("folds", [False, True], ids=["one each", "many in one"])
def test_with_workers_killed_and_a_slack_that_fails_everything_arrives_and_nothing_twice_without_a_reason(
    folds: bool,
) -> None:
    result = run("sqlite", 120, folds=folds, lease=10.0, kills=3, seed=20261122, workers=3)
    assert result.kept, dict(zip(HEAD, cells(result), strict=True))
    assert result.killed == 3
