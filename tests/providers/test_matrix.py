"""The contract on older SDKs, each version in an environment of its own (tests/matrix.txt)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("environment", ["old", "previous"])
def test_the_contract_holds_on(environment: str) -> None:
    tag = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = ROOT / ".matrix" / tag / environment / "bin" / "python"
    if not python.exists():
        pytest.fail(f"the environment {environment!r} is missing ({python.relative_to(ROOT)}): run `make matrix`")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COSTGUARD_"))}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "tests/providers/test_contract.py"],
        cwd=ROOT, env=kept, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"in {environment!r}:\n{done.stdout}{done.stderr}", pytrace=False)
