"""The wrappers around the request function of google-genai's interactions, whose requests and answers are httpx's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from costguard.providers.attempts import counted
from costguard.providers.flight import Flight, begin_call
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider
from costguard.providers.shapes import async_request, sync_request
from costguard.providers.stainless import MARK

log = logging.getLogger("costguard.providers")

CEILING = "max_output_tokens"

PolicyOf = Callable[[Any], Policy | None]
Function = Callable[..., Any]


def do_request(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    def do_request(self: Any, hook_ctx: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, request)
        if begun is None:
            return original(self, hook_ctx, request, *args, **kwargs)
        sending, flight = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        flight.sent()
        try:
            with counted(flight):
                response = original(self, hook_ctx, sending.request, *args, **kwargs)
        except BaseException as error:
            flight.failed(error)
            raise
        _arrived(flight, response)
        return response

    return do_request


def do_request_async(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    async def do_request_async(self: Any, hook_ctx: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, request)
        if begun is None:
            return await original(self, hook_ctx, request, *args, **kwargs)
        sending, flight = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        flight.sent()
        try:
            with counted(flight):
                response = await original(self, hook_ctx, sending.request, *args, **kwargs)
        except BaseException as error:
            flight.failed(error)
            if isinstance(error, Exception) and flight.waits:
                await flight.settled()
            raise
        _arrived(flight, response)
        if flight.waits:
            await flight.settled()
        return response

    return do_request_async


def stainless_request(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    """The request function of interactions in google-genai 1.55 to 2, where a Stainless SDK is inside."""
    made = async_request if iscoroutinefunction(original) else sync_request
    # Its ceiling stands deeper in the body than can be altered there.
    routes = tuple(replace(route, max_output=(), sets={}) for route in row.routes)
    bare = Provider(row.name, row.package, routes, hosts=row.hosts)
    return made(original, bare, lambda: policy_of(None))


def stainless_attempt(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    def _build_request(client: Any, *args: Any, **kwargs: Any) -> Any:
        options = args[0] if args else kwargs.get("options")
        flight = getattr(options, "__dict__", {}).get(MARK)
        if flight is not None and flight.marked:
            flight.call.attempts += 1
        return original(client, *args, **kwargs)

    return _build_request


def interaction_event(event: dict[str, Any]) -> dict[str, Any]:
    """An event of a stream of interactions, as the meter knows events; the completed one has the usage.

    Of an interaction that takes several requests each has its own.
    """
    interaction = event.get("interaction")
    if not isinstance(interaction, dict):
        return event
    kind = str(event.get("event_type"))
    return {"type": "response.completed" if kind.startswith("interaction.complete") else kind, "response": interaction}


class _Sending:
    """The request as it will be sent."""

    __slots__ = ("_body", "request")

    def __init__(self, request: Any, body: dict[str, Any]) -> None:
        self.request = request
        self._body = body

    def change(self, **fields: Any) -> bool:
        if fields.keys() - {"model", CEILING} or not self._body:
            return False
        body = dict(self._body)
        if "model" in fields:
            if "model" not in body:
                return False
            body["model"] = fields["model"]
        if CEILING in fields:
            config = body.get("generation_config")
            body["generation_config"] = {**(config if isinstance(config, dict) else {}), CEILING: fields[CEILING]}
        before = self.request
        headers = [(name, value) for name, value in before.headers.raw if name.lower() != b"content-length"]
        self.request = type(before)(
            before.method, before.url, headers=headers, content=json.dumps(body).encode(), extensions=before.extensions
        )
        self._body = body
        return True


def _begin(row: Provider, policy: Policy, request: Any) -> tuple[_Sending, Flight] | None:
    try:
        path = request.url.path
        if row.route(request.method, path) is None:
            return None
        body = _body_of(request)
        config = body.get("generation_config")
        sending = _Sending(request, body)
        model = body.get("model") or body.get("agent")
        view = {name: value for name, value in body.items() if name != "generation_config"}
        view["model"] = model.rpartition("/")[2] if isinstance(model, str) else model
        view[CEILING] = config.get(CEILING) if isinstance(config, dict) else None
        provider = "vertex" if "/projects/" in path or "aiplatform" in request.url.host else row.name
        flight = begin_call(
            row, policy, method=request.method, url=path, body=view, provider=provider,
            streamed=body.get("stream") is True, change=sending.change,
        )  # fmt: skip
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    return None if flight is None else (sending, flight)


def _body_of(request: Any) -> dict[str, Any]:
    try:
        body = json.loads(request.content or b"{}")
    except (ValueError, RuntimeError):
        # A body that is itself a stream has no content before it is sent.
        return {}
    return body if isinstance(body, dict) else {}


def _arrived(flight: Flight, response: Any) -> None:
    status = getattr(response, "status_code", 0)
    if isinstance(status, int) and status >= 400:
        # It becomes an exception when the SDK reads it.
        flight.failed(RuntimeError(f"status {status}"), status=status)
    else:
        flight.tap(response)
