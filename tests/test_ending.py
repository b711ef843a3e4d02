"""How a process ends decides what is left on the books: each way out that Python has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from costguard import Guard
from costguard.ledger.opening import open_ledger
from costguard.ledger.stack import build

DEADLINE = 60.0

CALLS = """
import sys
from costguard import Guard, Usage, tagged
from costguard.call import Call
from costguard.events import Outcome

guard = Guard(sys.argv[1], budgets=["$100/day per user"])

def calls(count):
    with tagged(user="alice"):
        for _ in range(count):
            call = Call("openai", "gpt-4o", "chat", 1000, 100)
            guard.reserve(call)
            guard.settle(call, Outcome("ok", Usage(input_tokens=1000, output_tokens=100)))
"""

ENTRY = 3_500_000
"""Nano-dollars of one of these calls: 1,000 x $2.50 and 100 x $10 a million."""


def run(url: str, *lines: str) -> subprocess.Popen[str]:
    code = CALLS + textwrap.dedent("\n".join(lines))
    return subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)


def held_and_spent(url: str) -> tuple[int, int]:
    ledger = open_ledger(url)
    try:
        with Guard(ledger, budgets=["$100/day per user"], engine="direct", journal=False) as guard:
            (standing,) = guard.standings(user="alice")
            return int(standing.held * 10**9), int(standing.spent * 10**9)
    finally:
        ledger.close()


def test_a_process_that_ends_without_closing_its_guard_leaves_nothing_behind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    for _ in range(3):
        worker = run(url, "calls(40)")
        assert worker.wait(DEADLINE) == 0
    assert held_and_spent(url) == (0, 120 * ENTRY)


def test_uvicorn_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    # It raises the signal anew at its end, and Python's exit handlers do not run.
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    server = run(
        url,
        """
        import socket, uvicorn
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from costguard.web.asgi import CostGuardMiddleware
        calls(7)
        app = Starlette(middleware=[Middleware(CostGuardMiddleware, guard=guard)])
        class Server(uvicorn.Server):
            async def startup(self, sockets=None):
                await super().startup(sockets)
                print("ready", flush=True)
        Server(uvicorn.Config(app, port=0, log_level="error")).run()
        """,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    server.send_signal(signal.SIGTERM)
    server.wait(DEADLINE)
    assert held_and_spent(url) == (0, 7 * ENTRY)


def test_what_a_child_left_in_its_journal_is_brought_home_by_a_parent_that_makes_no_calls(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    with Guard(url, budgets=["$100/day per user"]) as guard:
        child = run(url, "calls(10)", "import os", "os._exit(0)")
        assert child.wait(DEADLINE) == 0
        until = time.monotonic() + DEADLINE
        while len(guard.entries(user="alice")) < 10:
            assert time.monotonic() < until, "its journal lies there"
            time.sleep(0.05)


def test_where_the_home_cannot_be_written_the_journal_is_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ledger = build("postgresql://nobody@localhost:1/none")
    (made,) = tmp_path.glob("costguard-*/*")
    assert ledger.url.startswith("postgresql://")
    assert made.stat().st_mode & 0o777 == 0o700
    assert os.access(made, os.W_OK)
    assert "may not outlive this machine" in caplog.text
