"""Both example apps on real servers in this process, over a ledger as a real app would have filled it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from examples.realistic import BUDGETS, realistic
from examples.servers import free_port
from werkzeug.serving import make_server

from costguard import Guard
from costguard.ledger.opening import open_ledger
from tests.alerts.crossings import record

APPS = ("fastapi", "flask")
ONE = pytest.mark.parametrize("served", ["flask"], indirect=True)
"""For what is the same in both apps, as it is about what stands on a page, not about how it came there: once, where
the page goes through a2wsgi."""

MOUNT = "/costs"
STORE = "costs.db"
VIEWER = {"authorization": "Bearer session-of-bob"}

_START_SECONDS = 30


@dataclass(frozen=True)
class Site:
    """A served dashboard: `url` without a slash at the end."""

    url: str
    guard: Guard

    def call(self, usd: str = "1.00", **tags: str) -> str:
        """Record a call of now; its id."""
        entry = record(self.guard.ledger, usd, at_ns=time.time_ns(), tokens=(1000, 200), **tags)
        return str(entry.call_id)


@contextmanager
def site(app: str, directory: Path) -> Iterator[Site]:
    """One example app with its dashboard, over the ledger of this directory. The environment needs keys for the SDKs,
    which are never asked."""
    store = f"sqlite:///{directory / STORE}"
    guard = Guard(store, budgets=BUDGETS, alerts=[[].append], alert_rules=["burn fast"], engine="direct")
    try:
        with (_uvicorn if app == "fastapi" else _werkzeug)(guard) as port:
            yield Site(f"http://127.0.0.1:{port}{MOUNT}", guard)
    finally:
        guard.close()


def fill(directory: Path, *, days: int, calls: int) -> None:
    """Make the ledger of a site. What was crossed in the past was told then."""
    store = f"sqlite:///{directory / STORE}"
    realistic(store, days=days, calls=calls)
    ledger = open_ledger(store)
    for parcel in ledger.claim(time.time_ns(), lease_ns=10**12, most=10_000):
        parcel.delivered.append("slack")
        ledger.delivered(parcel, int(str(parcel.payload["at"])) + 2 * 10**9)
    ledger.close()


@contextmanager
def _uvicorn(guard: Guard) -> Iterator[int]:
    from examples.fastapi_app.app import create_app

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(guard), port=port, log_level="warning", ws="none"))
    with _running(server.run):
        end = time.monotonic() + _START_SECONDS
        while not server.started:
            assert time.monotonic() < end, "uvicorn does not start"
            time.sleep(0.02)
        try:
            yield port
        finally:
            server.should_exit = True


@contextmanager
def _werkzeug(guard: Guard) -> Iterator[int]:
    from examples.flask_app.app import create_app

    server = make_server("127.0.0.1", 0, create_app(guard), threaded=True)
    with _running(server.serve_forever):
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()


@contextmanager
def _running(serve: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(_START_SECONDS)
