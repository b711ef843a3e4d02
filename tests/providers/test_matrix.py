"""The contracts on other versions of the SDKs, in the environments of tests/matrix.txt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SDKS = ("mistral", "cohere", "ollama", "huggingface", "groq")
FILES = {
    "old": ["test_contract.py"],
    "previous": ["test_contract.py"],
    "sdks-old": [f"test_{name}.py" for name in (*SDKS, "together")],
    "sdks-previous": [f"test_{name}.py" for name in SDKS],
    "google-old": ["test_google.py", "test_bedrock.py"],
    "google-previous": ["test_google.py", "test_bedrock.py"],
    # Not named test_: the SDK is installed nowhere else.
    "voyage": ["voyage_contract.py"],
}
OPTIONS = {
    # cohere 5.13 has a bare `except` around its `yield`, so that Python complains when its streams are dropped.
    "sdks-old": ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"],
}


@pytest.mark.long
@pytest.mark.timeout(480)
@pytest.mark.parametrize("environment", FILES)
def test_the_contract_holds_on(environment: str) -> None:
    tag = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = ROOT / ".matrix" / tag / environment / "bin" / "python"
    if not python.exists():
        pytest.fail(f"the environment {environment!r} is missing ({python.relative_to(ROOT)}): run `make matrix`")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COSTGUARD_"))}
    files = [f"tests/providers/{name}" for name in FILES[environment]]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *OPTIONS.get(environment, ()), *files],
        cwd=ROOT, env=kept, capture_output=True, text=True, timeout=450, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"in {environment!r}:\n{done.stdout}{done.stderr}", pytrace=False)
