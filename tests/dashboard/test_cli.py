"""`costguard dashboard`: a link that works once, on this machine alone, and is in no log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import httpx
import pytest

from tests.dashboard.pages import guard_with_calls


@contextmanager
def running(store: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command, and the link that it has printed."""
    command = [sys.executable, "-m", "costguard.cli", "dashboard", "--store", store, "--port", "0", *options]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    lines: Queue[str] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    try:
        link = None
        while link is None:
            try:
                link = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", lines.get(timeout=60))
            except Empty:
                assert process.stderr is not None
                process.kill()
                raise AssertionError(process.stderr.read()) from None
        yield link[0], process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.long
def test_the_link_opens_the_dashboard_once_and_is_in_no_log(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'costs.db'}"
    guard_with_calls(store, engine="direct").close()
    with running(store) as (link, process):
        home = link.partition("?")[0]
        with httpx.Client(trust_env=False, timeout=60, transport=httpx.HTTPTransport(retries=20)) as client:
            assert client.get(home).status_code == 403
            page = client.get(link, follow_redirects=True)
            assert page.status_code == 200
            assert page.url == home
            assert "alice" in client.get(f"{home}budgets").text
            assert client.get(home, headers={"host": "evil.test"}).status_code == 403
        assert httpx.get(link, trust_env=False, timeout=60).status_code == 403
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
    token = link.partition("token=")[2]
    assert token not in errors
    assert "Traceback" not in errors


@pytest.mark.long
def test_a_store_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "costguard.cli", "dashboard", "--store", f"sqlite:///{tmp_path}/none.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "costguard migrate" in done.stderr
