"""The recordings of Cohere, through `cohere`."""

from __future__ import annotations

import inspect
from typing import Any

import cohere
import cohere.core.http_client
import httpx

from tests.providers.calling import fields_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")

_METHODS = {
    "v1.chat": "chat", "v2.chat": "chat", "v1.generate": "generate", "v1.embed": "embed", "v2.embed": "embed",
    "v1.rerank": "rerank", "v2.rerank": "rerank", "v1.tokenize": "tokenize",
}  # fmt: skip


def takes(record: dict[str, Any]) -> bool:
    return record["provider"] == "cohere" and record["api"] in _METHODS


def retries(record: dict[str, Any]) -> bool:
    return not record["stream"]


class Clients:
    """Transports of one event loop, shared by the clients: each exchange has an address of its own."""

    def __init__(self) -> None:
        self.sync = httpx.Client(timeout=20)
        self.asynchronous = httpx.AsyncClient(timeout=20)
        # Two retries wait a second and more otherwise.
        for name in ("INITIAL_RETRY_DELAY_SECONDS", "MAX_RETRY_DELAY_SECONDS"):
            setattr(cohere.core.http_client, name, 0.01)

    def to(self, record: dict[str, Any], base: str, kind: str) -> Any:
        name = ("Async" if kind == "async" else "") + ("ClientV2" if record["api"].startswith("v2") else "Client")
        transport = self.asynchronous if kind == "async" else self.sync
        return getattr(cohere, name)(api_key="none", base_url=base, httpx_client=transport)

    async def close(self) -> None:
        self.sync.close()
        await self.asynchronous.aclose()


def start(client: Any, record: dict[str, Any]) -> Any:
    """Issue the call as it was recorded."""
    name = _METHODS[record["api"]] + ("_stream" if record["stream"] else "")
    method = getattr(client, name)
    known = inspect.signature(getattr(type(client), name)).parameters
    body = {key: value for key, value in fields_of(record).items() if key != "stream" and value is not None}
    extra = {key: value for key, value in body.items() if key not in known}
    options = {"max_retries": 2, **({"additional_body_parameters": extra} if extra else {})}
    return method(**{key: value for key, value in body.items() if key in known}, request_options=options)


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(record, server.base(record, options), kind)
    with watched() as recording:
        try:
            answer = start(client, record)
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
    return recording
