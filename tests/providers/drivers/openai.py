"""The recordings of `openai`, and of those who speak its protocol."""

from __future__ import annotations

import inspect
from typing import Any

import openai
import openai._base_client

from tests.providers.calling import attribute, consume, fields_of, known_and_extra, path_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async")

_METHODS = {
    "chat.completions": "chat.completions.create",
    "completions": "completions.create",
    "responses": "responses.create",
    "responses.compact": "responses.compact",
    "responses.input_tokens": "responses.input_tokens.count",
    "embeddings": "embeddings.create",
    "images.generate": "images.generate",
    "moderations": "moderations.create",
}
_SPECIAL = frozenset((
    "responses.retrieve", "threads.runs.create", "threads.runs.retrieve", "audio.transcriptions",
    "audio.translations", "audio.speech", "images.edit", "files.content", "models", "batches", "rerank",
))  # fmt: skip


def takes(record: dict[str, Any]) -> bool:
    package = str(record["sdk"]["package"])
    return (package == "openai" or "openai with base_path" in package) and record["api"] in _SPECIAL | set(_METHODS)


class Clients:
    """The clients of one event loop; each call gets a copy that goes to its own address."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Any] = {}
        # Two retries wait a second and more otherwise.
        openai._base_client.INITIAL_RETRY_DELAY = 0.01

    def to(self, record: dict[str, Any], base: str, kind: str, options: str) -> Any:
        name = "AzureOpenAI" if record["sdk"]["call"].startswith("AzureOpenAI") else "OpenAI"
        if (name, kind) not in self._made:
            more: dict[str, Any] = {"api_key": "none", "max_retries": 0, "timeout": 20}
            if name == "AzureOpenAI":
                more |= {"azure_endpoint": "http://127.0.0.1", "api_version": "2024-06-01"}
            self._made[name, kind] = getattr(openai, ("Async" if kind == "async" else "") + name)(**more)
        made = self._made[name, kind].with_options(base_url=base + ("/openai" if name == "AzureOpenAI" else ""))
        return made.with_options(max_retries=2) if "fail" in options else made

    async def close(self) -> None:
        for client in self._made.values():
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed


def start(client: Any, record: dict[str, Any]) -> Any:
    """Issue the call as it was recorded."""
    api, last, body = record["api"], path_of(record), fields_of(record)
    if api in _SPECIAL:
        return _start_special(client, record, api, last, body)
    method = attribute(client, _METHODS[api])
    if record["provider"] == "azure":
        # In recordings of deployments the model is in the path alone; the method wants to be told.
        body = {"model": record["ground_truth"]["model_requested"], **body}
    try:
        return method(**known_and_extra(method, body))
    except TypeError:
        # Some bodies were refused for what they lack, and so does the method.
        return client.post("/" + _METHODS[api].removesuffix(".create").replace(".", "/"), cast_to=object, body=body)


def _start_special(client: Any, record: dict[str, Any], api: str, last: list[str], body: dict[str, Any]) -> Any:
    if api == "responses.retrieve":
        return client.responses.retrieve(last[-1], stream=record["stream"])
    if api == "threads.runs.create":
        runs = client.beta.threads.runs
        return runs.create(last[-2], **known_and_extra(runs.create, body))
    if api == "threads.runs.retrieve":
        return client.beta.threads.runs.retrieve(last[-1], thread_id=last[-3])
    if api == "audio.speech":
        known = {"voice": "alloy", **body}
        return client.audio.speech.create(**known_and_extra(client.audio.speech.create, known))
    if api.startswith("audio"):
        method = client.audio.translations if "translations" in api else client.audio.transcriptions
        known = {"model": "whisper-1", **body, "stream": record["stream"], "file": ("a.wav", b"RIFF")}
        return method.create(**known_and_extra(method.create, {k: v for k, v in known.items() if v is not False}))
    if api == "images.edit":
        known = {name: value for name, value in body.items() if name not in ("images", "image")}
        return client.images.edit(image=("a.png", b"png"), **known_and_extra(client.images.edit, known))
    if api == "files.content":
        return client.files.content(last[-2])
    if api == "models":
        return client.models.list() if last[-1] == "models" else client.models.retrieve(last[-1])
    if api == "batches":
        if record["method"] == "POST":
            try:
                return client.batches.create(**known_and_extra(client.batches.create, body))
            except TypeError:
                return client.post("/batches", cast_to=object, body=body)
        return client.batches.list() if last[-1] == "batches" else client.batches.retrieve(last[-1])
    return client.post("/" + api, cast_to=object, body=body)


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    client = clients.to(record, server.base(record, options), kind, options)
    with watched() as recording:
        try:
            await consume(start(client, record))
        except openai.OpenAIError:
            if record["status"] < 400 and not options and '"error"' not in record["response_body"]:
                raise
        except Exception:
            # A cut connection comes out of the older streams as the transport's own error.
            if "cut" not in options:
                raise
    return recording
