"""Every way into an SDK, on each version: seen exactly once, the caller's result unchanged. See entry_points.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.environment import interpreter
from tests.matrix import ROOT


@pytest.mark.long
@pytest.mark.parametrize("environment", ["this one", "old", "previous", "frameworks"])
def test_every_entry_point_is_seen_once_and_its_result_is_as_it_was(environment: str) -> None:
    python = Path(sys.executable) if environment == "this one" else interpreter(environment)
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_BASE_URL", "_proxy", "_PROXY"))}
    done = subprocess.run(
        [python, "-m", "tests.interop.entry_points"],
        cwd=ROOT, env=kept, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"in {environment!r}:\n{done.stdout}{done.stderr}", pytrace=False)
