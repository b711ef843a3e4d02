"""The recordings of Ollama's own API, through `ollama`."""

from __future__ import annotations

import inspect
from typing import Any

import ollama

from tests.providers.calling import fields_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")

_METHODS = {
    "ollama.chat": "chat",
    "ollama.generate": "generate",
    "ollama.embeddings": "embeddings",
    "ollama.embed": "embed",
}


def takes(record: dict[str, Any]) -> bool:
    return record["api"] in _METHODS


def retries(_record: dict[str, Any]) -> bool:
    return False


class Clients:
    def to(self, base: str, kind: str) -> Any:
        cls = ollama.AsyncClient if kind == "async" else ollama.Client
        # Without TLS a client is cheap to make.
        return cls(host=base, timeout=20, verify=False)

    async def close(self) -> None: ...


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(server.base(record, options), kind)
    method = getattr(client, _METHODS[record["api"]])
    known = inspect.signature(method).parameters
    given = {key: value for key, value in fields_of(record).items() if key in known and value is not None}
    with watched() as recording:
        try:
            answer = method(**given)
            answer = await answer if inspect.isawaitable(answer) else answer
            if hasattr(answer, "__aiter__"):
                async for _ in answer:
                    pass
            elif hasattr(answer, "__next__"):
                for _ in answer:
                    pass
        except Exception:
            # Its errors have no base class in common with those of its transport.
            if record["status"] < 400 and not options:
                raise
        finally:
            closed = client._client.close() if kind == "sync" else client._client.aclose()
            if inspect.isawaitable(closed):
                await closed
    return recording
