"""Short forms of the proofs that are run by hand for the documentation: by a real Prometheus and a real Phoenix."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.interop.environment import interpreter
from tests.telemetry import prometheus_proof

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_prometheus_scrapes_an_app_takes_the_rules_and_answers_every_panel(capsys: pytest.CaptureFixture[str]) -> None:
    """It needs Debian's package, which `make test` installs: make system."""
    code = prometheus_proof.main(seconds=0)
    assert code == 0, capsys.readouterr().out


@pytest.mark.long
@pytest.mark.timeout(600)
def test_phoenix_shows_one_cost_for_each_call_alone_and_beside_others() -> None:
    environ = {**os.environ, "OPENLIT_PYTHON": str(interpreter("openlit"))}
    command = [interpreter("phoenix"), "-m", "tests.telemetry.backends"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-4000:]}"
