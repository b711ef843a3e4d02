"""The recordings of Voyage, through `voyageai`: a driver beside the others, for an environment of its own."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from tests.providers.calling import fields_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")

_METHODS = {"embeddings": "embed", "rerank": "rerank"}


def takes(record: dict[str, Any]) -> bool:
    return record["provider"] == "voyage" and record["api"] in _METHODS


def retries(_record: dict[str, Any]) -> bool:
    """It does, from a second on, and each attempt is a call."""
    return False


class Clients:
    async def close(self) -> None: ...


async def run(_clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    voyageai = importlib.import_module("voyageai")
    cls = voyageai.AsyncClient if kind == "async" else voyageai.Client
    method = getattr(cls(api_key="none", base_url=server.base(record, options), max_retries=1), _METHODS[record["api"]])
    body = fields_of(record)
    if "input" in body:
        body = {**body, "texts": body["input"]}
    known = inspect.signature(method).parameters
    with watched() as recording:
        try:
            answer = method(**{name: value for name, value in body.items() if name in known})
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            # Its errors have no base class in common with those of its transport.
            if record["status"] < 400 and not options:
                raise
    return recording
