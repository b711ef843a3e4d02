"""Refused calls are counted for every guard, by budget and payer, and off the request path."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard import BudgetExceeded, Guard
from costguard.budgets import Budget, Standing
from costguard.call import Call
from costguard.events import Outcome, Refused
from costguard.ledger.alert_state import BUCKET_NS, Count, alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.refusal_counts import KEPT_NS, MOST, RefusalCounts
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.alerts.crossings import NOON, Clock
from tests.alerts.pressing import together
from tests.ledger.stores import new_url

USAGE = Usage(input_tokens=1000, output_tokens=1000)


def spend(guard: Guard, **tags: str) -> None:
    call = Call("openai", "gpt-4o", tags=Tags(tags))
    guard.reserve(call)
    guard.settle(call, Outcome("ok", USAGE, reported=10**9))


def refused(guard: Guard, count: int, **tags: str) -> None:
    """So many refused calls, after those that the budget allows."""
    while count:
        try:
            spend(guard, **tags)
        except BudgetExceeded:
            count -= 1


def counted(ledger: Ledger) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for one in alert_state(ledger).counts("refused", 0, 2**62):
        payer = ",".join(f"{name}={value}" for name, value in one.about["payer"].items())
        found[one.about["budget"], payer] += one.count
    return found


@pytest.mark.parametrize("engine", ["direct", "leases"])
def test_a_guard_without_channels_and_rules_counts_its_refusals(url: str, engine: Any) -> None:
    with Guard(url, ["$1/day per user,feature", "$50/day"], engine=engine) as guard:
        refused(guard, 3, user="alice", feature="chat")
        refused(guard, 2, user="a,b=c", feature="chat")
        refused(guard, 1, feature="chat")
    ledger = open_ledger(url)
    assert counted(ledger) == {
        ("$1.00/day per user,feature", "feature=chat,user=alice"): 3,
        ("$1.00/day per user,feature", "feature=chat,user=a,b=c"): 2,
        ("$1.00/day per user,feature", "feature=chat,user=unattributed"): 1,
    }
    ledger.close()


@pytest.mark.parametrize("engine", ["direct", "leases"])
def test_payers_with_values_as_long_as_they_can_be_are_held_to_their_budget_and_counted_apart(
    engine: Any, tmp_path: Path
) -> None:
    url = new_url("postgres", tmp_path)  # its indexes take 2,704 bytes
    names = ("user", "feature", "team", "plan", "region")
    dice = random.Random(5)

    def somebody() -> dict[str, str]:
        # Four bytes each, and nothing that a database could compress.
        return {name: "".join(chr(dice.randrange(0x10000, 0x1F000)) for _ in range(200)) for name in names}

    alice, bob = somebody(), somebody()
    with Guard(url, [f"$2/day per {','.join(names)}"], engine=engine) as guard:
        refused(guard, 3, **alice)
        refused(guard, 2, **bob)
        assert [standing.spent for standing in guard.standings(**alice)] == [2]
        assert [standing.spent for standing in guard.standings(**bob)] == [2]
    ledger = open_ledger(url)
    assert sorted(counted(ledger).values()) == [2, 3]
    assert ledger.spent({}) == 4 * 10**9
    assert ledger.undelivered() == 6
    ledger.close()


def test_they_are_in_the_store_within_seconds_though_nobody_closes_the_guard() -> None:
    guard = Guard("memory://", ["$1/day per user"])
    refused(guard, 2, user="alice")
    deadline = time.monotonic() + 20
    while not counted(guard.ledger) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert counted(guard.ledger) == {("$1.00/day per user", "user=alice"): 2}
    guard.close()


def test_what_is_only_observed_is_no_refusal() -> None:
    with Guard("memory://", ["$1/day per user"], observe=True) as guard:
        for _ in range(4):
            spend(guard, user="alice")
        guard.flush()
        assert counted(guard.ledger) == {}


def test_a_store_that_is_away_loses_none_and_many_threads_count_right(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def rename(*names: str) -> None:
        with sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20) as database:
            database.execute("ALTER TABLE {} RENAME TO {}".format(*names))
        database.close()

    guard = Guard(url, ["$1/day per user"], engine="direct")
    rename("costguard_alert_counts", "away")
    together(6, lambda: refused(guard, 20, user="alice"))
    assert not guard._refusals.write()
    assert "refusals are not counted" in caplog.text
    rename("away", "costguard_alert_counts")
    guard.close()
    ledger = open_ledger(url)
    assert counted(ledger) == {("$1.00/day per user", "user=alice"): 120}
    ledger.close()


def test_payers_without_end_are_counted_together(clock: Clock) -> None:
    ledger = MemoryLedger()
    counts = RefusalCounts(ledger, now_ns=clock, every=3600)
    standing = Standing(Budget.parse("$1/day per user"), "", Decimal(1), Decimal(1), Decimal(0), None)
    for number in range(MOST + 5):
        counts.add(Refused(Call("openai", "gpt-4o", tags=Tags(user=f"user{number}")), standing, False, Decimal(1)))
    assert counts.write()
    found = counted(ledger)
    assert len(found) == MOST + 1
    assert found["$1.00/day per user", "user=others"] == 5


def test_old_counts_are_forgotten(clock: Clock) -> None:
    ledger = MemoryLedger()
    old = (NOON - KEPT_NS) // BUCKET_NS * BUCKET_NS - BUCKET_NS
    alert_state(ledger).count([Count("refused", old, "{}", 5), Count("refused", old + 2 * BUCKET_NS, "{}", 1)])
    with Guard(ledger, ["$1/day per user"]) as guard:
        guard._refusals = RefusalCounts(ledger, now_ns=clock)
        refused(guard, 1, user="alice")
        guard.flush()
    assert [one.count for one in alert_state(ledger).counts("refused", 0, 2**62)] == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_worker_counts_its_own(url: str) -> None:
    guard = Guard(url, ["$1/day per user"], engine="direct")
    refused(guard, 3, user="alice")
    child = os.fork()
    if not child:
        status = 1
        try:
            refused(guard, 2, user="alice")
            guard.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    guard.close()
    ledger = open_ledger(url)
    assert counted(ledger) == {("$1.00/day per user", "user=alice"): 5}
    ledger.close()
