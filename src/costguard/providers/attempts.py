"""Counting the HTTP attempts of a call in the function of an SDK that makes them, retries included.

The call is known there by the context; SDKs that send from another thread take the context with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from costguard.providers.policy import Policy

if TYPE_CHECKING:
    from costguard.providers.flight import Flight
    from costguard.providers.rows import Provider

_flying: ContextVar[Flight | None] = ContextVar("costguard_flying", default=None)


@contextmanager
def counted(flight: Flight) -> Iterator[None]:
    """The attempts made inside are those of this call. Never over a `yield` of a stream."""
    token = _flying.set(flight)
    try:
        yield
    finally:
        _flying.reset(token)


def attempt(
    original: Callable[..., Any], *, row: Provider, policy_of: Callable[[Any], Policy | None]
) -> Callable[..., Any]:
    """Wrap the function, sync or async, that is called once for each attempt."""

    @wraps(original)
    def once(*args: Any, **kwargs: Any) -> Any:
        count_attempt()
        return original(*args, **kwargs)

    @wraps(original)
    async def once_async(*args: Any, **kwargs: Any) -> Any:
        count_attempt()
        return await original(*args, **kwargs)

    # Who retries it may look whether it is a coroutine function.
    return once_async if iscoroutinefunction(original) else once


def count_attempt() -> None:
    """One more of the call that is being made in this context, if there is one."""
    flight = _flying.get()
    if flight is not None:
        flight.call.attempts += 1
