"""From an SDK's answer to its exact cost: reading the usage off the object, and pricing it."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.peers import interpreter
from benchmarks.processes import contend
from benchmarks.tables import Column, show

OUR_CALLS, PEER_CALLS = 3_000, 150
TARGET = 3.0

COLUMNS: tuple[Column, ...] = (
    ("contender", "contender"),
    ("variant", "variant"),
    ("us", "added_us"),
    ("paired", "paired_us"),
    ("target", "target_us"),
)


def run(rounds: int = 40, *, peers: bool = True, errors: bool = False) -> dict[str, Any]:
    """Microseconds for one answer, less an empty loop, all contenders in turn in one run."""
    field = [("costguard", [sys.executable, "-m", "benchmarks.pricers", "costguard"])]
    if peers:
        field.append(("genai-prices", [sys.executable, "-m", "benchmarks.pricers", "genai-prices"]))
        python = interpreter("litellm")
        if python is not None:
            field.append(("litellm", [str(python), "-m", "benchmarks.pricers", "litellm"]))
    rows = contend(field, calls=OUR_CALLS, peer_calls=PEER_CALLS, rounds=rounds, errors=errors)
    for row in rows:
        row["target_us"] = TARGET if row["contender"] == "costguard" else None
    return {"rounds": rounds, "unit": "microseconds of CPU for one answer", "rows": rows}


def report(result: dict[str, Any]) -> None:
    show("Usage of an SDK's answer and its cost, microseconds", COLUMNS, result["rows"])
