"""WSGI middleware (PEP 3333): any WSGI app; for Flask see `costguard.web.flask`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from costguard.tags import Frame, close_frame, current_frame, open_frame
from costguard.web.exchange import FRAME_KEY, Door, Exchange, TagsOption, Value
from costguard.web.peers import Trust
from costguard.web.refusal import takes_events

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

ROUTE_KEY = "costguard.route"
"""Where an app may leave its route template in the environ: ``environ["costguard.route"] = "/users/{id}"``."""


class CostGuardMiddleware:
    """Opens a frame with the tags of each request, and answers a refusal.

    ``application = CostGuardMiddleware(application, guard, user=lambda request: request["REMOTE_USER"])``

    Callables are plain functions of a `Request`: the environ, readable as a mapping, with `.headers`,
    `.path` and `.method`. route: a callable of the environ that gives the route template, asked only
    when a call needs it; without one, ``environ["costguard.route"]``. See `Exchange` for the other options.

    The app and every step of its body run in the frame of the request, because a body that is a
    generator runs after the app has returned. The server's `start_response` is called at the first byte of the
    body, so that a refusal on the way to it is still a clean 429. In a started event stream it is an
    `error` event; in any other started body it is raised on. An app that answers all errors itself,
    as Flask and Django do, never lets a refusal get here: it must let ours pass.
    Raises ConfigError for wrong options.
    """

    def __init__(
        self,
        app: WSGIApp,
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
        route: Callable[[Environ], str | None] | None = None,
    ) -> None:
        self.app = app
        self._route = route
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

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        route = self._route
        exchange = self._exchange
        frame = exchange.frame(environ, lambda: environ.get(ROUTE_KEY) if route is None else route(environ))
        environ[FRAME_KEY] = frame
        answering = _Answering(exchange, frame, start_response, bodyless=environ.get("REQUEST_METHOD") == "HEAD")
        token = open_frame(frame)
        try:
            if exchange.asks_request:
                request = Request(environ)
                tags = exchange.ask(request, request.headers.get, environ.get("REMOTE_ADDR", ""))
                frame.tags = tags if frame.parent is None else frame.tags.with_(tags)
            if exchange.check:
                exchange.knock(frame)
            body = self.app(environ, answering.start_response)
        except Exception as error:
            if answering.started or (instead := answering.instead(error)) is None:
                raise
            return [instead]
        finally:
            close_frame(token)
            environ[FRAME_KEY] = frame.parent
        if isinstance(body, list | tuple) or type(body) is environ.get("wsgi.file_wrapper"):
            # No code of the app runs in it, so nothing can be refused any more; and the server
            # reads the length of a list, and hands a file to the operating system.
            answering.start()
            return body
        return _Body(Steps(body, frame), answering)


class _Answering:
    """One response: what the app gave to `start_response`, kept until the first byte."""

    __slots__ = ("_bodyless", "_exchange", "_frame", "_pending", "_server", "_writer", "headers", "started")

    def __init__(self, exchange: Exchange, frame: Frame, server: StartResponse, *, bodyless: bool) -> None:
        self._bodyless = bodyless
        self._exchange = exchange
        self._frame = frame
        self._server = server
        self._pending: tuple[str, list[tuple[str, str]], Any] | None = None
        self._writer: Callable[[bytes], object] | None = None
        self.headers: list[tuple[str, str]] = []
        self.started = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        if self.started:
            # With exc_info the server raises it again, as PEP 3333 asks; without, it is the app's error.
            return self._server(status, headers, exc_info) if exc_info else self._server(status, headers)
        self._pending = (status, headers, exc_info)
        return self._write

    def _write(self, data: bytes) -> object:
        self.start()
        return None if self._writer is None else self._writer(data)

    def start(self) -> None:
        """Send status and headers now, if the app has given them."""
        if self._pending is None:
            return
        (status, headers, exc_info), self._pending = self._pending, None
        if self._exchange.cost_headers:
            told = {name.lower() for name, _ in headers}  # by a middleware further in
            fields = self._exchange.cost_fields(self._frame)
            headers = [*headers, *(field for field in fields if field[0].lower() not in told)]
        self.started = True
        self.headers = headers
        self._writer = self._server(status, headers, exc_info) if exc_info else self._server(status, headers)

    def instead(self, error: Exception) -> bytes | None:
        """What to send instead of the next chunk, None where the error is no refusal or it is too late."""
        answer = self._exchange.answer(error)
        if answer is None:
            return None
        if not self.started:
            self._pending = (f"{answer.status} {answer.reason}", list(answer.headers), None)
            self.start()
            # Not every server leaves it out by itself, and on a kept connection it would begin the next response.
            return b"" if self._bodyless else answer.body
        fields = {name.lower(): value for name, value in self.headers}
        return answer.event if takes_events(fields) else None


class _Body:
    """The body of a response: its first byte starts it, and a refusal in it is answered."""

    __slots__ = ("_answering", "_ended", "_steps")

    def __init__(self, steps: Steps, answering: _Answering) -> None:
        self._steps = steps
        self._answering = answering
        self._ended = False

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        try:
            chunk = next(self._steps)
            while not chunk and not self._answering.started:
                chunk = next(self._steps)
        except StopIteration:
            self._ended = True
            self._answering.start()
            raise
        except Exception as error:
            self._ended = True
            instead = self._answering.instead(error)
            if instead is None:
                raise
            return instead
        if not self._answering.started:
            self._answering.start()
        return chunk

    def close(self) -> None:
        self._ended = True
        self._steps.close()


class Steps:
    """A body, every step of which runs in the frame of its request: also its close, and after `bind_tags`.

    The frame is opened and closed around each step instead of running it in a copied context, so that
    other context variables stay as the app knows them. A block of `tagged` that a generator holds
    open while it yields is kept from step to step.
    """

    __slots__ = ("_body", "_frame", "_iterator")

    def __init__(self, body: Iterable[bytes], frame: Frame) -> None:
        self._body = body
        self._frame = frame
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> bytes:
        token = open_frame(self._frame)
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            return next(self._iterator)
        finally:
            self._frame = current_frame() or self._frame
            close_frame(token)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            token = open_frame(self._frame)
            try:
                close()
            finally:
                close_frame(token)


class Request(Mapping[str, Any]):
    """The environ as a callable for tags sees it: a read-only mapping, with `.headers`, `.path` and `.method`."""

    __slots__ = ("environ", "headers")

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.headers = Headers(environ)

    def __getitem__(self, name: str) -> Any:
        return self.environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.environ)

    def __len__(self) -> int:
        return len(self.environ)

    @property
    def path(self) -> str:
        return str(self.environ.get("PATH_INFO", ""))

    @property
    def method(self) -> str:
        return str(self.environ.get("REQUEST_METHOD", "GET"))


class Headers(Mapping[str, str]):
    """The request headers in an environ; names in any case."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        key = name.upper().replace("-", "_")
        value: str = self._environ[key if key in _BARE else f"HTTP_{key}"]
        return value

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key in _BARE or key.startswith("HTTP_"):
                yield key.removeprefix("HTTP_").replace("_", "-").lower()

    def __len__(self) -> int:
        return sum(1 for _ in self)


_BARE = ("CONTENT_TYPE", "CONTENT_LENGTH")
"""The two headers that CGI, and so WSGI, keeps without the prefix."""
