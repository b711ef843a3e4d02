"""What Bedrock's answers are read from while the caller reads them: the streams of events, the bodies of InvokeModel.

The objects are botocore's own and stay what they are: of an event stream the generator inside is passed through
another one, of a body what it reads from.
"""

from __future__ import annotations

import json
import logging
import weakref
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import isasyncgen, iscoroutinefunction
from types import MethodType
from typing import Any

from costguard.providers import collected
from costguard.providers.body import ended_by
from costguard.providers.flight import Flight
from costguard.providers.meter import End, Meter
from costguard.providers.rows import Route
from costguard.providers.usage_bedrock import HEADERS, METRICS

log = logging.getLogger("costguard.providers")


def tap_events(flight: Flight, stream: Any) -> None:
    """Hear the events of an `EventStream`, of aiobotocore's too, and how it ends."""
    collected.watch()
    events = _Events(flight)
    inner = stream._event_generator
    stream._event_generator = _heard_async(inner, events) if isasyncgen(inner) else _heard(inner, events)
    _end_on_close(stream, events.end)
    _end_when_dropped(stream, events.end)


def tap_body(flight: Flight, route: Route | None, response: dict[str, Any]) -> None:
    """Hear the body of InvokeModel while it is read. Its headers count where it says nothing, or is never read."""
    headers = _headers_of(response)
    body = response["body"]

    def finish(how: End, meter: Meter) -> None:
        meter.found = {**meter.found, HEADERS: headers}
        meter.whole = meter.whole or any(name.endswith("token-count") for name in headers)
        flight.ended(how, meter)

    if route is None or hasattr(body, "__wrapped__") or not hasattr(body, "__dict__"):
        # Older aiobotocore's body is a proxy, which keeps nothing of its own.
        flight.read({HEADERS: headers} if headers else None)
        return
    collected.watch()
    meter = Meter(route, "application/json", "", finish, hide=False)
    _read_through(flight, body, meter)
    _end_when_dropped(body, meter.end)


class _Events:
    """The events of one stream. The facts of Converse stand in its last one, those of InvokeModel in several."""

    __slots__ = ("_ended", "_flight", "_meter", "_stop_at")

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._meter: Meter = flight.meter("application/json")
        self._ended = [None]
        self._stop_at = flight.stop_at

    @property
    def flight(self) -> Flight:
        return self._flight

    def take(self, event: Any) -> None:
        try:
            headers, payload = event.headers, event.payload
            if headers.get(":message-type", "event") != "event":
                # The SDK raises it when it has parsed it.
                self._meter.failed = True
                self.end("error")
            elif headers.get(":event-type") == "chunk":
                self._take_chunk(b64decode(json.loads(payload)["bytes"]))
            elif headers.get(":event-type") == "metadata":
                self._meter.found = json.loads(payload)
                self._meter.whole = True
                self.end("ok")
            else:
                self._meter.deltas.add(payload)
        except Exception:
            log.exception("costguard could not read an event of a stream of %s", self._flight.call.model)

    def _take_chunk(self, said: bytes) -> None:
        """A chunk in the words of the model's maker, the last with what Bedrock counted."""
        meter = self._meter
        last = METRICS.encode() in said
        if not last and b'"usage"' not in said:
            meter.deltas.add(said)
            return
        chunk = json.loads(said)
        found = meter.found
        for source in (chunk.get("message"), chunk.get("metadata"), chunk):
            if not isinstance(source, dict):
                continue
            for name in ("id", "model"):
                if isinstance(source.get(name), str):
                    found[name] = source[name]
            usage = source.get("usage")
            if isinstance(usage, dict):
                told = {name: value for name, value in usage.items() if value is not None}
                found["usage"] = {**found.get("usage", {}), **told}
                meter.whole = meter.whole or bool(_final(chunk))
        meter.deltas.add(said)
        if last:
            found[METRICS] = chunk[METRICS]
            meter.whole = True
            self.end("ok")

    @property
    def full(self) -> bool:
        """It has put out all that its hold allows."""
        if self._stop_at is None or not self._ended or self._meter.deltas.tokens() < self._stop_at:
            return False
        self._flight.stopped()
        self.end("closed")
        return True

    def end(self, how: End) -> None:
        try:
            self._ended.pop()
        except IndexError:
            return
        collected.tell(lambda: self._flight.ended(how, self._meter))


