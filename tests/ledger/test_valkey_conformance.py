"""The suites of every store, over balances in Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.ledger.base import Ledger
from tests.ledger.stores import new_url
from tests.ledger.test_concurrency import (  # noqa: F401
    test_fifty_threads_spend_exactly_the_budget,
    test_fifty_threads_that_settle_the_same_call_record_it_once,
)
from tests.ledger.test_conformance import *  # noqa: F403
from tests.ledger.test_conformance_leased import *  # noqa: F403
from tests.ledger.valkey import opened, server

pytestmark = pytest.mark.long


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = opened(new_url("sqlite", tmp_path), server().url())
    yield ledger
    ledger.close()
