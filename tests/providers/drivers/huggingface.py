"""The recordings of Hugging Face's router, through `huggingface_hub`."""

from __future__ import annotations

import inspect
from typing import Any

from huggingface_hub import AsyncInferenceClient, InferenceClient

from tests.providers.calling import fields_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")


def takes(record: dict[str, Any]) -> bool:
    return record["provider"] == "huggingface" and record["api"] == "chat.completions"


def retries(_record: dict[str, Any]) -> bool:
    return False


class Clients:
    def to(self, base: str, kind: str) -> Any:
        cls = AsyncInferenceClient if kind == "async" else InferenceClient
        return cls(base_url=base, api_key="none", timeout=20)

    async def close(self) -> None: ...


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(server.base(record, options), kind)
    known = inspect.signature(client.chat_completion).parameters
    body = {key: value for key, value in fields_of(record).items() if value is not None}
    given = {key: value for key, value in body.items() if key in known}
    extra = {key: value for key, value in body.items() if key not in known}
    with watched() as recording:
        try:
            answer = client.chat_completion(**given, **({"extra_body": extra} if extra else {}))
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
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed
    return recording
