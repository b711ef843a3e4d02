"""The recordings of Groq, through `groq`."""

from __future__ import annotations

import inspect
from typing import Any

import groq
import groq._base_client

from tests.providers.calling import consume, fields_of, known_and_extra, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")


def takes(record: dict[str, Any]) -> bool:
    return record["provider"] == "groq" and record["api"] == "chat.completions"


class Clients:
    """The clients of one event loop; each call gets a copy that goes to its own address."""

    def __init__(self) -> None:
        self._made = {
            "sync": groq.Groq(api_key="none", timeout=20),
            "async": groq.AsyncGroq(api_key="none", timeout=20),
        }
        # Two retries wait a second and more otherwise.
        groq._base_client.INITIAL_RETRY_DELAY = 0.01

    def to(self, base: str, kind: str, options: str) -> Any:
        return self._made[kind].with_options(base_url=base, max_retries=2 if "fail" in options else 0)

    async def close(self) -> None:
        for client in self._made.values():
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(server.base(record, options).removesuffix("/openai/v1"), kind, options)
    with watched() as recording:
        try:
            method = client.chat.completions.create
            await consume(method(**known_and_extra(method, fields_of(record))))
        except groq.GroqError:
            if record["status"] < 400 and not options and '"error"' not in record["response_body"]:
                raise
        except Exception:
            # A cut connection comes out of a stream as the transport's own error.
            if "cut" not in options:
                raise
    return recording
