"""The recordings of `anthropic`, and of those who speak its protocol."""

from __future__ import annotations

import inspect
from typing import Any

import anthropic
import anthropic._base_client
from anthropic._decoders.jsonl import AsyncJSONLDecoder, JSONLDecoder
from anthropic.types.messages import MessageBatchIndividualResponse

from tests.providers.calling import attribute, consume, fields_of, known_and_extra, path_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")
_APIS = frozenset((
    "messages", "messages.count_tokens", "messages.batches", "messages.batches.results", "complete", "models",
    "files.content",
))  # fmt: skip


def takes(record: dict[str, Any]) -> bool:
    return record["sdk"]["package"] == "anthropic" and record["api"] in _APIS


class Clients:
    """The clients of one event loop; each call gets a copy that goes to its own address."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        # Two retries wait a second and more otherwise.
        anthropic._base_client.INITIAL_RETRY_DELAY = 0.01

    def to(self, base: str, kind: str, options: str) -> Any:
        if kind not in self._made:
            cls = anthropic.AsyncAnthropic if kind == "async" else anthropic.Anthropic
            self._made[kind] = cls(api_key="none", max_retries=0, timeout=20)
        return self._made[kind].with_options(base_url=base, max_retries=2 if "fail" in options else 0)

    async def close(self) -> None:
        for client in self._made.values():
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed


def start(client: Any, record: dict[str, Any]) -> Any:
    """Issue the call as it was recorded."""
    api, last, body = record["api"], path_of(record), fields_of(record)
    beta = "beta." if ".beta." in record["sdk"]["call"] else ""
    if api == "complete":
        # anthropic 2 has no method for it any more.
        stream = anthropic.AsyncStream if isinstance(client, anthropic.AsyncAnthropic) else anthropic.Stream
        return client.post(
            "/v1/complete", cast_to=object, body=body, stream=bool(record["stream"]), stream_cls=stream[Any]
        )
    if api == "files.content":
        return client.beta.files.download(last[-2])
    if api == "models":
        return client.models.list() if last[-1] == "models" else client.models.retrieve(last[-1])
    if api.startswith("messages.batches"):
        batches = attribute(client, f"{beta}messages.batches")
        if api.endswith("results"):
            decoder = AsyncJSONLDecoder if isinstance(client, anthropic.AsyncAnthropic) else JSONLDecoder
            kind = decoder[MessageBatchIndividualResponse]
            return client.get("/" + "/".join(last[3:]), cast_to=kind, stream=True)
        if record["method"] == "POST" and last[-1] == "batches":
            return batches.create(**known_and_extra(batches.create, body))
        return batches.list() if last[-1] == "batches" else batches.retrieve(last[-1])
    method = attribute(client, f"{beta}messages.count_tokens" if "count" in api else f"{beta}messages.create")
    try:
        return method(**known_and_extra(method, body))
    except TypeError:
        # Some bodies were refused for what they lack, and so does the method.
        return client.post("/v1/messages", cast_to=object, body=body)


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(server.base(record, options), kind, options)
    with watched() as recording:
        try:
            await consume(start(client, record))
        except anthropic.AnthropicError:
            if record["status"] < 400 and not options and "event: error" not in record["response_body"]:
                raise
        except Exception:
            # A cut connection comes out of the older streams as the transport's own error.
            if "cut" not in options:
                raise
    return recording
