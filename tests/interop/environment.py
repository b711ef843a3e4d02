"""Runs a file of this folder by pytest in an environment of tests/matrix.txt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.matrix import ROOT, python_of


def interpreter(environment: str) -> Path:
    """Fails where it was not built."""
    python = python_of(ROOT / ".matrix" / "{}.{}".format(*sys.version_info) / environment)
    if not python.exists():
        pytest.fail(f"the environment {environment!r} is missing ({python.relative_to(ROOT)}): run `make matrix`")
    return python


def run_in(environment: str, file: str, **variables: str) -> None:
    """Fails, with what pytest printed, unless every test of the file passed."""
    python = interpreter(environment)
    # Compiled once, the SDKs are imported faster by the next process.
    unset = ("PYTEST_", "COSTGUARD_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    # `addopts=`: the strict options of the project know plugins that are not installed there.
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-o", "addopts=", "--confcutdir", "tests/interop"]
    done = subprocess.run(
        [python, "-m", "pytest", *options, f"tests/interop/{file}"],
        cwd=ROOT,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{file} in {environment!r} {variables or ''}:\n{done.stdout}{done.stderr}", pytrace=False)
