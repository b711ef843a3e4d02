"""Processes to work in and to be killed: forked off one that has loaded everything and has no thread."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

_LOADED = ["openai", "costguard.guard", "tests.enforcement.proof_loaded"]


@dataclass
class Child:
    """`line` is our end of a pipe to it."""

    process: Any
    line: Connection

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.join(20)
        assert not self.process.is_alive()
        self.line.close()

    def join(self, timeout: float = 60) -> None:
        self.process.join(timeout)
        assert self.process.exitcode == 0, f"a worker ended with {self.process.exitcode}"
        self.line.close()


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_LOADED, *(["pytest"] if "pytest" in sys.modules else [])])
    return context


def start(work: Callable[..., None], *given: Any) -> Child:
    """Run `work(*given, line)` in a process of its own."""
    ours, theirs = _context().Pipe()
    process = _context().Process(target=work, args=(*given, theirs), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)
