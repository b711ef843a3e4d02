"""The tables of docs/enforcement-proof.md, each between two marks of its own."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "enforcement-proof.md"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Markdown; the first so many columns are words, the others numbers."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * words}{'---:|' * (len(head) - words)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def machine() -> str:
    return f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs."


def write(name: str, text: str) -> None:
    """Put the table of this name in place of the last one."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = DOCS.read_text("utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{DOCS} has no place for {name}: it needs the lines {begin} and {end}")
    DOCS.write_text(f"{before}{begin}\n{text}\n\n{machine()}\n{end}{after}", "utf-8")
