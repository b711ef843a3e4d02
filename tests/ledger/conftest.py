"""The stores that the conformance suite runs over. Another store is one more parameter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger({"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/costs.db"}[request.param])
    yield ledger
    ledger.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An SQLite ledger that does not exist yet."""
    return f"sqlite:///{tmp_path}/costs.db"
