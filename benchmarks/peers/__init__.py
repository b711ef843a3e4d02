"""Other libraries that watch LLM calls, each in an environment of its own: they pin the SDKs differently.

Each module has `PACKAGES` and `watch(client)`, which puts the peer in place with the kindest settings
there are: nothing leaves the process, exporters throw everything away.
"""

from __future__ import annotations

import os
from pathlib import Path

PEERS = ("openinference", "openllmetry", "logfire", "langfuse", "langsmith", "openlit", "litellm")
REQUIREMENTS = Path(__file__).parent / "requirements"
ENVIRONMENTS = Path(os.environ.get("COSTGUARD_BENCH", Path(__file__).parents[2] / ".bench"))


def interpreter(peer: str, environments: Path = ENVIRONMENTS) -> Path | None:
    """The Python of a peer's environment, None if it was not built."""
    python = environments / peer / "bin" / "python"
    return python if python.exists() else None
