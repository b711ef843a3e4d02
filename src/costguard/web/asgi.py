"""Pure ASGI middleware: Starlette, FastAPI and every other ASGI app, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import cache
from typing import Any

from costguard.tags import Frame, close_frame, open_frame
from costguard.web.exchange import FRAME_KEY, Door, Exchange, TagsOption, Value
from costguard.web.peers import Trust
from costguard.web.refusal import Response, takes_events
from costguard.web.route import route_template

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class CostGuardMiddleware:
    """Opens a frame with the tags of each request, and answers a refusal.

    ``app.add_middleware(CostGuardMiddleware, guard=guard, user=lambda request: request.user.id)``

    Callables may be sync (quick: they run on the event loop) or async. They get a Starlette
    `Request` without a body (`HTTPConnection` for a WebSocket), or, where Starlette is not
    installed, a `Connection`. Middleware that finds out who the user is belongs outside of this
    one: with `add_middleware` that is the one added later. Inside of another one, as in a mounted app, it refines the
    tags of that. See `Exchange` for the options.

    A refusal is a 429 as long as no byte of the body was sent, an `error` event in a started event
    stream, and close code 1008 on a WebSocket. In any other started body it is raised on, and the
    server cuts the connection. A BaseHTTPMiddleware inside of this one ends a started stream by
    itself, without the event: add this one last of all inwards, as `costguard.web.fastapi.install` does.
    Raises ConfigError for wrong options.
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: Door | None = None,
        *,
        user: Value = None,
        feature: Value = None,
        environment: Value = None,
        tags: TagsOption = None,
        headers: Mapping[str, str] | None = None,
        cost_headers: bool = False,
        amounts: bool = True,
        check: bool = False,
        baggage: Trust | None = None,
    ) -> None:
        self.app = app
        self._exchange = Exchange(
            guard,
            user=user,
            feature=feature,
            environment=environment,
            tags=tags,
            headers=headers,
            cost_headers=cost_headers,
            amounts=amounts,
            check=check,
            baggage=baggage,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            answering: _Http | _WebSocket = _Http(self._exchange, send)
        elif kind == "websocket":
            answering = _WebSocket(self._exchange, send)
        else:
            await self.app(scope, receive, self._ending(send) if kind == "lifespan" else send)
            return
        exchange = self._exchange
        frame = answering.frame = exchange.frame(scope, lambda: route_template(scope))
        scope[FRAME_KEY] = frame
        token = open_frame(frame)
        try:
            if exchange.asks_request:
                request = _request_types()[kind](scope) if exchange.asks else None
                header = _header_of(scope) if exchange.headers or exchange.trusted else None
                tags = await exchange.ask_async(request, header, (scope.get("client") or ("",))[0])
                frame.tags = tags if frame.parent is None else frame.tags.with_(tags)
            if exchange.check:
                await exchange.knock_async(frame)
            await self.app(scope, receive, answering.send)
            if not answering.begun:
                await answering.flush()
        except Exception as error:
            answer = exchange.answer(error)
            if answer is None or not await answering.refuse(answer):
                await answering.flush()
                raise
        finally:
            close_frame(token)
            scope[FRAME_KEY] = frame.parent

    def _ending(self, send: Send) -> Send:
        """Before the server hears that the app has shut down: what ends it then may run no exit handlers."""
        guard = self._exchange.guard
        rest = getattr(guard, "rest", None)
        if rest is None:
            return send

        async def ending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(rest)
            await send(message)

        return ending


class _Http:
    """One HTTP response as it passes: whether it has begun, and how far it is.

    The start is held back until the first bytes of the body, as the ASGI specification asks of
    servers: a stream that is refused on the way to them is still a clean 429. What else is held
    back until the app has returned or raised is in `_may_fail`.
    """

    __slots__ = ("_exchange", "_finished", "_held", "_send", "_start", "begun", "frame")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._start: Message | None = None
        self._held: list[Message] | None = None
        self._finished = False
        self.begun = False
        self.frame: Frame

    # Not a coroutine of its own: it hands on the awaitable of the server's `send`, which costs a stream less.
    def send(self, message: Message) -> Awaitable[None]:
        if self.begun:
            if not message.get("more_body"):
                self._finished = True
            return self._send(message)
        if self._start is not None:
            return self._first(self._start, message)
        if message["type"] == "http.response.start":
            self._start = message
            return _nothing()
        return self._send(message)

    async def _first(self, start: Message, message: Message) -> None:
        if self._held is not None or (
            (start["status"] == 500 or not message.get("body")) and _may_fail(start, message)
        ):
            # Complete, as it seems; whether an error follows is known when the app returns.
            self._held = [*(self._held or ()), message]
            return
        await self._begin(start)
        if not message.get("more_body"):
            self._finished = True
        await self._send(message)

    async def _begin(self, start: Message) -> None:
        self.begun = True
        if self._exchange.cost_headers:
            fields = _encoded(await self._exchange.cost_fields_async(self.frame))
            headers = list(start.get("headers", ()))
            told = {name.lower() for name, _ in headers}  # by a middleware further in
            start["headers"] = [*headers, *(field for field in fields if field[0] not in told)]
        await self._send(start)

    async def flush(self) -> None:
        """Send what is held back, if anything is: the app is through."""
        if self.begun or self._start is None:
            return
        await self._begin(self._start)
        self._finished = self._held is not None
        for message in self._held or ():
            await self._send(message)

    async def refuse(self, answer: Response) -> bool:
        """Send the answer if it is not too late; says whether it was sent."""
        if not self.begun:
            await self._begin(
                {"type": "http.response.start", "status": answer.status, "headers": _encoded(answer.headers)}
            )
            await self._send({"type": "http.response.body", "body": answer.body, "more_body": False})
            return True
        headers = self._start.get("headers", ()) if self._start is not None else ()
        fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        if self._finished or not takes_events(fields):
            return False
        await self._send({"type": "http.response.body", "body": answer.event, "more_body": False})
        return True


async def _nothing() -> None:
    """A message that is sent later."""


def _may_fail(start: Message, message: Message) -> bool:
    """Whether an error may still follow the complete response of these two messages.

    Starlette's outermost middleware sends a 500 and then raises; its BaseHTTPMiddleware ends a stream
    that failed, and then raises. Around them, a refusal is still in time.
    """
    if message.get("more_body"):
        return False
    if start["status"] == 500:
        return True
    names = {name.lower() for name, _ in start.get("headers", ())}
    return not message.get("body") and b"content-type" in names and b"content-length" not in names


class _WebSocket:
    """One WebSocket as it passes: whether it was accepted or closed."""

    __slots__ = ("_accepted", "_closed", "_send", "begun", "frame")

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._send = send
        self._accepted = False
        self._closed = False
        self.begun = True
        self.frame: Frame

    def send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "websocket.accept":
            self._accepted = True
        elif kind != "websocket.send":
            self._closed = True
        return self._send(message)

    async def flush(self) -> None:
        """Nothing is held back here."""

    async def refuse(self, answer: Response) -> bool:
        if self._closed:
            return False
        if not self._accepted:
            # A close before the accept becomes an HTTP 403, and a browser shows neither code nor reason of it.
            await self._send({"type": "websocket.accept"})
        await self._send({"type": "websocket.close", "code": answer.close_code, "reason": answer.close_reason})
        return True


class Connection:
    """The request as a callable for tags sees it where Starlette is not installed; read-only.

    headers: names in lower case to values; path: as the client sent it; scope: the ASGI scope
    """

    __slots__ = ("headers", "method", "path", "scope", "state")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.method: str = scope.get("method", "GET")
        self.state: Any = scope.get("state", {})
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _header_of(scope: Scope) -> Callable[[str], str | None]:
    def header(field: str) -> str | None:
        wanted = field.encode("latin-1")
        found = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted]
        # Several are one with commas between, as servers give them to WSGI apps (RFC 9110, section 5.3).
        return ", ".join(found) if found else None

    return header


@cache
def _request_types() -> dict[str, Callable[[Scope], object]]:
    """What callables for tags get, by kind of scope."""
    try:
        from starlette.requests import HTTPConnection, Request
    except ImportError:
        return {"http": Connection, "websocket": Connection}
    return {"http": Request, "websocket": HTTPConnection}


def _encoded(fields: Any) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


async def lifespan(receive: Receive, send: Send) -> None:
    """The answers of an app that has nothing to begin or to end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
