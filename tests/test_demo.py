"""`make demo` is the first thing a stranger runs: it has to tell the whole story and to end well."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "SLACK_WEBHOOK_URL")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "demo.db").write_text("what an earlier run left")
    return folder


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in KEYS}
    env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=220)


@pytest.fixture(scope="module")
def story(folder: Path) -> str:
    ended = run([sys.executable, "-m", "examples.demo"], folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_demo_tells_the_whole_story(story: str) -> None:
    assert "✗" not in story
    assert "HTTP/1.1 429 Too Many Requests" in story
    assert "application/problem+json" in story
    assert story.count("one message") == 1
    for name in ("alice", "bob", "carol", "/summarize", "/notes/{note}/search", "/notes/<note>/ask"):
        assert name in story
    assert "All as it should be" in story


def test_the_report_can_be_seen_again_with_the_command_it_shows(story: str, folder: Path) -> None:
    shown = re.search(r"again: (.*)", story)
    assert shown is not None
    again = run(shlex.split(shown[1]), folder)
    assert again.returncode == 0, again.stderr
    assert "bob" in again.stdout
    assert "/chat" in again.stdout
