"""The program that lays our prices beside a second list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import prices


def test_equal_and_differing_prices_are_counted_and_differences_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "second.json"
    entry = {"litellm_provider": "openai", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 9e-06}
    path.write_text(json.dumps({"gpt-4o": entry}))
    assert prices.main([str(path)]) == 1
    shown = capsys.readouterr().out
    assert "second.json (litellm, 1 entries) beside ours" in shown
    assert "differing: openai/gpt-4o, output: ours 10, theirs 9" in shown
    path.write_text(json.dumps({"gpt-4o": {**entry, "output_cost_per_token": 1e-05}}))
    assert prices.main([str(path)]) == 0
