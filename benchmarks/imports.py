"""What `import costguard` adds to starting Python, and whether it loads what it must not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.tables import Column, show
from benchmarks.timing import figures

TARGET_MS = 30.0
HEAVY = ("sqlalchemy", "pydantic", "sqlmodel", "genai_prices", "slack_sdk", "starlette", "typer", "rich", "anyio")

CASES = {
    "bare python": "pass",
    "import costguard": "import costguard",
    "from costguard import Guard": "from costguard import Guard",
}

COLUMNS: tuple[Column, ...] = (
    ("case", "case"),
    ("added wall ms", "added_wall_ms"),
    ("at its median", "median_wall_ms"),
    ("added CPU ms", "added_cpu_ms"),
    ("modules", "modules"),
    ("heavy ones", "heavy"),
)


def run(rounds: int = 40, *, peers: bool = False, errors: bool = False) -> dict[str, Any]:
    """Milliseconds: minimum against minimum, median against median, of processes started in turn."""
    wall: dict[str, list[float]] = {case: [] for case in CASES}
    cpu: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(rounds + 2):
        for case, code in CASES.items():
            before, start = os.times(), time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            wall[case].append((time.perf_counter() - start) * 1000)
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            cpu[case].append(used * 1000)
    rows: list[dict[str, Any]] = []
    for case, code in CASES.items():
        # The first two fill the caches of the system and write the byte code.
        took, used_ms = figures(wall[case][2:]), sum(cpu[case][2:]) / rounds
        modules, heavy = _loaded(code)
        base = rows[0] if rows else None
        rows.append(
            {
                "case": case,
                "wall_ms": took,
                "cpu_ms": round(used_ms, 2),
                "added_wall_ms": round(took["min"] - base["wall_ms"]["min"], 2) if base else 0.0,
                "median_wall_ms": round(took["median"] - base["wall_ms"]["median"], 2) if base else 0.0,
                "added_cpu_ms": round(used_ms - base["cpu_ms"], 2) if base else 0.0,
                "modules": modules,
                "heavy": ", ".join(heavy) or "none",
            }
        )
    return {"rounds": rounds, "unit": "milliseconds added to bare Python", "target_ms": TARGET_MS, "rows": rows}


def _loaded(code: str) -> tuple[int, list[str]]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    names = set(shown.split())
    return len(names), [name for name in HEAVY if name in names]


def report(result: dict[str, Any]) -> None:
    show(f"Import, milliseconds over bare Python (target {TARGET_MS:.0f})", COLUMNS, result["rows"])
