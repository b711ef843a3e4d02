"""Several processes are scraped as one, and what waits in each is told as it is now."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from examples.provider import Provider
from prometheus_client import CollectorRegistry

from costguard.telemetry.looker import Looker
from costguard.telemetry.prometheus import Prometheus
from tests.telemetry.conftest import COST
from tests.telemetry.test_prometheus import read

ROOT = Path(__file__).parents[2]

WORKER = """
import sys
from costguard import Guard, tagged
from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.scrape import metrics_wsgi_app
import openai
told = Prometheus()
with Guard("memory://", hooks=[told]) as guard, openai.OpenAI() as client:
    guard.instrument()
    with tagged(user=sys.argv[1]):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
    if "running" in sys.argv:
        told._running.set(7)  # as one that was killed in the middle of seven calls
    if "scrape" in sys.argv:
        def start(status, headers, _=None):
            assert status == "200 OK"
        body = metrics_wsgi_app(told)({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}, start)
        sys.stdout.write(b"".join(body).decode())
"""

Work = Callable[..., str]


@pytest.fixture
def work(provider: Provider, tmp_path: Path) -> Work:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", WORKER, *arguments]
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_counts_are_those_of_all_and_gauges_those_of_the_living(work: Work) -> None:
    """Only gunicorn has a hook for workers that end; under uvicorn nobody says that one is dead."""
    work("alice", "running")
    found = read(work("bob", "scrape"))
    assert sum(found["costguard_cost_usd_total"].values()) == pytest.approx(2 * COST)
    assert sum(found["costguard_calls_total"].values()) == 2
    assert {dict(where)["payer"] for where in found["costguard_payer_cost_usd_total"]} == {"alice", "bob"}
    assert sum(found["costguard_call_cost_usd_count"].values()) == 2
    assert found["costguard_calls_running"] == {(): 0}


class Told:
    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.looked = Event()

    def look(self) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError("the first one fails")
        self.looked.set()


def test_what_waits_is_looked_at_also_where_no_call_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An idle worker would be told by the figures of its last call: an alert on them would never end."""
    told = Told(fails=True)
    looker = Looker(told, every=0.01)
    looker.begin()
    looker.begin()
    assert told.looked.wait(10)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert Prometheus(CollectorRegistry())._looker is not None


def test_the_thread_that_looks_ends_with_what_it_looks_for() -> None:
    told: Any = Told()
    before = set(threading.enumerate())
    Looker(told, every=0.01).begin()
    (thread,) = set(threading.enumerate()) - before
    assert told.looked.wait(10)
    del told
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
