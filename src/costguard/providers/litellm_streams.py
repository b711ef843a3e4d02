"""Streams of LiteLLM that begin their request when they are first read, or whose request no seam sees.

Most streams are metered where their bytes come in. Those of Gemini are asked for at the first chunk; those of a
custom provider come from anywhere, and are read by their chunks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from costguard.providers.body import ended_by
from costguard.providers.collected import tell, watch
from costguard.providers.meter import End, Meter
from costguard.providers.outer import Outer, running
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider

log = logging.getLogger("costguard.providers")

_WATCH = "_costguard_watch"

PolicyOf = Callable[[Any], Policy | None]


class Watch:
    """Looks at one `CustomStreamWrapper`, until a call inside it is seen."""

    def __init__(self, outer: Outer) -> None:
        self.on = False
        self._outer = outer
        self._meter: Meter | None = None

    def begin(self) -> None:
        """The function has returned, and no request was seen."""
        watch()
        self.on = True

    def seen(self) -> bool:
        """Whether a seam sees the request now: then this is over."""
        if self.on and self._outer.seen:
            self.on = False
        return not self.on

    def took(self, chunk: Any) -> None:
        """A chunk of a stream that nobody else reads."""
        try:
            if self._meter is None:
                self._outer.call.attempts = 1
                self._meter = self._outer.flight.meter("text/event-stream")
            self._meter.feed(b"data: %b\n\n" % chunk.model_dump_json(exclude_none=True).encode())
        except Exception:
            log.exception("costguard cannot read a chunk of a stream of %s", self._outer.call.model)

    def end(self, how: End) -> None:
        if not self.on:
            return
        self.on = False
        if self._meter is not None:
            self._meter.end(how)
        else:
            # Nothing was asked of any provider.
            self._outer.free(is_async=False)

    def __del__(self) -> None:
        if self.on:
            tell(lambda: self.end("closed"))


def init(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap `CustomStreamWrapper.__init__`: a stream that is made inside of an outer call is watched."""

    @wraps(original)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        outer = running()
        # Router's own kinds read one of these.
        if outer is not None and type(self).__name__ == "CustomStreamWrapper":
            outer.watch = self.__dict__[_WATCH] = Watch(outer)

    return made


def sync_next(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap `CustomStreamWrapper.__next__`."""

    @wraps(original)
    def read(self: Any) -> Any:
        watched = self.__dict__.get(_WATCH)
        if watched is None or not watched.on:
            return original(self)
        outer = watched._outer
        try:
            with outer.running():
                chunk = original(self)
        except StopIteration:
            _ended(watched, "ok")
            raise
        except BaseException as error:
            _ended(watched, ended_by(error))
            raise
        if watched.seen():
            outer.returned(is_async=False)
        else:
            watched.took(chunk)
        return chunk

    return read


def async_next(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    """Wrap `CustomStreamWrapper.__anext__`."""

    @wraps(original)
    async def read(self: Any) -> Any:
        watched = self.__dict__.get(_WATCH)
        if watched is None or not watched.on:
            return await original(self)
        outer = watched._outer
        try:
            with outer.running():
                chunk = await original(self)
        except StopAsyncIteration:
            _ended(watched, "ok")
            raise
        except BaseException as error:
            _ended(watched, ended_by(error))
            raise
        if watched.seen():
            waiter = outer.returned(is_async=True)
            if waiter is not None:
                await waiter()
        else:
            watched.took(chunk)
        return chunk

    return read


def _ended(watched: Watch, how: End) -> None:
    if watched.seen():
        watched._outer.returned(is_async=False)
    else:
        watched.end(how)
