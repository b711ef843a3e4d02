from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from costguard.alerts.alert import Alert
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from tests.alerts.alerts import alert
from tests.alerts.crossings import Clock
from tests.alerts.server import SlackServer


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with SlackServer() as running:
        yield running


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'costs.db'}"


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    opened = open_ledger("memory://" if request.param == "memory" else request.getfixturevalue("url"))
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_alert() -> Callable[..., Alert]:
    return alert
