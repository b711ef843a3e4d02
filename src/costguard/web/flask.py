"""Flask extension: ``CostGuard(app, guard, user=lambda request: current_user.id)`` or `init_app`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from costguard.errors import ConfigError, MissingExtra
from costguard.tags import Frame, close_frame, current_frame, open_frame, tagged
from costguard.web.exchange import FRAME_KEY, Door, Exchange, TagsOption, Value
from costguard.web.peers import Trust
from costguard.web.refusal import REFUSALS, takes_events
from costguard.web.wsgi import Steps

if TYPE_CHECKING:
    from flask import Flask, Response


class CostGuard:
    """Tags each request of a Flask app, and answers refusals.

    Callables get `flask.request` and run after every `before_request` function, right before the
    view: `g.user` is there. Calls to providers made earlier than that carry only the tags given as
    plain values. `route` is the rule of the view, e.g. ``/users/<int:id>``. Options: see `Exchange`.

    A refusal is a 429, whether the app is testing, debugging or propagating exceptions; also when the
    app wrapped it in an error of its own. The app's own handlers for our errors go first.
    Raises ConfigError for wrong options and for a second `init_app` of one app, MissingExtra without Flask.
    """

    def __init__(
        self,
        app: Flask | None = None,
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
        self._options: dict[str, Any] = {
            "user": user,
            "feature": feature,
            "environment": environment,
            "tags": tags,
            "headers": headers,
            "cost_headers": cost_headers,
            "amounts": amounts,
            "check": check,
            "baggage": baggage,
        }
        self._guard = guard
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, guard: Door | None = None) -> None:
        """Install on an app, before its first request; `guard` replaces the one given at first."""
        try:
            from flask import request
        except ImportError:
            raise MissingExtra("flask", "flask", "costguard.web.flask.CostGuard") from None
        if "costguard" in app.extensions:
            raise ConfigError(f"CostGuard is already installed on the app {app.name!r}; call init_app once per app")
        exchange = Exchange(guard or self._guard, **self._options)
        app.extensions["costguard"] = self
        wsgi_app, dispatch, process, handle = (
            app.wsgi_app, app.dispatch_request, app.process_response, app.handle_exception,
        )  # fmt: skip

        def in_frame(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            frame = environ[FRAME_KEY] = exchange.frame(environ, lambda: _rule(environ))
            token = open_frame(frame)
            try:
                return wsgi_app(environ, start_response)
            finally:
                close_frame(token)
                environ[FRAME_KEY] = frame.parent

        def dispatch_request(*context: Any) -> Any:
            frame = current_frame()
            if frame is None:
                # Flask was entered without its WSGI app, as in a test_request_context.
                with tagged(exchange.fixed, route=_rule(request.environ)):
                    return dispatch_request(*context)
            if exchange.asks_request:
                # The object, not the proxy: a callable may hand it to a thread.
                real = request._get_current_object()  # type: ignore[attr-defined]
                tags = exchange.ask(real, real.headers.get, real.remote_addr or "")
                frame.tags = tags if frame.tags is exchange.fixed else frame.tags.with_(tags)
            if exchange.check:
                exchange.knock(frame)
            return dispatch(*context)

        def answer(error: BaseException) -> Response | None:
            found = exchange.answer(error)
            return None if found is None else app.response_class(found.body, found.status, dict(found.headers))

        def handle_exception(*arguments: Any) -> Any:
            # Flask's last resort, which makes a 500 or propagates. What gets here may hold a refusal as its cause.
            response = answer(arguments[-1])
            return handle(*arguments) if response is None else app.finalize_request(response, from_error_handler=True)

        def process_response(*arguments: Any) -> Response:
            response: Response = process(*arguments)
            frame = current_frame()
            if frame is not None:
                if type(response.response) is not list and response.is_streamed and not response.direct_passthrough:
                    _watch(exchange, response, frame, bodyless=request.method == "HEAD")
                if exchange.cost_headers:
                    response.headers.update(exchange.cost_fields(frame))
            return response

        app.wsgi_app = in_frame  # type: ignore[method-assign]  # as Flask's documentation has it
        if exchange.asks_request or exchange.check:
            # Not before_request: its functions run in the order they were registered, and the app's own,
            # which say who the user is, usually come after this.
            app.dispatch_request = dispatch_request  # type: ignore[method-assign]
        app.handle_exception = handle_exception  # type: ignore[method-assign, assignment]  # its arguments vary
        # Not after_request: asking whether a function is async costs each request more than all the rest of this.
        app.process_response = process_response  # type: ignore[method-assign, assignment]
        taken = app.error_handler_spec[None][None]
        for kind in REFUSALS:
            if kind not in taken:
                app.register_error_handler(kind, answer)  # type: ignore[arg-type]  # never None for these


def _rule(environ: Mapping[str, Any]) -> str | None:
    """The URL rule of a request, once it is matched. Werkzeug leaves the request in the environ."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return None if rule is None else str(rule.rule)


def _watch(exchange: Exchange, response: Response, frame: Frame, *, bodyless: bool) -> None:
    """Run a streamed body in the frame of its request, and answer a refusal in it.

    The first chunk is made now, before the headers leave: a stream that is refused on the way to it
    is a clean 429, and the cost in the headers holds the calls made for it.
    """
    if bodyless or response.status_code in (204, 304):
        return
    steps = Steps(cast("Iterable[bytes]", response.response), frame)
    response.call_on_close(steps.close)
    try:
        first = next(steps, b"")
    except Exception as error:
        found = exchange.answer(error)
        if found is None:
            raise
        # In place: what the app's after_request functions have added, as for CORS, stays.
        response.status_code = found.status
        response.response = [found.body]
        response.headers.pop("Content-Encoding", None)
        response.headers.update(dict(found.headers))
        return

    def body() -> Iterator[bytes]:
        try:
            yield first
            yield from steps
        except Exception as error:
            found = exchange.answer(error)
            fields = {name.lower(): value for name, value in response.headers}
            if found is None or not takes_events(fields):
                raise
            yield found.event

    response.response = body()
