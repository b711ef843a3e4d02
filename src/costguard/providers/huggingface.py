"""The row of `huggingface_hub`: its seam is `InferenceClient._inner_post`, which gives bytes or a generator of lines.

One router passes calls on to many providers, each with its own prices: the URL or the model's name says to which.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from costguard.providers.departure import Changes, failed, host_of
from costguard.providers.estimate import transcript_usage
from costguard.providers.flight import Flight, begin_call
from costguard.providers.meter import Meter
from costguard.providers.passage import async_passage, sync_passage
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.usage_huggingface import (
    embedding_guess,
    huggingface_answer,
    picture_guess,
    request_guess,
    speech_guess,
    text_guess,
)

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[Any], Policy | None]

ROUTER = "router.huggingface.co"
_POLICIES = ("fastest", "cheapest", "preferred")
"""What may stand behind a model's name instead of a provider (https://huggingface.co/docs/inference-providers)."""


def sync_post(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def _inner_post(self: Any, request_parameters: Any, *, stream: bool = False) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, request_parameters, stream)
        if begun is None:
            return original(self, request_parameters, stream=stream)
        flight, changes = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        try:
            result = original(self, _depart(flight, changes, request_parameters), stream=stream)
        except BaseException as error:
            failed(flight, error)
            raise
        if stream:
            return sync_passage(iter(result), flight, learn)
        flight.read(parsed(result))
        return result

    return _inner_post


def async_post(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    async def _inner_post(self: Any, request_parameters: Any, *, stream: bool = False) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, request_parameters, stream)
        if begun is None:
            return await original(self, request_parameters, stream=stream)
        flight, changes = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        try:
            result = await original(self, _depart(flight, changes, request_parameters), stream=stream)
        except BaseException as error:
            failed(flight, error)
            if flight.waits and isinstance(error, Exception):
                await flight.settled()
            raise
        if stream:
            return async_passage(result, flight, learn)
        flight.read(parsed(result))
        if flight.waits:
            await flight.settled()
        return result

    return _inner_post


def parsed(content: Any) -> Any:
    """A body as JSON; None for audio, images and what else is none."""
    if not isinstance(content, (bytes, str)) or content[:1] not in (b"{", b"[", "{", "["):
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None


def learn(meter: Meter, line: Any) -> None:
    """Read one line of an event stream, without its end: text, or bytes from huggingface_hub before 1.0."""
    data = line.encode() if isinstance(line, str) else line
    if isinstance(data, bytes) and data.startswith(b"data:"):
        meter.feed(data.strip() + b"\n\n")


def _begin(row: Provider, policy: Policy, asked: Any, stream: bool) -> tuple[Flight, Changes] | None:
    try:
        sent = asked.json if isinstance(asked.json, dict) else {}
        changes = Changes()
        model, provider = _where(row, str(asked.url), sent.get("model") or asked.model)
        flight = begin_call(
            row, policy, method="post", url=f"/{asked.task}", body={**sent, "model": model}, provider=provider,
            streamed=stream is True, change=changes if isinstance(asked.json, dict) else None,
        )  # fmt: skip
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    return None if flight is None else (flight, changes)


def _where(row: Provider, url: str, model: Any) -> tuple[Any, str]:
    """The model's name without its provider, and who is going to be paid: "huggingface_together" through the router,
    "together" with a key of the app's own."""
    name, _, chosen = model.partition(":") if isinstance(model, str) and "://" not in model else ("", "", "")
    host = host_of(url)
    if host == ROUTER:
        first = urlsplit(url).path.strip("/").partition("/")[0]
        provider = chosen if first in ("v1", "") else first
        routed = row.name if provider in ("", *_POLICIES, "auto") else f"{row.name}_{provider}"
        return name or model, routed
    return model, row.at(object, host)


def _depart(flight: Flight, changes: Changes, asked: Any) -> Any:
    flight.sent()
    flight.call.attempts = 1
    if not changes:
        return asked
    from dataclasses import replace

    body = dict(asked.json)
    for name, value in changes.items():
        if name == "max_new_tokens":
            body["parameters"] = {**(body.get("parameters") or {}), name: value}
        else:
            body[name] = value
    return replace(asked, json=body)


HUGGINGFACE = Provider(
    "huggingface",
    package="huggingface_hub",
    # By task: the paths are each provider's own.
    routes=(
        Route("conversational", "chat", huggingface_answer, max_output=("max_tokens",), sets={"": "max_tokens"},
              choices=("n",), deltas=("content", "arguments", "reasoning"), inject=False),
        Route("text-generation", "completions", huggingface_answer, max_output=("max_new_tokens", "max_tokens"),
              guess=text_guess),
        Route("feature-extraction", "embeddings", huggingface_answer, produces_output=False, guess=embedding_guess),
        Route("(?:text-to-image|image-to-image)", "images", huggingface_answer, guess=picture_guess),
        Route("automatic-speech-recognition", "transcriptions", huggingface_answer, guess=transcript_usage),
        Route("text-to-speech", "speech", huggingface_answer, guess=speech_guess),
        Route("[a-z0-9-]+", "inference", huggingface_answer, produces_output=False, guess=request_guess),
    ),
    hosts={
        "api.together.xyz": "together", "api.groq.com": "groq", "api.cerebras.ai": "cerebras",
        "api.cohere.com": "cohere", "api.fireworks.ai": "fireworks", "api.openai.com": "openai",
        "api.novita.ai": "novita", "api.studio.nebius.ai": "nebius", "api.sambanova.ai": "sambanova",
        "api.hyperbolic.xyz": "hyperbolic", "fal.run": "fal-ai", "api.replicate.com": "replicate",
    },
    seams=(
        Seam("huggingface_hub.inference._client", "InferenceClient._inner_post", sync_post),
        Seam("huggingface_hub.inference._generated._async_client", "AsyncInferenceClient._inner_post", async_post),
    ),
    clients=(
        "huggingface_hub.inference._client.InferenceClient",
        "huggingface_hub.inference._generated._async_client.AsyncInferenceClient",
    ),
)  # fmt: skip
