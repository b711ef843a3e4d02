"""Calls over a connection that stays open: OpenAI's Realtime API and its Responses API over WebSockets.

One `response.create` that is sent, or one response that the server begins by itself when it hears the user stop,
is one call; `response.done` (in the Responses API `response.completed` and its like) ends it, with its usage.
https://platform.openai.com/docs/guides/realtime-costs. Transcripts of what the user said are billed apart.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import parse_qs, urlsplit

from costguard.providers.body import ended_by
from costguard.providers.flight import Flight, begin_call
from costguard.providers.ordered import admit
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider
from costguard.providers.usage import fields, text_in

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[Any], Policy | None]

_STATE = "_costguard_calls"
_MATTERS = (b'"session.', b'"response.created"', b'"response.done"', b'"response.completed"', b'"response.failed"',
            b'"response.incomplete"', b'"error"', b"input_audio_transcription.completed")  # fmt: skip
_ENDS = frozenset(("response.done", "response.completed", "response.failed", "response.incomplete"))
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


class Calls:
    """The calls of one connection.

    asked: sent, and not begun by the server; begun: by the id of the response
    """

    def __init__(self, row: Provider, connection: Any, *, is_async: bool) -> None:
        self._row = row
        self._is_async = is_async
        self._asked: deque[Flight] = deque()
        self._begun: dict[str, Flight] = {}
        self._transcriber: str | None = None
        request = getattr(getattr(connection, "_connection", None), "request", None)
        url = urlsplit(getattr(request, "path", "") or "")
        asked = parse_qs(url.query)
        models = asked.get("model") or asked.get("deployment")
        self._model = models[0] if models else None
        host = str((getattr(request, "headers", None) or {}).get("Host", "")).partition(":")[0]
        self._provider = row.at(type(connection), host)
        self._url = "responses" if url.path.endswith("responses") else "realtime"

    def sending(self, policy: Policy | None, event: Any) -> Flight | None:
        """The call that an event orders, if it does: to be reserved and then `sent`."""
        told = fields(event)
        if policy is None or told.get("type") != "response.create":
            return None
        body = {**told, **fields(told.get("response"))}
        body.setdefault("model", self._model)
        return self._begin(policy, body)

    def _begin(self, policy: Policy, body: dict[str, Any]) -> Flight | None:
        flight = begin_call(
            self._row, policy, method="post", url=self._url, body=body, provider=self._provider, streamed=True
        )
        if flight is not None:
            flight.is_async = self._is_async
            flight.call.attempts = 1
        return flight

    def sent(self, flight: Flight) -> None:
        """Known before it is on its way: another thread may hear of it before the one that sends goes on."""
        flight.sent()
        self._asked.append(flight)

    def unsent(self, flight: Flight, error: BaseException) -> None:
        if flight not in self._asked:
            return
        self._asked.remove(flight)
        if isinstance(error, Exception):
            # The connection was closed, or the event is none.
            flight.call.attempts = 0
        flight.failed(error)

    def received(self, policy: Policy | None, message: Any) -> Flight | None:
        """Learn from one event; the call that it ends."""
        data = message.encode() if isinstance(message, str) else message
        if not any(name in data for name in _MATTERS):
            return None
        event = json.loads(data)
        kind, response = event.get("type"), fields(event.get("response"))
        if kind in ("session.created", "session.updated"):
            self._configured(fields(event.get("session")))
        elif kind == "response.created":
            self._created(policy, text_in(response, "id") or "")
        elif kind in _ENDS:
            flight = self._begun.pop(text_in(response, "id") or "", None)
            if flight is None and self._asked:
                flight = self._asked.popleft()
            if flight is not None:
                flight.read(event.get("response"))
            return flight
        elif kind == _TRANSCRIBED and policy is not None:
            return self._transcribed(policy, event)
        elif kind == "error" and self._asked:
            # An order that the server did not take; an error during a response is followed by its end.
            flight = self._asked.popleft()
            flight.read({"status": "failed"})
            return flight
        return None

    def _configured(self, session: Any) -> None:
        self._model = text_in(session, "model") or self._model
        audio = fields(fields(fields(session.get("audio")).get("input")).get("transcription"))
        old = fields(session.get("input_audio_transcription"))
        self._transcriber = text_in(audio, "model") or text_in(old, "model") or self._transcriber

    def _created(self, policy: Policy | None, response_id: str) -> None:
        flight = self._asked.popleft() if self._asked else None
        if flight is None and policy is not None:
            flight = self._unasked(policy, self._model)
        if flight is not None:
            self._begun[response_id] = flight

    def _transcribed(self, policy: Policy, event: dict[str, Any]) -> Flight | None:
        flight = self._unasked(policy, self._transcriber) if event.get("usage") else None
        if flight is not None:
            flight.read({"usage": event["usage"], "id": event.get("item_id")})
        return flight

    def _unasked(self, policy: Policy, model: str | None) -> Flight | None:
        """A call that the server makes by itself. It holds nothing, and counts on the same budgets as the others."""
        flight = self._begin(policy, {"model": model})
        if flight is not None:
            flight.call.produces_output = False
            admit(policy, flight.call)
        return flight

    def ended(self, error: BaseException | None) -> None:
        """The connection is gone: what is still open is estimated."""
        for flight in (*self._asked, *self._begun.values()):
            meter = flight.meter("text/event-stream")
            meter.end("closed" if error is None else ended_by(error))
        self._asked.clear()
        self._begun.clear()


def _calls(row: Provider, connection: Any, *, is_async: bool) -> Calls:
    known = vars(connection)
    if _STATE not in known:
        known[_STATE] = Calls(row, connection, is_async=is_async)
    found: Calls = known[_STATE]
    return found


def _ordered(
    row: Provider, connection: Any, policy: Policy | None, event: Any, *, is_async: bool
) -> tuple[Calls | None, Flight | None]:
    try:
        calls = _calls(row, connection, is_async=is_async)
        return calls, calls.sending(policy, event)
    except Exception:
        log.exception("costguard could not read what is sent over a connection")
        return None, None


def _gone(connection: Any, error: BaseException | None) -> None:
    try:
        found = vars(connection).get(_STATE)
        if found is not None:
            found.ended(error)
    except Exception:
        log.exception("costguard could not end the calls of a connection")


def _heard(row: Provider, connection: Any, policy: Policy | None, message: Any, *, is_async: bool) -> Flight | None:
    try:
        return _calls(row, connection, is_async=is_async).received(policy, message)
    except Exception:
        log.exception("costguard could not read an event of a connection")
        return None


def send(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def sending(self: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
        calls, flight = _ordered(row, self, policy_of(self), event, is_async=False)
        if calls is None or flight is None:
            return original(self, event, *args, **kwargs)
        flight.policy.reserve(flight.call)
        calls.sent(flight)
        try:
            return original(self, event, *args, **kwargs)
        except BaseException as error:
            calls.unsent(flight, error)
            raise

    return sending


def send_async(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    async def sending(self: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
        calls, flight = _ordered(row, self, policy_of(self), event, is_async=True)
        if calls is None or flight is None:
            return await original(self, event, *args, **kwargs)
        await flight.policy.reserve_async(flight.call)
        calls.sent(flight)
        try:
            return await original(self, event, *args, **kwargs)
        except BaseException as error:
            calls.unsent(flight, error)
            raise

    return sending


def receive(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def recv_bytes(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            message = original(self, *args, **kwargs)
        except Exception as error:
            _gone(self, error)
            raise
        _heard(row, self, policy_of(self), message, is_async=False)
        return message

    return recv_bytes


def receive_async(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    async def recv_bytes(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            message = await original(self, *args, **kwargs)
        except Exception as error:
            _gone(self, error)
            raise
        flight = _heard(row, self, policy_of(self), message, is_async=True)
        if flight is not None and flight.waits:
            await flight.settled()
        return message

    return recv_bytes


def close(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def closing(self: Any, *args: Any, **kwargs: Any) -> Any:
        _gone(self, None)
        # The async one gives an awaitable.
        return original(self, *args, **kwargs)

    return closing
