"""The recordings of `google-genai`, for the Gemini API and Vertex AI."""

from __future__ import annotations

import inspect
import re
from typing import Any

from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from tests.providers.calling import fields_of, path_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")
_APIS = frozenset((
    "generateContent", "streamGenerateContent", "batchEmbedContents", "embedContent", "countTokens", "predict",
    "cachedContents.create", "interactions", "models",
))  # fmt: skip
_RETRIES = types.HttpRetryOptions(attempts=3, initial_delay=0.01, max_delay=0.02, jitter=0.01, exp_base=1)


def takes(record: dict[str, Any]) -> bool:
    return record["sdk"]["package"] == "google-genai" and record["api"] in _APIS


class Clients:
    """The clients of one event loop, one for each API; interactions know their address from their client alone."""

    def __init__(self) -> None:
        self._made: list[Any] = []
        self._known: dict[bool, Any] = {}

    def to(self, record: dict[str, Any], base: str, options: str) -> Any:
        vertex = record["provider"] == "vertex"
        if record["api"] == "interactions":
            return self._new(vertex, types.HttpOptions(base_url=base, retry_options=_retries(options)))
        if vertex not in self._known:
            self._known[vertex] = self._new(vertex, None)
        return self._known[vertex]

    def _new(self, vertex: bool, options: Any) -> Any:
        more: dict[str, Any] = {"http_options": options} if options else {}
        if vertex:
            more |= {"vertexai": True, "project": "p", "location": "global", "credentials": Credentials(token="none")}
        else:
            more["api_key"] = "none"
        client = genai.Client(**more)
        self._made.append(client)
        return client

    async def close(self) -> None:
        for client in self._made:
            await client.aio.aclose()
            client.close()


def _retries(options: str) -> Any:
    return _RETRIES if "fail" in options else None


def start(client: Any, record: dict[str, Any], base: str, options: str) -> Any:
    """Issue the call as it was recorded: its contents as the method takes them, the rest as `extra_body`."""
    api, body = record["api"], fields_of(record)
    found = re.search(r"models/([^/:?]+)", record["url"])
    model = found[1] if found else body.get("model") or "none"

    def http(extra: dict[str, Any] | None = None) -> Any:
        return types.HttpOptions(base_url=base, extra_body=extra, retry_options=_retries(options))

    if api == "interactions":
        return client.interactions.create(**body)
    if api == "models":
        last = path_of(record)[-1]
        return client.models.list(config={"http_options": http()}) if last == "models" else client.models.get(
            model=last, config={"http_options": http()}
        )  # fmt: skip
    if api == "cachedContents.create":
        rest = {name: value for name, value in body.items() if name != "model"}
        return client.caches.create(model=body["model"], config={"http_options": http(rest)})
    if api in ("batchEmbedContents", "embedContent", "predict"):
        return client.models.embed_content(model=model, contents="text", config={"http_options": http(body)})
    if api == "countTokens":
        return client.models.count_tokens(model=model, contents="text", config={"http_options": http(body)})
    method = client.models.generate_content_stream if record["stream"] else client.models.generate_content
    return method(model=model, contents="text", config={"http_options": http(body)})


async def _each(answer: Any) -> None:
    if hasattr(answer, "__aiter__"):
        async for _ in answer:
            pass
    else:
        for _ in answer:
            pass


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    base = server.base(record, options)
    client = clients.to(record, base, options)
    with watched() as recording:
        try:
            answer = start(client.aio if kind == "async" else client, record, base, options)
            answer = await answer if inspect.isawaitable(answer) else answer
            if record["stream"]:
                await _each(answer)
        except errors.APIError:
            if record["status"] < 400 and not options:
                raise
        except Exception:
            # The SDK cannot read numbers for the names of enumerations; a cut is an error of its transport.
            if not recording.settled and record["status"] < 400:
                raise
    return recording
