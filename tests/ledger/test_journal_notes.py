"""Calls made while the store is away are noted, so that they are in the books if nobody is left to settle them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from costguard import Guard, Usage
from costguard.call import Call
from costguard.errors import StoreUnavailable
from costguard.events import Outcome
from costguard.ledger.audit import audit
from tests.ledger.journals import locked

DEADLINE = 60.0
BUDGETS = ["$5/day alerts at 50%", "20000 tokens/day", "3 calls/day"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/costs.db"


@pytest.fixture(params=["direct", "leases"])
def guard(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[Guard]:
    guard = guarded(url, tmp_path, request.param)
    yield guard
    guard.close()


def guarded(url: str, folder: Path, engine: Any = "direct") -> Guard:
    """One that takes a store that is locked for one that is away, at once."""
    return Guard(
        f"{url}?patience=0", budgets=BUDGETS, holds="strict", wait=0, engine=engine, journal=folder / "journal"
    )


def made(guard: Guard, url: str) -> Call:
    """A call that is let through while the store is away: it would have held ten cents."""
    call = Call("openai", "gpt-4o", max_output_tokens=10_000)
    with locked(url):
        guard.reserve(call)
    assert call.hold.amount == 0
    return call


def spent(guard: Guard) -> dict[str, str]:
    """Spent and held by unit."""
    found = [(one.budget.unit, one.spent.normalize(), one.held.normalize()) for one in guard.standings()]
    return {unit: f"{spent:f} + {held:f}" for unit, spent, held in found}


def settle(guard: Guard, call: Call, tokens: int = 100, **more: Any) -> None:
    guard.settle(call, Outcome("ok", Usage(output_tokens=tokens), **more))


def test_a_call_that_was_let_through_counts_what_it_wanted_to_hold_until_it_is_settled(guard: Guard, url: str) -> None:
    call = made(guard, url)
    guard.flush(DEADLINE)
    (noted,) = guard.entries()
    assert (noted.call_id, noted.status, noted.estimated, str(noted.cost)) == (call.id, "lost", True, "0.100000000")
    assert "the store was away" in str(noted.reason)
    assert spent(guard) == {"usd": "0.1 + 0", "tokens": "10000 + 0", "calls": "1 + 0"}
    settle(guard, call)
    guard.flush(DEADLINE)
    (entry,) = guard.entries()
    assert (entry.call_id, entry.status, str(entry.cost)) == (call.id, "ok", "0.001000000")
    assert spent(guard) == {"usd": "0.001 + 0", "tokens": "100 + 0", "calls": "1 + 0"}
    assert audit(guard.ledger).ok


def test_one_that_ends_before_the_store_is_back_is_only_its_entry(url: str, tmp_path: Path) -> None:
    told: list[Any] = []
    with Guard(
        f"{url}?patience=0", budgets=["$0.20/day alerts at 50%"], holds="strict", alerts=[told.append],
        journal=tmp_path / "journal", engine="direct",
    ) as guard:  # fmt: skip
        calls = [Call("openai", "gpt-4o", max_output_tokens=10_000) for _ in range(3)]
        with locked(url):
            for call in calls:
                guard.reserve(call)
                settle(guard, call)
        guard.flush(DEADLINE)
        assert {entry.call_id: entry.status for entry in guard.entries()} == {call.id: "ok" for call in calls}
        assert told == []


def test_one_whose_process_dies_is_charged_by_whoever_opens_the_journal(url: str, tmp_path: Path) -> None:
    text = """
        import os, signal, sys
        from pathlib import Path
        from tests.ledger.journals import locked
        from tests.ledger.test_journal_notes import guarded, made
        guard = guarded(sys.argv[1], Path(sys.argv[2]))
        call = made(guard, sys.argv[1])
        with locked(sys.argv[1]):
            print(call.id, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), url, str(tmp_path)],
        capture_output=True, text=True, timeout=DEADLINE, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    with guarded(url, tmp_path) as guard:
        guard.flush(DEADLINE)
        assert [(entry.call_id, entry.status) for entry in guard.entries()] == [(died.stdout.strip(), "lost")]
        assert spent(guard) == {"usd": "0.1 + 0", "tokens": "10000 + 0", "calls": "1 + 0"}
    assert not [name for name in os.listdir(tmp_path / "journal") if name.endswith(".journal")]


def test_a_background_response_is_counted_under_its_own_id_alone(guard: Guard, url: str) -> None:
    call = made(guard, url)
    guard.flush(DEADLINE)
    settle(guard, call, by_response=True, response_id="resp_1")
    guard.flush(DEADLINE)
    assert spent(guard) == {"usd": "0.001 + 0", "tokens": "100 + 0", "calls": "1 + 0"}
    assert audit(guard.ledger).ok


def test_where_an_app_would_rather_refuse_nothing_is_noted(url: str, tmp_path: Path) -> None:
    with Guard(
        f"{url}?patience=0", budgets=BUDGETS, on_store_failure="refuse", journal=tmp_path / "journal", engine="direct"
    ) as guard:
        with locked(url), pytest.raises(StoreUnavailable):
            guard.reserve(Call("openai", "gpt-4o", max_output_tokens=10_000))
        guard.flush(DEADLINE)
        assert guard.entries() == []
