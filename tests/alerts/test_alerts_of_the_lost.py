"""Marks that are passed by what nobody settled: the hold of a dead process, charged by whoever looks next."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from costguard import Guard
from costguard.alerts.alert import Alert
from costguard.budgets import Budget
from costguard.events import Hold
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.tags import NO_TAGS
from tests.ledger.stores import new_url
from tests.ledger.values import SECOND, hold

RULE = "$1/day alerts at 80%"


def hold_of_the_dead(ledger: Ledger) -> Hold:
    """Ninety cents of the dollar, that nobody will settle."""
    now = time.time_ns()
    limit = Budget.parse(RULE).limit_for(NO_TAGS, now)
    one = hold(limit, cents=90, seconds=0, at_ns=now - 10 * SECOND)
    assert ledger.reserve(one, now - 10 * SECOND) is None
    return one


@pytest.mark.parametrize("store", ["memory", "sqlite", "postgres"])
def test_people_are_told_at_once_of_a_mark_that_the_charge_of_a_hold_has_passed(store: str, tmp_path: Path) -> None:
    heard = threading.Event()
    told: list[str] = []

    def channel(alert: Alert) -> None:
        told.append(alert.title)
        heard.set()

    ledger = open_ledger("memory://" if store == "memory" else new_url(store, tmp_path))
    with Guard(ledger, budgets=[RULE], alerts=[channel], wait=0) as guard:
        assert guard.ledger.undelivered() == 0
        hold_of_the_dead(ledger)
        ledger.expire(time.time_ns())
        # Nobody makes a call, and nothing else would wake who tells them.
        assert heard.wait(30)
        assert told == ["everyone has reached 80 % of $1.00/day"]
    ledger.close()
