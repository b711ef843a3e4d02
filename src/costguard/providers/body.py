"""The tap: hangs on the body of an httpx (or httpx2) response and reads usage from the bytes as they pass.

The object that the caller gets is never touched, only `response.stream`, a public attribute, is replaced by
a byte stream of the same kind that passes on everything. How it ends (read, closed, failed, cancelled,
dropped) is reported exactly once, the end that the provider announces counting first: the sync openai
client stops reading at `[DONE]`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from costguard.providers import collected
from costguard.providers.each import EachMeter
from costguard.providers.lines import LineMeter
from costguard.providers.meter import End, Meter
from costguard.providers.rows import Route
from costguard.providers.stopping import Stopped, stopping

if TYPE_CHECKING:
    from types import ModuleType


class Listener(Protocol):
    """Who is told of one body.

    stop_at: output tokens after which it ends early; None: where the provider ends it
    """

    @property
    def stop_at(self) -> int | None: ...

    def stopped(self) -> None:
        """It ends early; `ended` follows."""

    def one(self, line: dict[str, Any]) -> None:
        """Told of each line of a body of many answers."""

    def ended(self, how: End, meter: Meter) -> None:
        """Told exactly once."""

    async def settled(self) -> None:
        """Waits, at the end of an async body, until what `ended` was told is recorded."""


def tap(response: Any, route: Route, listener: Listener, *, hide: bool, is_async: bool) -> None:
    """Replace the unread body of `response` by one that tells `listener` how it ended and what it said.

    hide: take the event out that only carries usage, because the caller did not ask for it

    Raises TypeError for a response of neither httpx nor httpx2.
    """
    headers = response.headers
    kind = headers.get("content-type", "").lower()
    encoding = headers.get("content-encoding", "").strip().lower()
    meter: Meter
    if route.each:
        meter = EachMeter(route, kind, encoding, listener.ended, listener.one)
    else:
        meter = (LineMeter if route.lines else Meter)(route, kind, encoding, listener.ended, hide=hide)
    collected.watch()
    sync, asynchronous = _taps(_http_module(response))
    response.stream = (asynchronous if is_async else sync)(response.stream, meter, listener)


def _http_module(response: Any) -> ModuleType:
    for cls in type(response).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("httpx", "httpx2"):
            return sys.modules[root]
    raise TypeError(f"a {type(response).__module__}.{type(response).__qualname__} has no body that can be read")


def ended_by(error: BaseException) -> End:
    """What an exception out of a body, or out of a request, means."""
    if isinstance(error, GeneratorExit):
        return "closed"
    # asyncio's and trio's: neither may be needed to be imported here.
    return "cancelled" if type(error).__name__ in ("CancelledError", "Cancelled") else "error"


@cache
def _taps(module: ModuleType) -> tuple[type[Any], type[Any]]:
    """The two kinds of byte stream of one of the httpx packages, which check for their own base classes."""

    class Tap:
        def __init__(self, inner: Any, meter: Meter, listener: Listener) -> None:
            self._inner = inner
            self._meter = meter
            self._listener = listener

        def __getattr__(self, name: str) -> Any:
            # Others hang things on the body too: httpx2 its `elapsed`, anthropic its `stream_observer`.
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self._inner, name)

        def __del__(self) -> None:
            meter = self.__dict__.get("_meter")
            if meter is not None and not meter.ended:
                collected.tell(lambda: meter.end("closed"))

        def _feed(self) -> Callable[[bytes], bytes]:
            stop_at = self._listener.stop_at
            meter = self._meter
            return meter.feeder() if stop_at is None else stopping(meter, stop_at, self._listener.stopped)

        def _end(self, how: End) -> None:
            meter = self._meter
            if not meter.ended:
                collected.tell(lambda: meter.end(how))

    class SyncTap(Tap, module.SyncByteStream):  # type: ignore[misc,name-defined]
        def __iter__(self) -> Iterator[bytes]:
            feed = self._feed()
            try:
                for chunk in self._inner:
                    out = feed(chunk)
                    if out:
                        yield out
                rest = self._meter.rest()
                if rest:
                    yield rest
            except Stopped as stopped:
                self._end("closed")
                if stopped.rest:
                    yield stopped.rest
                return
            except BaseException as error:
                self._end(ended_by(error))
                raise
            self._end("ok")

        def close(self) -> None:
            self._end("closed")
            self._inner.close()

    class AsyncTap(Tap, module.AsyncByteStream):  # type: ignore[misc,name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            feed = self._feed()
            chunks = self._inner.__aiter__()
            try:
                async for chunk in chunks:
                    out = feed(chunk)
                    if out:
                        yield out
                rest = self._meter.rest()
                if rest:
                    yield rest
            except Stopped as stopped:
                self._end("closed")
                if stopped.rest:
                    yield stopped.rest
                await self._listener.settled()
                return
            except BaseException as error:
                self._end(ended_by(error))
                raise
            finally:
                # Else the event loop closes it later, in a task of its own.
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()
            self._end("ok")
            await self._listener.settled()

        async def aclose(self) -> None:
            self._end("closed")
            await self._inner.aclose()
            await self._listener.settled()

    return SyncTap, AsyncTap
