"""The stores that the conformance suite runs over. Another store is one more parameter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from tests.ledger.stores import new_url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    url = "memory://" if request.param == "memory" else new_url(request.param, tmp_path)
    ledger = open_ledger(url)
    yield ledger
    ledger.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An SQLite ledger that does not exist yet."""
    return new_url("sqlite", tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger that several processes can use, and that is empty."""
    return new_url(request.param, tmp_path)
