"""Closing a guard keeps to its time, can be done in a signal handler, and is not for ever."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from costguard import Guard, StoreUnavailable, Usage, tagged
from costguard.alerts.alert import Alert
from costguard.call import Call
from costguard.events import Outcome
from tests.ledger.postgres import server
from tests.ledger.proxy import Proxy

DEADLINE = 60.0


def spend(guard: Guard, user: str = "alice") -> None:
    """Ten cents: 10,000 tokens at $10 a million."""
    with tagged(user=user):
        call = Call("openai", "gpt-4o", max_output_tokens=10_000)
        guard.reserve(call)
        guard.settle(call, Outcome("ok", Usage(output_tokens=10_000)))


class Told:
    """A channel that remembers what it was told."""

    def __init__(self) -> None:
        self._titles: list[str] = []
        self._more = threading.Condition()

    def __call__(self, alert: Alert) -> None:
        with self._more:
            self._titles.append(alert.title)
            self._more.notify_all()

    def hears(self, *titles: str) -> bool:
        """These, one after the other."""
        with self._more:
            self._more.wait_for(lambda: len(self._titles) >= len(titles), DEADLINE)
            return self._titles == list(titles)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(server().data / ".s.PGSQL.5432")
    yield proxy
    proxy.gate.set()
    proxy.close()


def test_a_store_that_does_not_answer_is_not_waited_for_longer_than_was_said(proxy: Proxy, tmp_path: Path) -> None:
    name = server().database().partition("@/")[2].partition("?")[0]
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable"
    guard = Guard(url, budgets=["$5/day per user"], journal=tmp_path)
    spend(guard)
    guard.flush(DEADLINE)
    # It answers when this test is over, and no call to it ends before.
    proxy.gate.clear()
    guard.settle(Call("openai", "gpt-4o"), Outcome("ok", Usage(output_tokens=1)))
    with pytest.raises(StoreUnavailable, match=r"not closed within 0\.5 s"):
        guard.close(timeout=0.5)


def test_an_entry_that_waits_for_a_store_that_is_down_is_said_and_kept(tmp_path: Path) -> None:
    url = server().database()
    journal = tmp_path / "journal"
    guard = Guard(url, budgets=["$5/day per user"], engine="direct", journal=journal)
    spend(guard)
    server().stop()
    try:
        spend(guard)
        with pytest.raises(StoreUnavailable, match=r"entries are not in the ledger .* wait in the journal"):
            guard.close(timeout=0.5)
    finally:
        server().start()
    with Guard(url, budgets=["$5/day per user"], engine="direct", journal=journal) as following:
        assert [entry.status for entry in following.entries(user="alice")] == ["ok", "ok"]


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/costs.db"])
def test_a_guard_that_is_used_after_it_was_closed_works_again(store: str, tmp_path: Path) -> None:
    told = Told()
    guard = Guard(store.format(tmp_path), budgets=["$0.20/day per user alerts at 50%"], alerts=[told])
    spend(guard, "alice")
    guard.flush(DEADLINE)
    guard.close()
    guard.close()
    spend(guard, "bob")
    guard.flush(DEADLINE)
    rule = "$0.20/day per user"
    assert told.hears(f"alice has reached 50 % of {rule}", f"bob has reached 50 % of {rule}")
    assert len(guard.entries()) == 2
    guard.close()


def test_a_guard_that_is_used_after_it_was_closed_sees_changed_budgets_again(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[[budget]]\nlimit = "5"\nwindow = "day"\n')
    guard = Guard(f"sqlite:///{tmp_path}/costs.db", budget_file=file)
    guard.close()
    spend(guard)
    file.write_text('[[budget]]\nlimit = "0.05"\nwindow = "day"\n')

    until = time.monotonic() + DEADLINE
    while [standing.limit for standing in guard.standings()] != [Decimal("0.05")]:
        assert time.monotonic() < until, "the file was not read again"
        time.sleep(0.05)
    guard.close()


HANDLER = """
import os, signal, sys, threading
from costguard import Guard, Usage
from costguard.call import Call
from costguard.errors import StoreUnavailable
from costguard.events import Outcome

guard = Guard(sys.argv[1], budgets=["$100/day"], engine=sys.argv[2])
told = []

def end(*_):
    try:
        guard.close(timeout=0.5)
    except StoreUnavailable as error:
        told.append(error)
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
made = 0
while True:
    if made == 200:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()
    call = Call("openai", "gpt-4o", "chat", 1000, 100)
    guard.reserve(call)
    guard.settle(call, Outcome("ok", Usage(input_tokens=1000, output_tokens=100)))
    made += 1
    print(made, flush=True)
"""


@pytest.mark.parametrize("engine", ["leases", "direct"])
def test_a_signal_handler_in_the_middle_of_a_call_may_close_the_guard(engine: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HANDLER), url, engine],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = int(done.stdout.split()[-1])
    with Guard(url, budgets=["$100/day"]) as guard:
        # The call that was interrupted may have been settled, and not been counted here.
        assert len([entry for entry in guard.entries(limit=10**6) if entry.status == "ok"]) - made in (0, 1)
