"""The functions of LiteLLM that an app calls, and those of its Router: the policy is asked here, see `outer`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from costguard.providers.flight import begin_call
from costguard.providers.litellm_names import host_free, named, renamed
from costguard.providers.outer import Outer, Waiter, running
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider

PolicyOf = Callable[[Any], Policy | None]

_UNASKED = ("mock_response", "mock_tool_calls")
"""Arguments with which LiteLLM answers by itself."""

_INNER = ("acompletion", "aembedding", "atext_completion", "aimg_generation", "atranscription", "aspeech", "arerank")
"""Set by an async function of LiteLLM's that calls the plain one, which then gives something to await."""


def sync_call(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf, path: str) -> Callable[..., Any]:
    """Wrap a plain function of LiteLLM, one for the endpoint of `path`."""
    names = _positional(original)

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        policy = policy_of(None)
        if policy is None or any(kwargs.get(name) for name in _INNER):
            return original(*args, **kwargs)
        sent = _by_name(names, args, kwargs)
        outer = None if sent is None else _begin(row, policy, path, None, sent)
        if outer is None or sent is None:
            return original(*args, **kwargs)
        return _run(outer, original, (), sent)

    return call


def async_call(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf, path: str) -> Callable[..., Any]:
    """Wrap a coroutine function of LiteLLM."""
    names = _positional(original)

    @wraps(original)
    async def call(*args: Any, **kwargs: Any) -> Any:
        policy = policy_of(None)
        sent = None if policy is None else _by_name(names, args, kwargs)
        outer = None if sent is None or policy is None else _begin(row, policy, path, None, sent)
        if outer is None or sent is None:
            return await original(*args, **kwargs)
        return await _run_async(outer, original, (), sent)

    return call


def sync_route(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap `Router.function_with_fallbacks`: every plain method of the Router goes through it, its retries inside."""

    @wraps(original)
    def route(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        path = None if policy is None else _path_of(kwargs)
        outer = None if path is None or policy is None else _begin(row, policy, path, self, kwargs)
        if outer is None:
            return original(self, *args, **kwargs)
        return _run(outer, original, (self, *args), kwargs)

    return route


def async_route(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap `Router.async_function_with_fallbacks`."""

    @wraps(original)
    async def route(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        path = None if policy is None else _path_of(kwargs)
        outer = None if path is None or policy is None else _begin(row, policy, path, self, kwargs)
        if outer is None:
            return await original(self, *args, **kwargs)
        return await _run_async(outer, original, (self, *args), kwargs)

    return route


def carried(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap the Router's `run_async_function`, whose thread has a context of its own."""

    @wraps(original)
    def run_async_function(async_function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        outer = running()
        if outer is None:
            return original(async_function, *args, **kwargs)

        async def inside(*args: Any, **kwargs: Any) -> Any:
            with outer.entered():
                return await async_function(*args, **kwargs)

        return original(inside, *args, **kwargs)

    return run_async_function


def _begin(row: Provider, policy: Policy, path: str, router: Any, sent: dict[str, Any]) -> Outer | None:
    """None where an outer call runs already, or costs nothing."""
    (provider, model), learn = named(router, sent)
    if isinstance(policy, Outer):
        policy.asked = host_free(provider)
        return None
    asked = sent.get("model")

    def change(**fields: Any) -> bool:
        if "model" in fields:
            name = renamed(router, asked, fields["model"])
            if name is None:
                return False
            fields["model"] = name
            # What answers is not what the caller's name for it means.
            outer.learn = None
        sent.update(fields)
        return True

    flight = begin_call(
        row, policy, method="post", url=path, body={**sent, "model": model}, provider=provider,
        streamed=sent.get("stream") is True, change=change,
    )  # fmt: skip
    if flight is None:
        return None
    outer = Outer(flight, learn)
    outer.asked = host_free(provider)
    return outer


def _run(outer: Outer, original: Callable[..., Any], args: tuple[Any, ...], sent: dict[str, Any]) -> Any:
    outer.policy.reserve(outer.call)
    outer.flight.sent()
    try:
        with outer.running():
            result = original(*args, **sent)
    except BaseException as error:
        _failed(outer, error)
        raise
    _arrived(outer, result, sent, is_async=False)
    return result


async def _run_async(outer: Outer, original: Callable[..., Any], args: tuple[Any, ...], sent: dict[str, Any]) -> Any:
    outer.flight.is_async = True
    await outer.policy.reserve_async(outer.call)
    outer.flight.sent()
    try:
        with outer.running():
            result = await original(*args, **sent)
    except BaseException as error:
        waiter = _failed(outer, error)
        if waiter is not None and isinstance(error, Exception):
            await waiter()
        raise
    waiter = _arrived(outer, result, sent, is_async=True)
    if waiter is not None:
        await waiter()
    return result


def _failed(outer: Outer, error: BaseException) -> Waiter | None:
    outer.watch = None
    if outer.seen:
        return outer.returned(is_async=outer.flight.is_async)
    outer.flight.failed(error)
    return outer.flight.settled if outer.flight.waits else None


def _arrived(outer: Outer, result: Any, sent: dict[str, Any], *, is_async: bool) -> Waiter | None:
    watch, outer.watch = outer.watch, None
    if outer.seen:
        return outer.returned(is_async=is_async)
    if _from_cache(result) or any(sent.get(name) for name in _UNASKED):
        return outer.free(is_async=is_async)
    if watch is not None:
        watch.begin()
        return None
    outer.call.attempts = 1
    outer.flight.read(result)
    return outer.flight.settled if outer.flight.waits else None


def _from_cache(result: Any) -> bool:
    if getattr(result, "custom_llm_provider", None) == "cached_response":
        return True
    hidden = getattr(result, "_hidden_params", None)
    return isinstance(hidden, dict) and hidden.get("cache_hit") is True


def _positional(function: Callable[..., Any]) -> tuple[str, ...]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(name for name, each in inspect.signature(function).parameters.items() if each.kind in kinds)


def _by_name(names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments as what can be altered; None for those that LiteLLM will complain of."""
    if len(args) > len(names) or not kwargs.keys().isdisjoint(names[: len(args)]):
        return None
    return {**dict(zip(names, args, strict=False)), **kwargs}


_PATHS = (
    ("text_completion", "completions"),
    ("completion", "chat/completions"),
    ("embedding", "embeddings"),
    ("responses", "responses"),
    ("anthropic_messages", "chat/completions"),
    ("image", "images/generations"),
    ("transcription", "audio/transcriptions"),
    ("speech", "audio/speech"),
    ("rerank", "rerank"),
)


def _path_of(kwargs: dict[str, Any]) -> str | None:
    """The endpoint that a call of the Router is for, by the name of the function that it will call in the end."""
    function = kwargs.get("original_generic_function") or kwargs.get("original_function")
    name = getattr(function, "__name__", "")
    for part, path in _PATHS:
        if part in name:
            return path
    return None
