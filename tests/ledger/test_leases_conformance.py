"""The suites of every store, over leases: a worker alone with its store must not notice them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.ledger.base import Ledger
from costguard.ledger.leases import LeaseLedger
from costguard.ledger.opening import open_ledger
from tests.ledger.stores import new_url
from tests.ledger.test_concurrency import (  # noqa: F401
    test_fifty_threads_spend_exactly_the_budget,
    test_fifty_threads_that_settle_the_same_call_record_it_once,
)
from tests.ledger.test_conformance import *  # noqa: F403
from tests.ledger.values import NOW

pytestmark = pytest.mark.long


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    inner = open_ledger("memory://" if request.param == "memory" else new_url(request.param, tmp_path))
    ledger = LeaseLedger(inner, clock=lambda: NOW)
    yield ledger
    ledger.close()
