"""The wrappers around google-genai's four request functions.

`request` and `async_request` return the whole answer, `request_streamed` is a generator of chunks,
`async_request_streamed` a coroutine of an async generator. Until 1.23 an answer is a dict, since then an object whose
`body` is JSON text. Automatic function calling makes several requests: each is a call of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import Any

from costguard.providers import collected
from costguard.providers.attempts import counted
from costguard.providers.body import ended_by
from costguard.providers.flight import Flight
from costguard.providers.google_request import Sending, begin, extra_body
from costguard.providers.meter import End, Meter
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[Any], Policy | None]
Function = Callable[..., Any]

_ONCE = "_request_once", "_async_request_once"


def request(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    def request(
        self: Any, http_method: str, path: str, request_dict: Any, http_options: Any = None, **more: Any
    ) -> Any:
        sending = Sending(path, request_dict, extra_body(self, http_options))
        flight = _begin(row, policy_of, self, http_method, sending)
        if flight is None:
            return original(self, http_method, path, request_dict, http_options, **more)
        if flight.holds:
            flight.policy.reserve(flight.call)
        try:
            with counted(_started(flight, self)):
                answer = original(self, http_method, sending.path, sending.body, http_options, **more)
        except BaseException as error:
            flight.failed(error, status=status_of(error))
            raise
        flight.read(content_of(answer))
        return answer

    return request


def async_request(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    async def async_request(
        self: Any, http_method: str, path: str, request_dict: Any, http_options: Any = None, **more: Any
    ) -> Any:
        sending = Sending(path, request_dict, extra_body(self, http_options))
        flight = _begin(row, policy_of, self, http_method, sending)
        if flight is None:
            return await original(self, http_method, path, request_dict, http_options, **more)
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        try:
            with counted(_started(flight, self)):
                answer = await original(self, http_method, sending.path, sending.body, http_options, **more)
        except BaseException as error:
            flight.failed(error, status=status_of(error))
            if isinstance(error, Exception) and flight.waits:
                await flight.settled()
            raise
        flight.read(content_of(answer))
        if flight.waits:
            await flight.settled()
        return answer

    return async_request


def request_streamed(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    def request_streamed(
        self: Any, http_method: str, path: str, request_dict: Any, http_options: Any = None, **more: Any
    ) -> Iterator[Any]:
        # A generator like the SDK's: nothing happens before its first chunk is asked for.
        sending = Sending(path, request_dict, extra_body(self, http_options))
        flight = _begin(row, policy_of, self, http_method, sending, streamed=True)
        if flight is None:
            yield from original(self, http_method, path, request_dict, http_options, **more)
            return
        if flight.holds:
            flight.policy.reserve(flight.call)
        chunks = Chunks(flight)
        try:
            stream = original(self, http_method, sending.path, sending.body, http_options, **more)
            with counted(_started(flight, self)):
                # The request is made with the first chunk.
                chunk = next(stream, None)
            while chunk is not None:
                chunks.take(chunk)
                yield chunk
                if chunks.full:
                    stream.close()
                    return
                chunk = next(stream, None)
        except BaseException as error:
            chunks.broke(error)
            raise
        chunks.end("ok")

    return request_streamed


def async_request_streamed(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    async def async_request_streamed(
        self: Any, http_method: str, path: str, request_dict: Any, http_options: Any = None, **more: Any
    ) -> Any:
        sending = Sending(path, request_dict, extra_body(self, http_options))
        flight = _begin(row, policy_of, self, http_method, sending, streamed=True)
        if flight is None:
            return await original(self, http_method, path, request_dict, http_options, **more)
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        chunks = Chunks(flight)
        try:
            with counted(_started(flight, self)):
                stream = await original(self, http_method, sending.path, sending.body, http_options, **more)
        except BaseException as error:
            chunks.broke(error)
            if isinstance(error, Exception) and flight.waits:
                await flight.settled()
            raise
        return _passed_on(stream, chunks, flight)

    return async_request_streamed


async def _passed_on(stream: Any, chunks: Chunks, flight: Flight) -> AsyncIterator[Any]:
    try:
        async for chunk in stream:
            chunks.take(chunk)
            yield chunk
            if chunks.full:
                break
    except BaseException as error:
        chunks.broke(error)
        if isinstance(error, Exception) and flight.waits:
            await flight.settled()
        raise
    finally:
        # Left early, the connection goes back now and not with the next collection.
        closing = getattr(stream, "aclose", None)
        if closing is not None:
            await closing()
    chunks.end("ok")
    if flight.waits:
        await flight.settled()


class Chunks:
    """The chunks of one stream: each says the usage so far, so that the last word is read, once, at the end."""

    __slots__ = ("_flight", "_grounded", "_last", "_meter", "_open", "_said", "_stop_at")

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._meter: Meter = flight.meter("application/json")
        self._last: Any = None
        self._said: Any = None
        self._grounded: list[Any] = []
        self._open = [None]
        self._stop_at = flight.stop_at
        collected.watch()

    def __del__(self) -> None:
        # A generator that was never begun ends in no other way.
        if self._open:
            self.end("closed")

    def take(self, chunk: Any) -> None:
        try:
            body = chunk if type(chunk) is dict else getattr(chunk, "body", None)
            text = json.dumps(body) if isinstance(body, dict) else body
            if not isinstance(text, str):
                return
            self._meter.deltas.add(text.encode())
            self._last = text
            if text.startswith('{"error"'):
                # Older versions hand it on like any other.
                self._meter.failed = True
            if '"usageMetadata"' in text:
                self._said = text
            if '"groundingMetadata": {"' in text:
                self._grounded.append(text)
        except Exception:
            log.exception("costguard could not read a chunk of a stream of %s", self._flight.call.model)

    @property
    def full(self) -> bool:
        """It has put out all that its hold allows, and ends here."""
        if self._stop_at is None or not self._open or self._meter.deltas.tokens() < self._stop_at:
            return False
        self._flight.stopped()
        self.end("closed")
        return True

    def broke(self, error: BaseException) -> None:
        """It was not read to its end, or never began."""
        status = status_of(error)
        if self._last is None and not isinstance(error, GeneratorExit):
            self._open.clear()
            self._flight.failed(error, status=status)
            return
        self._meter.failed = status is not None
        self.end(ended_by(error))

    def end(self, how: End) -> None:
        try:
            self._open.pop()
        except IndexError:
            return
        ended: End = "error" if how == "ok" and self._meter.failed else how
        collected.tell(lambda: self._end(ended))

    def _end(self, how: End) -> None:
        try:
            self._learn()
        except Exception:
            log.exception("costguard could not read a stream of %s", self._flight.call.model)
        self._flight.ended(how, self._meter)

    def _learn(self) -> None:
        meter = self._meter
        if self._said is None:
            if self._last is not None:
                meter.found = json.loads(self._last)
            return
        found = json.loads(self._said)
        candidates = found.get("candidates") or []
        meter.whole = any(isinstance(each, dict) and each.get("finishReason") for each in candidates)
        if self._grounded:
            grounded = [json.loads(text).get("candidates") or [] for text in self._grounded if text != self._said]
            found = {**found, "candidates": [each for several in (*grounded, candidates) for each in several]}
        meter.found = found


def content_of(answer: Any) -> Any:
    """The JSON of an answer; None for one without a body."""
    if type(answer) is dict:
        return answer
    body = getattr(answer, "body", None)
    if not isinstance(body, str) or not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of google-genai has as its code."""
    code = getattr(error, "code", None)
    return code if type(code) is int and 400 <= code < 600 else None


def _begin(
    row: Provider, policy_of: PolicyOf, client: Any, method: str, sending: Sending, *, streamed: bool = False
) -> Flight | None:
    policy = policy_of(client)
    if policy is None:
        return None
    try:
        return begin(row, policy, client, method, sending, streamed=streamed)
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None


def _started(flight: Flight, client: Any) -> Flight:
    """From here on it is sent; versions without retries make one attempt."""
    flight.sent()
    if not any(hasattr(client, name) for name in _ONCE):
        flight.call.attempts = 1
    return flight
