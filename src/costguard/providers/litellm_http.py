"""The requests that LiteLLM makes by itself, with httpx: those to most providers but OpenAI.

The row of the provider's own SDK reads them, found by host or path. What no row knows is no call to a provider.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any
from urllib.parse import unquote, urlsplit

from costguard.providers.anthropic import ANTHROPIC
from costguard.providers.bedrock import BEDROCK
from costguard.providers.cohere import COHERE
from costguard.providers.flight import Flight, begin_call
from costguard.providers.google import GOOGLE
from costguard.providers.mistral import MISTRAL
from costguard.providers.ollama import OLLAMA
from costguard.providers.openai import OPENAI
from costguard.providers.options import READABLE
from costguard.providers.outer import Outer
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route
from costguard.providers.site import place_of, takes_usage
from costguard.providers.usage import Answer

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[Any], Policy | None]

_BY_HOST = (ANTHROPIC, MISTRAL, COHERE, OLLAMA, OPENAI)
_BY_PATH = (ANTHROPIC, GOOGLE, OLLAMA, OPENAI, COHERE)
"""The first that knows the path, where no row knows the host."""

_MODEL = re.compile(r"/(?:models?|deployments)/([^/:?]+)")
_ELSEWHERE: tuple[tuple[re.Pattern[str], Provider, str, str], ...] = (
    (re.compile(r"/publishers/anthropic/models/[^/]+:(?:streamR|r)awPredict$"), ANTHROPIC, "vertex", "v1/messages"),
    (re.compile(r"/model/[^/]*anthropic[^/]*/invoke(?:-with-response-stream)?$"), ANTHROPIC, "bedrock", "v1/messages"),
    (re.compile(r"/model/[^/]+/converse(?:-stream)?$"), BEDROCK, "bedrock", "Converse/text"),
    (re.compile(r"/model/[^/]*embed[^/]*/invoke$"), BEDROCK, "bedrock", "InvokeModel/embeddings"),
    (re.compile(r"/model/[^/]+/invoke(?:-with-response-stream)?$"), BEDROCK, "bedrock", "InvokeModel/text"),
)
"""Paths by which others serve an API, or that a row knows otherwise; with who serves it, and the row's path."""


def _by_event(row: Provider, field: str) -> Provider:
    """A row whose streams are read by the last event that has `field`, as whole answers are."""

    def telling(route: Route) -> Route:
        def event(event: dict[str, Any]) -> dict[str, Any]:
            return {"usage": event} if event.get(field) is not None else event

        def read(found: Any) -> Answer:
            return route.read(found["usage"] if isinstance(found, dict) and "usage" in found else found)

        return replace(route, event=event, read=read, lines=True)

    return Provider(row.name, row.package, tuple(map(telling, row.routes)), free=row.free, hosts=row.hosts)


_STREAMED = {id(GOOGLE): _by_event(GOOGLE, "usageMetadata"), id(OLLAMA): _by_event(OLLAMA, "eval_count")}
"""Rows whose SDKs hand on streams in another way than as bytes."""


