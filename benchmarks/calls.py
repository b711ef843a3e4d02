"""CPU added to one `client.chat.completions.create(...)`, everything below the SDK's public method stubbed."""

from __future__ import annotations

from typing import Any

from benchmarks.processes import contend, field
from benchmarks.settings import CALLS
from benchmarks.tables import Column, show

# Calls in one batch: short ones, of which some fall into the quiet moments of a busy machine.
OUR_CALLS, PEER_CALLS = 150, 40

TARGETS = {"memory, one learned hold": 15.0, "sqlite, one strict hold": 110.0, "sqlite direct, one strict hold": 110.0}

COLUMNS: tuple[Column, ...] = (
    ("contender", "contender"),
    ("variant", "variant"),
    ("added us", "added_us"),
    ("paired", "paired_us"),
    ("all threads", "process_us"),
    ("target", "target_us"),
)


def run(rounds: int = 40, *, peers: bool = True, errors: bool = False) -> dict[str, Any]:
    """Microseconds added to a call, each contender against the same SDK without it in the same process."""
    rows = contend(
        field("calls", CALLS, peers=peers), calls=OUR_CALLS, peer_calls=PEER_CALLS, rounds=rounds, errors=errors
    )
    for row in rows:
        row["target_us"] = TARGETS.get(row["variant"])
    return {"rounds": rounds, "unit": "microseconds of CPU added per call", "rows": rows}


def report(result: dict[str, Any]) -> None:
    show("CPU added to one call, microseconds", COLUMNS, result["rows"])
