from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from costguard import Guard
from costguard.call import Call
from costguard.errors import ConfigError
from costguard.events import Outcome
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.pricing.usage import Usage
from costguard.reports import RequestCosts, requests
from costguard.tags import Frame, Tags, close_frame, open_frame, tagged
from tests.alerts.crossings import Clock
from tests.reports.scenes import ns

CENT = Usage(input_tokens=4_000)
"""Of gpt-4o, at the price below."""


def made(store: Ledger, costs: RequestCosts) -> Guard:
    return Guard(store, prices={"openai/gpt-4o": {"input": "2.50", "output": "10"}}, hooks=[costs])


def ask(guard: Guard, usage: Usage = CENT, model: str = "gpt-4o") -> None:
    call = Call("openai", model)
    guard.reserve(call)
    call.attempts = 1
    guard.settle(call, Outcome("ok", usage, model=model))


def handle(guard: Guard, calls: int, route: str = "/chat", **tags: str) -> None:
    """One HTTP request, as a middleware opens it."""
    token = open_frame(Frame(Tags(tags), route=lambda: route))
    try:
        for _ in range(calls):
            with tagged(step="inner"):
                ask(guard)
    finally:
        close_frame(token)


def test_requests_are_told_by_route_with_what_most_of_them_cost(store: Ledger) -> None:
    costs = RequestCosts()
    with made(store, costs) as guard:
        for calls in [1] * 90 + [10] * 10:
            handle(guard, calls, feature="chat")
        handle(guard, 2, "/search")
        ask(guard)
        assert costs.write(ended=True)
        found = requests(store)
        chat, search = found.rows
        assert (chat.group, chat.requests, chat.calls, chat.cost) == ({"route": "/chat"}, 100, 190, Decimal("1.9"))
        assert chat.p50 == pytest.approx(Decimal("0.01"), rel=Decimal("0.05"))
        assert chat.p95 == pytest.approx(Decimal("0.1"), rel=Decimal("0.05"))
        assert chat.mean == Decimal("0.019")
        assert (search.requests, search.cost) == (1, Decimal("0.02"))
        # A call outside of any request is no request.
        assert (found.total.requests, found.total.calls) == (101, 192)
        assert [row.group["feature"] for row in requests(store, "feature").rows] == ["chat", "unattributed"]
        assert requests(store, where={"route": "/search"}).total.requests == 1
        assert requests(store, since="2027-01-01").total.to_json()["p50"] is None


def test_a_request_is_counted_once_it_is_quiet_and_in_the_hour_of_its_first_call(store: Ledger) -> None:
    clock = Clock(ns("2026-11-22 12:59"))
    costs = RequestCosts(quiet=30, now_ns=clock)
    with made(store, costs) as guard:
        handle(guard, 1)
        costs.write()
        assert requests(store).total.requests == 0
        clock.advance(120)
        costs.write()
        assert requests(store, since="2026-11-22T12:00Z", until="2026-11-22T13:00Z").total.requests == 1


def test_calls_without_a_price_are_counted_beside_the_cost(store: Ledger) -> None:
    costs = RequestCosts()
    with made(store, costs) as guard:
        token = open_frame(Frame(route=lambda: "/chat"))
        ask(guard, model="made-up")
        close_frame(token)
        costs.write(ended=True)
    found = requests(store).total
    assert (found.requests, found.calls, found.unpriced_calls, found.cost) == (1, 1, 1, 0)


def test_calls_of_many_threads_of_one_request_are_one_request() -> None:
    costs = RequestCosts()
    with Guard("memory://", prices={"openai/gpt-4o": {"input": "2.50", "output": "10"}}, hooks=[costs]) as guard:
        frame = Frame(route=lambda: "/chat")

        def run() -> None:
            token = open_frame(frame)
            for _ in range(20):
                ask(guard)
            close_frame(token)

        threads = [threading.Thread(target=run) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        costs.write(ended=True)
        found = requests(guard.ledger).total
    assert (found.requests, found.calls, found.cost) == (1, 100, 1)


def test_a_store_that_takes_nothing_now_gets_them_later(tmp_path: Path) -> None:
    costs = RequestCosts()
    store = open_ledger(f"sqlite:///{tmp_path}/costs.db?patience=0.05")
    with made(store, costs) as guard:
        handle(guard, 1)
        guard.flush()
        other = sqlite3.connect(tmp_path / "costs.db")
        other.execute("BEGIN EXCLUSIVE")
        assert not costs.write(ended=True)
        other.rollback()
        other.close()
        assert costs.write()
        assert requests(store).total.requests == 1


def test_what_requests_are_not_counted_by_is_named(store: Ledger) -> None:
    with pytest.raises(ConfigError, match="not counted by 'user'; only by environment, feature, route"):
        requests(store, "user")
    with pytest.raises(ConfigError, match="not counted by 'model'"):
        requests(store, where={"model": "gpt-4o"})


@pytest.mark.parametrize("end", [Guard.close, Guard.rest])
def test_a_guard_that_ends_counts_the_requests_that_are_open(tmp_path: Path, end: Callable[[Guard], None]) -> None:
    url = f"sqlite:///{tmp_path}/costs.db"
    guard = Guard(url, prices={"openai/gpt-4o": {"input": "2.50", "output": "10"}}, hooks=[RequestCosts()])
    handle(guard, 3)
    guard.flush()
    assert requests(guard.ledger).total.requests == 0, "calls go on after a flush"
    end(guard)
    guard.close()
    reader = open_ledger(url)
    assert (requests(reader).total.requests, requests(reader).total.calls) == (1, 3)
    reader.close()
