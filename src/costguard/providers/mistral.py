"""The row of the `mistralai` package, 1.x to 3.x, and its twins for Azure and Google Cloud.

Its seam is `BaseSDK.do_request`: a built httpx request goes in, an httpx response comes out; it retries inside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from costguard.providers.departure import Changes, arrived, failed, host_of
from costguard.providers.estimate import transcript_usage
from costguard.providers.flight import Flight, begin_call
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.usage_mistral import mistral_answer, ocr_answer, pages_guess, speech_guess
from costguard.providers.usage_responses import responses_answer

log = logging.getLogger("costguard.providers")

_MARK = "costguard"
"""Key in the request's extensions, which every attempt has in common."""

PolicyOf = Callable[[Any], Policy | None]


def sync_do_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def do_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, args, kwargs)
        if begun is None:
            return original(self, *args, **kwargs)
        flight, changes = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        args, kwargs, request = _depart(flight, changes, args, kwargs)
        try:
            response = original(self, *args, **kwargs)
        except BaseException as error:
            _landed(flight, request)
            failed(flight, error)
            raise
        _landed(flight, request)
        arrived(flight, response)
        return response

    return do_request


def async_do_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    async def do_request_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, args, kwargs)
        if begun is None:
            return await original(self, *args, **kwargs)
        flight, changes = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        args, kwargs, request = _depart(flight, changes, args, kwargs)
        try:
            response = await original(self, *args, **kwargs)
        except BaseException as error:
            _landed(flight, request)
            failed(flight, error)
            if flight.waits and isinstance(error, Exception):
                await flight.settled()
            raise
        _landed(flight, request)
        arrived(flight, response)
        if flight.waits:
            await flight.settled()
        return response

    return do_request_async


def count_attempt(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wraps `SDKHooks.before_request`, which runs once for every HTTP request, retries included."""

    @wraps(original)
    def before_request(self: Any, hook_ctx: Any, request: Any) -> Any:
        flight = request.extensions.get(_MARK)
        if flight is not None:
            flight.call.attempts += 1
        return original(self, hook_ctx, request)

    return before_request


def _begin(
    row: Provider, policy: Policy, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Flight, Changes] | None:
    try:
        request = args[1] if len(args) > 1 else kwargs["request"]
        streamed = (args[3] if len(args) > 3 else kwargs.get("stream", False)) is True
        body, alterable = _body_of(request)
        changes = Changes()
        flight = begin_call(
            row, policy, method=request.method, url=str(request.url), body=body,
            provider=row.at(object, host_of(request.url)), streamed=streamed, change=changes if alterable else None,
        )  # fmt: skip
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    return None if flight is None else (flight, changes)


def _body_of(request: Any) -> tuple[dict[str, Any], bool]:
    """The body of a built request, and whether it can be altered: a form with files can only be looked at."""
    kind = request.headers.get("content-type", "")
    if "json" in kind:
        body = json.loads(request.content or b"{}")
        return (body, True) if isinstance(body, dict) else ({}, False)
    parts = getattr(request.stream, "fields", ())
    return {
        part.name: part.value.decode() if isinstance(part.value, bytes) else part.value
        for part in parts
        if isinstance(getattr(part, "name", None), str) and hasattr(part, "value")
    }, False


def _depart(
    flight: Flight, changes: Changes, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    flight.sent()
    request = args[1] if len(args) > 1 else kwargs["request"]
    if changes:
        body = json.dumps({**json.loads(request.content), **changes}).encode()
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        extensions = request.extensions
        request = type(request)(request.method, request.url, headers=headers, content=body)
        request.extensions = extensions
        if len(args) > 1:
            args = (args[0], request, *args[2:])
        else:
            kwargs = {**kwargs, "request": request}
    request.extensions[_MARK] = flight
    return args, kwargs, request


def _landed(flight: Flight, request: Any) -> None:
    request.extensions.pop(_MARK, None)
    # Where its hooks are not the ones known here, it was sent once at least.
    flight.call.attempts = flight.call.attempts or 1


def _seams() -> tuple[Seam, ...]:
    found = []
    for base in ("mistralai.client", "mistralai", "mistralai.azure.client", "mistralai.gcp.client"):
        found += [
            Seam(f"{base}.basesdk", "BaseSDK.do_request", sync_do_request),
            Seam(f"{base}.basesdk", "BaseSDK.do_request_async", async_do_request),
            Seam(f"{base}._hooks.sdkhooks", "SDKHooks.before_request", count_attempt),
        ]
    return tuple(found)


_CHAT = ("content", "arguments", "text")

MISTRAL = Provider(
    "mistral",
    package="mistralai",
    routes=(
        Route("(?:chat|agents|fim)/completions", "chat", mistral_answer, max_output=("max_tokens",),
              sets={"": "max_tokens"}, choices=("n",), deltas=_CHAT),
        Route(r"[^/]+:(?:rawPredict|streamRawPredict)", "chat", mistral_answer, max_output=("max_tokens",),
              sets={"": "max_tokens"}, choices=("n",), deltas=_CHAT),
        Route("embeddings", "embeddings", mistral_answer, produces_output=False),
        Route("ocr", "ocr", ocr_answer, guess=pages_guess),
        Route("audio/transcriptions", "transcriptions", mistral_answer, guess=transcript_usage, deltas=("text",)),
        Route("audio/speech", "speech", mistral_answer, guess=speech_guess),
        Route(r"conversations(?:/[^/]+(?:/restart)?)?", "conversations", mistral_answer, deltas=_CHAT),
        Route("responses", "responses", responses_answer, max_output=("max_output_tokens",),
              sets={"": "max_output_tokens"}, deltas=("delta",)),
        Route("(?:chat/)?(?:moderations|classifications)", "moderations", mistral_answer, produces_output=False),
    ),
    hosts={"api.mistral.ai": "mistral", "models.ai.azure.com": "azure", "services.ai.azure.com": "azure",
           "aiplatform.googleapis.com": "vertex"},
    seams=_seams(),
    clients=(
        "mistralai.client.sdk.Mistral", "mistralai.sdk.Mistral", "mistralai.azure.client.sdk.MistralAzure",
        "mistralai.gcp.client.sdk.MistralGCP",
    ),
    # Shared by the client and the parts of it that make the requests.
    owner=lambda either: either.sdk_configuration.__dict__["_hooks"],
)  # fmt: skip