def sync_post(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap `HTTPHandler.post`."""

    @wraps(original)
    def post(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        request = Request(args, kwargs)
        flight = None if policy is None else _begin(policy, self, request)
        if flight is None:
            return original(self, *args, **kwargs)
        flight.policy.reserve(flight.call)
        flight.sent()
        flight.call.attempts = 1
        try:
            response = original(self, *request.args, **request.kwargs)
        except BaseException as error:
            flight.failed(_cause(error))
            raise
        flight.tap(response)
        return response

    return post


def async_post(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap `AsyncHTTPHandler.post`."""

    @wraps(original)
    async def post(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        request = Request(args, kwargs)
        flight = None if policy is None else _begin(policy, self, request)
        if flight is None:
            return await original(self, *args, **kwargs)
        flight.is_async = True
        await flight.policy.reserve_async(flight.call)
        flight.sent()
        flight.call.attempts = 1
        try:
            response = await original(self, *request.args, **request.kwargs)
        except BaseException as error:
            flight.failed(_cause(error))
            if isinstance(error, Exception) and flight.waits:
                await flight.settled()
            raise
        flight.tap(response)
        if flight.waits:
            await flight.settled()
        return response

    return post


class Request:
    """The arguments of `post`: those of a caller's that are read or altered; what is altered is sent instead."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs

    @property
    def url(self) -> str:
        return str(self._given("url", 0))

    @property
    def streamed(self) -> bool:
        return self.kwargs.get("stream") is True

    def body(self) -> dict[str, Any]:
        given = self._given("json", 2) or self._given("data", 1) or self.kwargs.get("content")
        if isinstance(given, str | bytes):
            given = json.loads(given)
        return given if isinstance(given, dict) else {}

    def ask_for_usage(self, body: dict[str, Any]) -> bool:
        """Have a stream end with its usage; False if it was asked to already, or cannot be."""
        options = body.get("stream_options")
        options = options if isinstance(options, dict) else {}
        data = self.kwargs.get("data")
        if options.get("include_usage") or not isinstance(data, str | bytes):
            return False
        self.kwargs["data"] = json.dumps({**body, "stream_options": {**options, "include_usage": True}})
        return True

    def ask_for_readable(self) -> None:
        """No encoding that the tap cannot undo."""
        headers = self.kwargs.get("headers")
        if isinstance(headers, dict) and not any(str(name).lower() == "accept-encoding" for name in headers):
            self.kwargs["headers"] = {**headers, "Accept-Encoding": READABLE}

    def _given(self, name: str, position: int) -> Any:
        return self.args[position] if len(self.args) > position else self.kwargs.get(name)


def _begin(policy: Policy, handler: Any, request: Request) -> Flight | None:
    try:
        parts = urlsplit(request.url)
        host, path = parts.hostname or "", parts.path
        found = _endpoint(host, path, policy.asked if isinstance(policy, Outer) else "")
        if found is None:
            return None
        row, provider, endpoint = found
        given = body = request.body()
        if "model" not in body:
            model = _MODEL.search(path)
            body = {**body, "model": unquote(model[1])} if model else body
        streamed = request.streamed
        hide = False
        if streamed:
            row = _STREAMED.get(id(row), row)
            route = row.route("post", endpoint)
            asks = route is not None and route.inject and takes_usage(row, host, parts.port)
            hide = asks and request.ask_for_usage(given)
            request.ask_for_readable()
    except Exception:
        log.exception("costguard cannot read a request of LiteLLM's and lets it pass unseen")
        return None
    flight = begin_call(
        row, policy, method="post", url=endpoint, body=body, provider=provider, streamed=streamed, hide=hide
    )
    if flight is not None:
        flight.place = place_of(row, provider, host)
    return flight


def _endpoint(host: str, path: str, asked: str) -> tuple[Provider, str, str] | None:
    """Whose API it is, who serves it, and the path by which the row knows it."""
    for pattern, row, provider, endpoint in _ELSEWHERE:
        if pattern.search(path):
            return row, provider, endpoint
    for row in _BY_HOST:
        if any(host == end or host.endswith("." + end) for end in row.hosts) and row.route("post", path) is not None:
            return row, row.at(object, host), path
    for row in _BY_HOST:
        if row.name == asked and row.route("post", path) is not None:
            return row, asked, path
    for row in _BY_PATH:
        if row.route("post", path) is not None:
            vertex = row is GOOGLE and host.endswith("aiplatform.googleapis.com")
            return row, "vertex" if vertex else row.name, path
    return None


def _cause(error: BaseException) -> BaseException:
    """LiteLLM's `Timeout` says 408, as if the provider had answered: it may have been billed."""
    return error.__context__ or error if type(error).__name__ == "Timeout" else error
