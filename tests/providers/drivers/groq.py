"""The recordings of Groq, through `groq`."""

from __future__ import annotations

from typing import Any

import groq
import groq._base_client

from tests.providers.recording import Recording
from tests.providers.stainless_sdk import StainlessClients, exchanged

KINDS = ("sync", "async")


def takes(record: dict[str, Any]) -> bool:
    return record["provider"] == "groq" and record["api"] == "chat.completions"


class Clients(StainlessClients):
    def __init__(self) -> None:
        super().__init__(groq.Groq, groq.AsyncGroq, groq._base_client)


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(server.base(record, options).removesuffix("/openai/v1"), kind, options)
    return await exchanged(client.chat.completions.create, record, options, groq.GroqError)
