"""Contenders as processes, measured in turn: round after round, one batch of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from operator import sub
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, interpreter
from benchmarks.timing import figures, percentile

ROOT = Path(__file__).parent.parent


class Contender:
    """A running `benchmarks.worker` process.

    name:     how the table calls it
    command:  Python and the arguments that start it
    """

    def __init__(self, name: str, command: Sequence[str], *, calls: int, show_errors: bool = False) -> None:
        self.name = name
        self.calls = calls
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if show_errors else subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        hello = self._read()
        self.packages: dict[str, str] = hello["packages"]
        self.taken: dict[str, list[Sequence[float]]] = {variant: [] for variant in hello["variants"]}

    def round(self) -> None:
        """Measure one batch of each of its variants."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"calls": self.calls}) + "\n")
        self._process.stdin.flush()
        for variant, taken in self._read().items():
            self.taken[variant].append(taken)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"the process of contender {self.name!r} ended; run again with --errors to see why")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def added(self) -> list[dict[str, Any]]:
        """For each variant: microseconds of CPU that it adds to its baseline, for each unit.

        added_us:   20th percentile with it less that without it, of the calling thread
        paired_us:  the median of the differences of neighbouring batches
        process_us: like `added_us`, of all threads of the process
        """
        rows = []
        for variant, taken in self.taken.items():
            mine, all_mine, theirs, all_theirs = (
                [nanos / 1000 for nanos in column] for column in zip(*taken, strict=True)
            )
            rows.append(
                {
                    "contender": self.name,
                    "variant": variant,
                    "added_us": round(percentile(mine, 0.2) - percentile(theirs, 0.2), 2),
                    "paired_us": round(percentile(map(sub, mine, theirs), 0.5), 2),
                    "process_us": round(percentile(all_mine, 0.2) - percentile(all_theirs, 0.2), 2),
                    "with_us": figures(mine),
                    "without_us": figures(theirs),
                    "packages": self.packages,
                }
            )
        return rows


def field(workload: str, variants: Iterable[str], *, peers: bool) -> list[tuple[str, list[str]]]:
    """Who takes part, by name and command: each variant of ours, and the peers whose environment was built."""
    ours = [("costguard", [sys.executable, "-m", "benchmarks.ours", workload, variant]) for variant in variants]
    theirs = [(peer, interpreter(peer)) for peer in PEERS if peers]
    return ours + [
        (peer, [str(python), "-m", "benchmarks.peers.worker", peer, workload]) for peer, python in theirs if python
    ]


def contend(
    contenders: Iterable[tuple[str, list[str]]], *, calls: int, peer_calls: int, rounds: int, errors: bool
) -> list[dict[str, Any]]:
    """Start all, measure them in turn, stop them. One that cannot start or dies is reported and left out.

    contenders:        names and commands, see `field`
    calls, peer_calls: calls in one batch, ours and theirs
    """
    running: list[Contender] = []
    rows: list[dict[str, Any]] = []
    try:
        for name, command in contenders:
            try:
                batch = calls if name == "costguard" else peer_calls
                running.append(Contender(name, command, calls=batch, show_errors=errors))
            except RuntimeError as error:
                print(error, file=sys.stderr)
        for _ in range(rounds):
            for contender in list(running):
                try:
                    contender.round()
                except (RuntimeError, OSError) as error:
                    print(error, file=sys.stderr)
                    running.remove(contender)
        for contender in running:
            rows += contender.added()
    finally:
        for contender in running:
            contender.close()
    return rows
