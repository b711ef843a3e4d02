"""Every Python block of the README and of docs/ runs, in order, against the local provider, in an empty folder.

```python     run; blocks of one page share their names, and a block inside an HTML comment is run but not shown
```console    `$ costguard ...` and `$ python ...` run, and must print what is shown (`...` stands for anything);
              `make`, `pip install` and server commands must name targets, extras and modules that exist
```slack      must be what the Slack receiver was told
```http       must be what `answer`, the last response that the page's blocks kept, looked like
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from examples.provider import Provider
from examples.slack_receiver import SlackReceiver, plain_text

from costguard import Guard

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)(?P<target>[^)#\s]+)")
KINDS = {"python", "console", "http", "text", "toml", "ini", "slack"}
DIALOGUES = {"make", "pip", "uvicorn", "waitress-serve", "gunicorn", "git", "curl", "cd", ".ci/run"}


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [Block(each["kind"], each["text"], text.count("\n", 0, each.start()) + 1) for each in FENCE.finditer(text)]


def a_tenth(body: dict[str, Any]) -> tuple[int, int, str]:
    """The same size for every answer, so that the pages can show what a report says: $0.11 on gpt-4o."""
    return 12_000, 8_000, "An answer."


@pytest.fixture
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackReceiver]:
    with Provider(reply=a_tenth) as provider, SlackReceiver() as receiver:
        for name in ("OPENAI", "ANTHROPIC"):
            monkeypatch.setenv(f"{name}_API_KEY", "local")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
        monkeypatch.setenv("SLACK_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("TAG_SECRET", "a secret that workers share")
        monkeypatch.delenv("COSTGUARD_STORE", raising=False)
        # What an app does once in its life, several pages do.
        monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())
        monkeypatch.chdir(tmp_path)
        yield receiver


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_so(page: Path, page_folder: SlackReceiver) -> None:
    # What a page binds outside of a request lasts as long as its context, not as long as this process.
    copy_context().run(check_page, page, page_folder)


def check_page(page: Path, page_folder: SlackReceiver) -> None:
    names: dict[str, Any] = {"__name__": page.stem}
    guards: list[Guard] = []
    try:
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            assert block.kind in KINDS, f"{where}: a block of kind {block.kind!r} is not checked by anything"
            if block.kind == "python":
                # Line numbers as in the page, so that a traceback points into it.
                code = compile("\n" * block.line + block.text, str(page), "exec", dont_inherit=True)
                exec(code, names)
                guards += [value for value in names.values() if isinstance(value, Guard) and value not in guards]
            elif block.kind == "console":
                check_console(block, where)
            elif block.kind == "http":
                check_matches(as_http(names["answer"]), block.text, where)
            elif block.kind == "slack":
                guards[-1].flush(20)
                check_matches("\n".join(map(plain_text, page_folder.messages)), block.text, where)
    finally:
        for guard in reversed(guards):
            guard.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_a_page_links_to_exist(page: Path) -> None:
    missing = [
        each["target"] for each in LINK.finditer(page.read_text("utf-8")) if not (page.parent / each["target"]).exists()
    ]
    assert not missing


def check_console(block: Block, where: str) -> None:
    for command, shown in dialogues(block.text):
        program, *arguments = shlex.split(command, comments=True)
        if program == "costguard":
            run = subprocess.run(
                [sys.executable, "-m", "costguard.cli", *arguments],
                capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"},
            )  # fmt: skip
            assert run.returncode == 0, f"{where}: {command} ended with {run.returncode}: {run.stderr}"
            if shown.strip():
                check_matches(run.stdout, shown, where)
        else:
            assert program in DIALOGUES, f"{where}: nothing checks {command!r}"
            check_named(program, arguments, where)


def dialogues(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of a command and what it prints; a trailing backslash goes on in the next line."""
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def check_named(program: str, arguments: list[str], where: str) -> None:
    """Commands that need a network or a terminal are not run, but what they name must be there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        wanted = [argument for argument in arguments if "=" not in argument]
        assert set(wanted) <= set(targets), f"{where}: make {wanted}"
    elif program == "pip":
        for argument in arguments:
            if argument.startswith(project["name"]) and "[" in argument:
                extras = set(argument.partition("[")[2].rstrip("]").split(","))
                assert extras <= set(project["optional-dependencies"]), f"{where}: extras {extras}"
    elif program in ("uvicorn", "waitress-serve"):
        for argument in arguments:
            module, colon, _ = argument.partition(":")
            if colon and module.startswith("examples"):
                assert find_spec(module), f"{where}: {argument}"
    elif program == ".ci/run":
        assert (ROOT / program).exists()


def as_http(answer: Any) -> str:
    """A response of httpx or of Flask's test client, as HTTP writes it: headers sorted, JSON indented."""
    head = "\n".join(f"{name.title()}: {value}" for name, value in sorted(answer.headers.items()))
    body = json.dumps(json.loads(answer.text), indent=2)
    return f"HTTP/1.1 {answer.status_code} {HTTPStatus(answer.status_code).phrase}\n{head}\n\n{body}"


def check_matches(printed: str, shown: str, where: str) -> None:
    """Each line shown is printed, in this order; `...` in a line stands for anything.

    White space may differ; where the page shows nothing of a line, nothing is asked of it.
    """
    position = 0
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for line in (" ".join(line.split()) for line in shown.splitlines()):
        if not line:
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
        found = next((at for at in range(position, len(lines)) if pattern.fullmatch(lines[at])), None)
        assert found is not None, f"{where}: {line!r} is not in\n{printed}"
        position = found + 1
