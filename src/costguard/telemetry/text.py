"""Names that clients and providers make up, as every exporter can send them."""

from __future__ import annotations

LONGEST = 256
"""Characters of a name: each series of it has them again. Models have shorter ones, with the ARNs of Bedrock."""


def sendable(name: str) -> str:
    """As the ledger has it, cut: one lone surrogate would spoil all of a scrape, or of a batch, and all after it."""
    if len(name) > LONGEST:
        name = name[:LONGEST]
    if name.isascii() and "\x00" not in name:
        return name
    return name.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
