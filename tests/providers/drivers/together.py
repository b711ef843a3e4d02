"""The recordings of Together, through `together`."""

from __future__ import annotations

from typing import Any

import together
import together._base_client

from tests.providers.recording import Recording
from tests.providers.stainless_sdk import StainlessClients, exchanged

KINDS = ("sync", "async")


def takes(record: dict[str, Any]) -> bool:
    return record["provider"] == "together" and record["api"] in ("chat.completions", "completions")


class Clients(StainlessClients):
    def __init__(self) -> None:
        super().__init__(together.Together, together.AsyncTogether, together._base_client)


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(server.base(record, options), kind, options)
    of = client.chat.completions if record["api"].startswith("chat") else client.completions
    return await exchanged(of.create, record, options, together.TogetherError)
