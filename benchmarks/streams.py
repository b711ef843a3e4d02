"""CPU added to each chunk of a stream that is read to its end, over an in-memory transport."""

from __future__ import annotations

from typing import Any

from benchmarks.calls import COLUMNS
from benchmarks.processes import contend, field
from benchmarks.settings import STREAMS
from benchmarks.tables import Column, show

TARGET = 4.0

STREAM_COLUMNS: tuple[Column, ...] = (*COLUMNS, ("sdk alone", "alone_us"))


def run(rounds: int = 40, *, peers: bool = True, errors: bool = False) -> dict[str, Any]:
    """Microseconds added to a chunk, each contender against the same SDK without it in the same process."""
    rows = contend(field("streams", STREAMS, peers=peers), calls=1, peer_calls=1, rounds=rounds, errors=errors)
    for row in rows:
        row["alone_us"] = row["without_us"]["p20"]
        row["target_us"] = TARGET if row["contender"] == "costguard" else None
    return {"rounds": rounds, "unit": "microseconds of CPU added per chunk", "rows": rows}


def report(result: dict[str, Any]) -> None:
    show("CPU added to one chunk of a stream, microseconds", STREAM_COLUMNS, result["rows"])
