from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the schema: to make one takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "costs.db"
    open_ledger(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, empty: Path) -> Iterator[Ledger]:
    """An empty ledger of each kind that needs no server."""
    if request.param == "sqlite":
        shutil.copy(empty, tmp_path / "costs.db")
    opened = open_ledger("memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/costs.db")
    yield opened
    opened.close()
