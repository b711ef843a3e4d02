"""The row of the `ollama` package: its seam is `Client._request`, which gives models, or a generator of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from costguard.providers.departure import Changes, failed, host_of
from costguard.providers.flight import Flight, begin_call
from costguard.providers.meter import Meter
from costguard.providers.passage import async_passage, sync_passage
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.usage import fields
from costguard.providers.usage_ollama import ollama_answer

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[Any], Policy | None]

CLOUD = "ollama-cloud"
"""Ollama's own machines: they have a price, which is in no list; what runs at home costs nothing by the token."""


def sync_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def _request(self: Any, cls: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, args, kwargs)
        if begun is None:
            return original(self, cls, *args, **kwargs)
        flight, changes = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        kwargs = _depart(flight, changes, kwargs)
        try:
            result = original(self, cls, *args, **kwargs)
        except BaseException as error:
            flight.call.attempts = 1
            failed(flight, error)
            raise
        if kwargs.get("stream"):
            return sync_passage(result, flight, learn)
        flight.read(result)
        return result

    return _request


def async_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    async def _request(self: Any, cls: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, args, kwargs)
        if begun is None:
            return await original(self, cls, *args, **kwargs)
        flight, changes = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        kwargs = _depart(flight, changes, kwargs)
        try:
            result = await original(self, cls, *args, **kwargs)
        except BaseException as error:
            flight.call.attempts = 1
            failed(flight, error)
            if flight.waits and isinstance(error, Exception):
                await flight.settled()
            raise
        if kwargs.get("stream"):
            return async_passage(result, flight, learn)
        flight.read(result)
        if flight.waits:
            await flight.settled()
        return result

    return _request


def learn(meter: Meter, part: Any) -> None:
    """Read one part of a stream; the last one says `done` and has the counts of all."""
    said = fields(part)
    message = fields(said.get("message"))
    for text in (said.get("response"), said.get("thinking"), message.get("content"), message.get("thinking")):
        if type(text) is str and text:
            meter.deltas.size += len(text.encode("utf-8", "replace"))
            meter.deltas.count += 1
    for call in message.get("tool_calls") or ():
        meter.deltas.size += len(str(fields(fields(call).get("function")).get("arguments") or ""))
        meter.deltas.count += 1
    meter.found["model"] = said.get("model")
    if said.get("done"):
        for name in ("prompt_eval_count", "eval_count"):
            meter.found[name] = said.get(name)
        meter.whole = True
        meter.end("ok")


def _begin(
    row: Provider, policy: Policy, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Flight, Changes] | None:
    try:
        sent = kwargs.get("json")
        if not isinstance(sent, dict):
            return None
        changes = Changes()
        host = host_of(client._client.base_url)
        flight = begin_call(
            row, policy, method=args[0], url=args[1], body=_seen(sent), provider=_provider(row, host, sent),
            streamed=bool(kwargs.get("stream")), change=changes,
        )  # fmt: skip
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    return None if flight is None else (flight, changes)


def _provider(row: Provider, host: str, sent: dict[str, Any]) -> str:
    """A local server passes models with "cloud" in their tag on to Ollama's (https://docs.ollama.com/cloud)."""
    model = sent.get("model")
    tag = model.rpartition(":")[2] if isinstance(model, str) else ""
    return CLOUD if tag == "cloud" or tag.endswith("-cloud") else row.at(object, host)


def _seen(sent: dict[str, Any]) -> dict[str, Any]:
    """A body as the estimate reads it: its options beside the rest, its images as parts and not as text."""
    options = sent.get("options")
    seen = {name: value for name, value in sent.items() if name not in ("options", "images")}
    if isinstance(options, dict):
        seen |= {name: value for name, value in options.items() if name not in seen}
    if sent.get("images"):
        seen["parts"] = [{"type": "image"} for _ in sent["images"]]
    messages = sent.get("messages")
    if isinstance(messages, list) and any(isinstance(each, dict) and each.get("images") for each in messages):
        seen["messages"] = [
            {**each, "images": [{"type": "image"} for _ in each["images"]]}
            if isinstance(each, dict) and each.get("images")
            else each
            for each in messages
        ]
    return seen


def _depart(flight: Flight, changes: Changes, kwargs: dict[str, Any]) -> dict[str, Any]:
    flight.sent()
    if not changes:
        return kwargs
    sent = {**kwargs["json"], **{name: value for name, value in changes.items() if name == "model"}}
    options = {name: value for name, value in changes.items() if name != "model"}
    if options:
        sent["options"] = {**(sent.get("options") or {}), **options}
    return {**kwargs, "json": sent}


OLLAMA = Provider(
    "ollama",
    package="ollama",
    routes=(
        Route("api/(?:chat|generate)", "chat", ollama_answer, max_output=("num_predict",), sets={"": "num_predict"}),
        Route("api/(?:embed|embeddings)", "embeddings", ollama_answer, produces_output=False),
    ),
    hosts={"ollama.com": CLOUD},
    seams=(
        Seam("ollama._client", "Client._request", sync_request),
        Seam("ollama._client", "AsyncClient._request", async_request),
    ),
    clients=("ollama._client.Client", "ollama._client.AsyncClient"),
)
