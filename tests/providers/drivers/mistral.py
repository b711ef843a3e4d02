"""The recordings of Mistral, through `mistralai`."""

from __future__ import annotations

import inspect
from typing import Any

from tests.providers.calling import attribute, fields_of, path_of, watched
from tests.providers.mistral_sdk import HTTPX, BackoffStrategy, Mistral, RetryConfig
from tests.providers.recording import Recording

KINDS = ("sync", "async")

_METHODS = {
    "chat.completions": "chat.complete",
    "embeddings": "embeddings.create",
    "ocr": "ocr.process",
    "audio.transcriptions": "audio.transcriptions.complete",
    "audio.speech": "audio.speech.complete",
    "models": "models.list",
}


def takes(record: dict[str, Any]) -> bool:
    return record["provider"] == "mistral" and record["api"] in _METHODS


class Clients:
    """Transports of one event loop, shared by the clients: each exchange has an address of its own."""

    def __init__(self) -> None:
        self.sync = HTTPX.Client(timeout=20)
        self.asynchronous = HTTPX.AsyncClient(timeout=20)

    def to(self, record: dict[str, Any], base: str, options: str) -> Any:
        more: dict[str, Any] = {}
        if "fail" in options:
            more["retry_config"] = RetryConfig("backoff", BackoffStrategy(1, 10, 1.0, 5000), True)
        return Mistral(
            api_key="none", server_url=base, client=self.sync, async_client=self.asynchronous, timeout_ms=20_000, **more
        )

    async def close(self) -> None:
        self.sync.close()
        await self.asynchronous.aclose()


def start(client: Any, record: dict[str, Any], kind: str) -> Any:
    """Issue the call as it was recorded."""
    api, body = record["api"], fields_of(record)
    if api == "models":
        last = path_of(record)[-1]
        name = "models.list" if last == "models" else "models.retrieve"
        given = {} if last == "models" else {"model_id": last}
    else:
        name, given = _METHODS[api], {key: value for key, value in body.items() if key != "stream"}
    if api == "audio.transcriptions":
        given = {"model": given["model"], "file": {"file_name": "a.wav", "content": b"RIFF"}}
    if record["stream"]:
        name = name.replace("complete", "stream")
    if api == "embeddings" and "input" in given:
        given["inputs"] = given.pop("input")
    if api == "audio.speech":
        given["voice_id"] = given.pop("voice", None)
    method = attribute(client, name + ("_async" if kind == "async" else ""))
    known = inspect.signature(method).parameters
    return method(**{key: value for key, value in given.items() if key in known and value is not None})


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(record, server.base(record, options), options)
    with watched() as recording:
        try:
            answer = start(client, record, kind)
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
