"""The row of the `cohere` package, 5.x to 7.x, both versions of its API.

Its seams are `HttpClient.request`, which calls itself again for a retry, and `.stream`, a context manager.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import wraps
from typing import Any

from costguard.providers.departure import Changes, arrived, failed, given, host_of
from costguard.providers.flight import Flight, begin_call
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.usage_cohere import cohere_answer, cohere_event

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[Any], Policy | None]

_current: ContextVar[Flight | None] = ContextVar("costguard_cohere", default=None)
"""The call whose request function is running: a retry inside it is another attempt, not another call."""

_CONTEXT = "costguard_context"
"""Key in the request options of one batch of texts: the context of the caller."""


def sync_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        context = _context_in(kwargs)
        if context is not None:
            return context.run(call, self, *args, **kwargs)
        return call(self, *args, **kwargs)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = None if _is_retry(kwargs) else policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, args, kwargs, streamed=False)
        if begun is None:
            return original(self, *args, **kwargs)
        flight, changes = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        token = _current.set(flight)
        try:
            response = original(self, *args, **_depart(flight, changes, kwargs))
        except BaseException as error:
            failed(flight, error)
            raise
        finally:
            _current.reset(token)
        arrived(flight, response)
        return response

    return request


def async_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = None if _is_retry(kwargs) else policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, args, kwargs, streamed=False)
        if begun is None:
            return await original(self, *args, **kwargs)
        flight, changes = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        token = _current.set(flight)
        try:
            response = await original(self, *args, **_depart(flight, changes, kwargs))
        except BaseException as error:
            failed(flight, error)
            if flight.waits and isinstance(error, Exception):
                await flight.settled()
            raise
        finally:
            _current.reset(token)
        arrived(flight, response)
        if flight.waits:
            await flight.settled()
        return response

    return request


def sync_stream(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    @contextmanager
    def stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, args, kwargs, streamed=True)
        if begun is None:
            with original(self, *args, **kwargs) as response:
                yield response
            return
        flight, changes = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        manager = original(self, *args, **_depart(flight, changes, kwargs))
        try:
            response = manager.__enter__()
        except BaseException as error:
            failed(flight, error)
            raise
        arrived(flight, response)
        with _entered(manager):
            yield response

    return stream


def async_stream(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    @asynccontextmanager
    async def stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, args, kwargs, streamed=True)
        if begun is None:
            async with original(self, *args, **kwargs) as response:
                yield response
            return
        flight, changes = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        manager = original(self, *args, **_depart(flight, changes, kwargs))
        try:
            response = await manager.__aenter__()
        except BaseException as error:
            failed(flight, error)
            if flight.waits and isinstance(error, Exception):
                await flight.settled()
            raise
        arrived(flight, response)
        if flight.waits:
            await flight.settled()
        async with _entered(manager):
            yield response

    return stream


class _entered:
    """A context manager that has been entered already."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def __enter__(self) -> None: ...

    def __exit__(self, *error: Any) -> Any:
        return self.manager.__exit__(*error)

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: Any) -> Any:
        return await self.manager.__aexit__(*error)


def carrying(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wraps `Client.embed`, which sends its texts in batches from the threads of a pool, where tags are lost."""

    @wraps(original)
    def embed(self: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("request_options")
        if options is None or isinstance(options, dict):
            kwargs["request_options"] = {**(options or {}), _CONTEXT: copy_context()}
        return original(self, *args, **kwargs)

    return embed


def _context_in(kwargs: dict[str, Any]) -> Context | None:
    """The caller's context, a copy for each batch: one context runs in one thread at a time."""
    options = kwargs.get("request_options")
    if not isinstance(options, dict) or _CONTEXT not in options:
        return None
    context: Context = options[_CONTEXT]
    kwargs["request_options"] = {name: value for name, value in options.items() if name != _CONTEXT} or None
    return context.copy()


def _is_retry(kwargs: dict[str, Any]) -> bool:
    if not kwargs.get("retries"):
        return False
    flight = _current.get()
    if flight is not None:
        flight.call.attempts += 1
    return True


def _begin(
    row: Provider, policy: Policy, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, streamed: bool
) -> tuple[Flight, Changes] | None:
    try:
        changes = Changes()
        omit = kwargs.get("omit")
        sent = kwargs.get("json")
        form = kwargs.get("data")
        body = given(sent if isinstance(sent, dict) else form if isinstance(form, dict) else {}, omit, None)
        options = kwargs.get("request_options") or {}
        body.update(options.get("additional_body_parameters") or {})
        flight = begin_call(
            row, policy, method=kwargs.get("method", "POST"), url=(args[0] if args else kwargs.get("path")) or "",
            body=body, provider=row.at(object, host_of(client.get_base_url(kwargs.get("base_url")))),
            streamed=streamed, change=changes if isinstance(sent, dict) else None,
        )  # fmt: skip
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    return None if flight is None else (flight, changes)


def _depart(flight: Flight, changes: Changes, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments as they are to be sent: what the caller adds to the body wins over the SDK's own fields."""
    flight.sent()
    flight.call.attempts = 1
    if not changes:
        return kwargs
    altered = {**kwargs, "json": {**kwargs["json"], **changes}}
    options = kwargs.get("request_options") or {}
    more = options.get("additional_body_parameters") or {}
    if any(name in more for name in changes):
        kept = {name: changes.get(name, value) for name, value in more.items()}
        altered["request_options"] = {**options, "additional_body_parameters": kept}
    return altered


def _owner(either: Any) -> Any:
    """A client's HttpClient, or the one whose function is called."""
    wrapper = getattr(either, "_client_wrapper", None)
    return either if wrapper is None else wrapper.httpx_client


_CHAT = ("text", "tool_plan", "arguments", "thinking")

COHERE = Provider(
    "cohere",
    package="cohere",
    routes=(
        Route("v2/chat", "chat", cohere_answer, max_output=("max_tokens",), sets={"": "max_tokens"}, deltas=_CHAT,
              event=cohere_event),
        Route("(?:v1/)?(?:chat|generate)", "chat", cohere_answer, max_output=("max_tokens",),
              sets={"": "max_tokens"}, choices=("num_generations",), deltas=_CHAT, event=cohere_event, lines=True),
        Route("(?:v[12]/)?embed", "embeddings", cohere_answer, produces_output=False),
        Route("(?:v[12]/)?rerank", "rerank", cohere_answer, produces_output=False),
        Route("(?:v[12]/)?(?:classify|summarize)", "classify", cohere_answer, produces_output=False),
        Route("(?:v2/)?parse", "parse", cohere_answer, produces_output=False),
        Route("(?:v2/)?audio/transcriptions", "transcriptions", cohere_answer),
    ),
    hosts={"cohere.com": "cohere", "cohere.ai": "cohere"},
    seams=(
        Seam("cohere.core.http_client", "HttpClient.request", sync_request),
        Seam("cohere.core.http_client", "HttpClient.stream", sync_stream),
        Seam("cohere.core.http_client", "AsyncHttpClient.request", async_request),
        Seam("cohere.core.http_client", "AsyncHttpClient.stream", async_stream),
        Seam("cohere.client", "Client.embed", carrying),
    ),
    clients=("cohere.base_client.BaseCohere", "cohere.base_client.AsyncBaseCohere", "cohere.v2.client.V2Client",
             "cohere.v2.client.AsyncV2Client"),
    owner=_owner,
)  # fmt: skip
