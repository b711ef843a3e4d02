"""Clocks, robust figures, and the facts of the machine they were taken on."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

OURS = ("llm-costguard", "sqlalchemy", "genai-prices", "openai", "anthropic", "pydantic", "starlette", "flask")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU of one unit of work, in nanoseconds: of the calling thread, and of all threads of the process."""

    thread: float
    process: float


def cpu(run: Callable[[int], object], count: int, *, finish: Callable[[], object], units: int = 1) -> Cpu:
    """CPU of `run(count)` for each of `count * units` units; `finish` (background work) counts for the process.

    The garbage collector stays on: what a contender makes it do is part of its cost.
    """
    process, thread = time.process_time_ns(), time.thread_time_ns()
    run(count)
    in_thread = time.thread_time_ns() - thread
    finish()
    in_process = time.process_time_ns() - process
    return Cpu(in_thread / (count * units), in_process / (count * units))


def percentile(values: Iterable[float], fraction: float) -> float:
    """The value below which `fraction` of the values lie: of 0.2, what repeats when neighbours are quiet."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def figures(values: Sequence[float], *, digits: int = 2) -> dict[str, float]:
    """Minimum, 20th percentile and median."""
    return {
        "min": round(min(values), digits),
        "p20": round(percentile(values, 0.2), digits),
        "median": round(percentile(values, 0.5), digits),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What the figures depend on; no host name, no path."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "packages": versions(OURS),
    }


def save(name: str, result: Mapping[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    return path