def _final(chunk: dict[str, Any]) -> bool:
    """Whether usage in this chunk is the last word: of Anthropic's in the delta that tells why it stopped."""
    return chunk.get("type") not in ("message_start",) and "message" not in chunk


def _heard(inner: Iterator[Any], events: _Events) -> Iterator[Any]:
    try:
        for event in inner:
            events.take(event)
            yield event
            if events.full:
                return
    except BaseException as error:
        events.end(ended_by(error))
        raise
    events.end("ok")


async def _heard_async(inner: AsyncIterator[Any], events: _Events) -> AsyncIterator[Any]:
    flight = events.flight
    try:
        async for event in inner:
            events.take(event)
            if flight.waits:
                await flight.settled()
            yield event
            if events.full:
                break
    except BaseException as error:
        events.end(ended_by(error))
        if isinstance(error, Exception) and flight.waits:
            await flight.settled()
        raise
    events.end("ok")
    if flight.waits:
        await flight.settled()


class _Raw:
    """What a `StreamingBody` reads from: urllib3's response, heard. The body itself is not touched, and dies with
    its caller's last reference: `client.invoke_model(...)["body"].read()` has no other."""

    def __init__(self, inner: Any, heard: Callable[[bytes, int | None], None], end: Callable[[End], None]) -> None:
        self._inner = inner
        self._heard = heard
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inner)

    def read(self, amt: int | None = None, *args: Any, **kwargs: Any) -> Any:
        chunk = self._run(self._inner.read, amt, *args, **kwargs)
        self._heard(chunk, amt)
        return chunk

    def readinto(self, buffer: Any) -> Any:
        count = self._run(self._inner.readinto, buffer)
        self._heard(bytes(buffer[:count]), len(buffer))
        return count

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for chunk in self._inner.stream(*args, **kwargs):
            self._heard(chunk, 1)
            yield chunk
        self._heard(b"", 1)

    def close(self) -> None:
        self._inner.close()
        self._end("closed")

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            self._end(ended_by(error))
            raise


def _read_through(flight: Flight, body: Any, meter: Meter) -> None:
    length = _length_of(body)
    seen = 0

    def heard(chunk: bytes, wanted: int | None) -> None:
        nonlocal seen
        seen += len(chunk)
        meter.feed(chunk)
        if wanted is None or wanted < 0 or (wanted and not chunk) or seen == length:
            meter.end("ok")

    if not iscoroutinefunction(type(body).read):
        body._raw_stream = _Raw(body._raw_stream, heard, meter.end)
        return

    async def read(self: Any, amt: int | None = None) -> bytes:
        try:
            chunk: bytes = await type(self).read(self, amt)
        except BaseException as error:
            meter.end(ended_by(error))
            raise
        heard(chunk, amt)
        if meter.ended:
            # A method of its own keeps it alive.
            vars(self).pop("read", None)
        if flight.waits:
            await flight.settled()
        return chunk

    body.read = MethodType(read, body)


def _length_of(body: Any) -> int | None:
    try:
        return int(body._content_length)
    except (AttributeError, TypeError, ValueError):
        return None


def _end_on_close(stream: Any, end: Callable[[End], None]) -> None:
    """botocore's event stream keeps itself alive by its generator, until it is collected."""

    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return type(self).close(self, *args, **kwargs)
        finally:
            end("closed")

    stream.close = MethodType(close, stream)


def _end_when_dropped(holder: Any, end: Callable[[End], None]) -> None:
    dropped = weakref.finalize(holder, lambda: collected.tell(lambda: end("closed")))
    dropped.atexit = False


def _headers_of(response: dict[str, Any]) -> dict[str, str]:
    """Bedrock's own headers, without what all of their names begin with."""
    metadata = response.get("ResponseMetadata")
    headers = metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
    return {
        str(name).lower().removeprefix(HEADERS): str(value)
        for name, value in (headers or {}).items()
        if str(name).lower().startswith(HEADERS)
    }
