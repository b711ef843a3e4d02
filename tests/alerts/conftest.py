from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard.alerts.alert import Alert
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
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
    """An alert of alice at 80 % of $5.00/day per user; keywords change its fields."""

    def make(**changes: Any) -> Alert:
        values: dict[str, Any] = {
            "key": '["day","UTC",["user"],{},["alice"],1795305600]@0.8*5000000000',
            "budget": "$5.00/day per user",
            "name": "",
            "payer": {"user": "alice"},
            "fraction": Decimal("0.8"),
            "spent": Decimal("4.02"),
            "limit": Decimal(5),
            "resets_at": datetime(2026, 11, 23, tzinfo=UTC),
            "at": datetime(2026, 11, 22, 12, tzinfo=UTC),
            "top_feature": ("chat", Decimal("3.10")),
            "top_model": ("gpt-4o", Decimal("4.02")),
        }
        return Alert(**{**values, **changes})

    return make
