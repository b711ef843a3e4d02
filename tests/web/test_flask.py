"""The Flask extension, over waitress and wsgiref."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from queue import Queue
from typing import Any

import flask
import httpx
import pytest
from flask import Flask, g, request, stream_with_context

from costguard.carry import carry
from costguard.errors import BudgetExceeded, ConfigError, StoreUnavailable, UnpricedModel
from costguard.tags import bind_tags, current_frame, current_tags
from costguard.web.flask import CostGuard
from costguard.web.wsgi import CostGuardMiddleware
from tests.web.conftest import Serve
from tests.web.money import Till, over_budget


def build() -> Flask:
    app = Flask(__name__)

    @app.get("/show/<int:number>")
    def show(number: int) -> Any:
        return dict(current_tags())

    @app.get("/async")
    async def waits() -> Any:
        await asyncio.sleep(0)
        return dict(await asyncio.to_thread(current_tags))

    @app.get("/bind")
    def bind() -> Any:
        bind_tags(user="bound")
        return dict(current_tags())

    @app.get("/stream")
    def stream() -> Any:
        def body() -> Iterator[str]:
            yield json.dumps({**current_tags(), "path": request.path})

        return app.response_class(stream_with_context(body()))

    @app.get("/thread")
    def thread() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return dict(pool.submit(carry(current_tags)).result())

    @app.get("/refuse")
    def refuse() -> Any:
        raise over_budget()

    @app.get("/refuse-async")
    async def refuse_async() -> Any:
        raise over_budget()

    @app.get("/refuse-wrapped")
    def refuse_wrapped() -> Any:
        try:
            raise over_budget()
        except BudgetExceeded as error:
            raise RuntimeError("the agent failed") from error

    @app.get("/late")
    def late() -> Any:
        def body() -> Iterator[str]:
            raise over_budget()
            yield ""

        return body(), {"content-type": "text/plain"}

    @app.get("/events")
    def events() -> Any:
        def body() -> Iterator[str]:
            yield "data: 1\n\n"
            raise over_budget()

        return body(), {"content-type": "text/event-stream"}

    @app.get("/store")
    def store() -> Any:
        raise StoreUnavailable("down")

    @app.get("/unpriced")
    def unpriced() -> Any:
        raise UnpricedModel("no price", provider="openai", model="gpt-9")

    @app.get("/broken")
    def broken() -> Any:
        raise ZeroDivisionError

    @app.get("/cost")
    def cost() -> Any:
        frame = current_frame()
        assert frame is not None
        frame.add(1_500_000)
        frame.add(2_500_000)
        return "ok"

    return app


def from_header(request: Any) -> str | None:
    return request.headers.get("x-test-user")  # type: ignore[no-any-return]


ALICE = {"x-test-user": "alice"}


def test_tags_reach_views_streams_and_threads_and_no_other_request(wsgi: Serve) -> None:
    app = build()
    CostGuard(app, user=from_header, environment="production", tags={"method": lambda request: request.method})
    client = wsgi(app)
    for path, rule in {
        "/show/7": "/show/<int:number>", "/async": "/async", "/stream": "/stream", "/thread": "/thread",
    }.items():  # fmt: skip
        shown = client.get(path, headers=ALICE).json()
        shown.pop("path", None)
        assert shown == {"user": "alice", "environment": "production", "method": "GET", "route": rule}
        assert "user" not in client.get(path).json()
    assert client.get("/bind", headers=ALICE).json()["user"] == "bound"
    assert "user" not in client.get("/show/7").json()


def test_a_user_that_a_later_before_request_function_finds_is_seen(wsgi: Serve) -> None:
    app = build()
    CostGuard(app, user=lambda request: g.user)

    @app.before_request
    def login() -> None:
        g.user = request.headers.get("x-test-user")

    assert wsgi(app).get("/show/7", headers=ALICE).json()["user"] == "alice"


def test_init_app_takes_the_guard_later(wsgi: Serve) -> None:
    extension = CostGuard(user=from_header, cost_headers=True)
    app = build()
    extension.init_app(app, Till())
    assert wsgi(app).get("/cost", headers=ALICE).headers["x-costguard-remaining"] == "0.02"
    with pytest.raises(ConfigError, match="already installed"):
        extension.init_app(app)


@pytest.mark.parametrize("path", ["/refuse", "/refuse-async", "/refuse-wrapped", "/late"])
@pytest.mark.parametrize("mode", [{}, {"TESTING": True}, {"PROPAGATE_EXCEPTIONS": True}, {"DEBUG": True}])
def test_a_refusal_is_a_clean_429_in_every_mode(wsgi: Serve, path: str, mode: dict[str, bool]) -> None:
    app = build()
    app.config.update(mode)
    CostGuard(app)

    @app.after_request
    def cors(response: flask.Response) -> flask.Response:
        response.headers["access-control-allow-origin"] = "https://a.example"
        return response

    response = wsgi(app).get(path)
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "3600"
    assert response.json()["remaining"] == "0.02"
    assert response.headers["access-control-allow-origin"] == "https://a.example"


def test_the_other_refusals_have_their_own_status(wsgi: Serve) -> None:
    app = build()
    CostGuard(app)
    client = wsgi(app)
    assert client.get("/store").status_code == 503
    assert client.get("/unpriced").status_code == 422


def test_other_errors_are_left_alone(wsgi: Serve) -> None:
    app = build()
    CostGuard(app)
    client = wsgi(app)
    assert client.get("/broken").status_code == 500
    assert client.get("/nowhere").status_code == 404
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(ZeroDivisionError):
        app.test_client().get("/broken")


@pytest.mark.parametrize("path", ["/refuse", "/refuse-wrapped"])
@pytest.mark.parametrize("first", [True, False])
def test_a_handler_for_every_error_does_not_hide_a_refusal(wsgi: Serve, path: str, first: bool) -> None:
    app = build()
    if not first:
        CostGuard(app)
    app.register_error_handler(500, lambda error: ("mine", 500))
    if first:
        CostGuard(app)
    assert wsgi(app).get(path).status_code == 429
    assert wsgi(app).get("/broken").text == "mine"


@pytest.mark.parametrize("first", [True, False])
def test_the_apps_own_handler_for_a_refusal_goes_first(wsgi: Serve, first: bool) -> None:
    app = build()
    if not first:
        CostGuard(app)
    app.register_error_handler(BudgetExceeded, lambda error: (str(error.standing), 402))
    app.register_error_handler(Exception, lambda error: ("mine", 500))
    if first:
        CostGuard(app)
    client = wsgi(app)
    assert client.get("/refuse").status_code == 402
    assert client.get("/store").status_code == 503


def test_a_refusal_in_a_started_event_stream_is_a_typed_event(wsgi: Serve) -> None:
    app = build()
    CostGuard(app)
    response = wsgi(app).get("/events")
    assert response.status_code == 200
    assert response.text.startswith("data: 1\n\n\n\nevent: error\ndata: {")


def test_a_stream_is_closed_and_no_body_is_made_for_head(wsgi: Serve) -> None:
    closed: Queue[str] = Queue()
    made: list[str] = []
    app = build()
    CostGuard(app, user=from_header)

    @app.get("/closing")
    def closing() -> Any:
        def body() -> Iterator[str]:
            made.append(request.method)
            try:
                yield "1"
                yield "2"
            finally:
                closed.put(current_tags().user)

        return stream_with_context(body())

    client = wsgi(app)
    assert client.get("/closing", headers=ALICE).text == "12"
    assert closed.get(timeout=60) == "alice"
    assert client.head("/closing").status_code == 200
    assert made == ["GET"]


def test_a_stream_reaches_the_client_as_it_is_made(wsgi: Serve) -> None:
    gate = threading.Event()
    app = build()
    CostGuard(app)

    @app.get("/gated")
    def gated() -> Any:
        def body() -> Iterator[str]:
            yield "first"
            assert gate.wait(10)
            yield "last"

        return body(), {"content-type": "text/event-stream"}

    with wsgi(app).stream("GET", "/gated") as response:
        chunks = response.iter_text()
        assert next(chunks) == "first"
        gate.set()
        assert next(chunks) == "last"


def test_files_and_empty_streams_pass(wsgi: Serve) -> None:
    app = build()
    CostGuard(app)
    app.add_url_rule("/file", "file", lambda: flask.send_file(BytesIO(b"content"), "text/plain"))
    app.add_url_rule("/empty", "empty", lambda: app.response_class(iter(())))
    client = wsgi(app)
    assert client.get("/file").content == b"content"
    assert client.get("/empty").content == b""


def test_the_response_tells_the_cost_of_all_calls(wsgi: Serve) -> None:
    app = build()
    CostGuard(app, Till(), user=from_header, cost_headers=True)
    response = wsgi(app).get("/cost", headers=ALICE)
    assert response.headers["x-costguard-cost"] == "0.004"
    assert int(response.headers["x-costguard-reset"]) > 0


@pytest.mark.parametrize("user", [None, lambda request: None, lambda request: "carol"])
def test_inside_of_another_middleware_it_refines_its_tags(wsgi: Serve, user: Any) -> None:
    app = build()
    CostGuard(app, feature="chat", user=user)
    outside = CostGuardMiddleware(app.wsgi_app, user=lambda request: request.headers["x-test-user"])
    seen = wsgi(outside).get("/show/7", headers=ALICE).json()
    name = "alice" if user is None or user(None) is None else "carol"
    assert seen == {"user": name, "feature": "chat", "route": "/show/<int:number>"}


def test_the_door_is_asked_with_tags_and_route_before_the_view_runs(wsgi: Serve) -> None:
    app = build()
    till = Till(allowed=lambda tags: tags.user != "alice")
    CostGuard(app, till, user=from_header, check=True)
    client = wsgi(app)
    assert client.get("/broken", headers=ALICE).status_code == 429
    assert client.get("/show/7").status_code == 200
    assert [(tags.user, tags.route) for tags in till.asked] == [
        ("alice", "/broken"),
        ("unattributed", "/show/<int:number>"),
    ]


def test_payer_headers_are_opt_in(wsgi: Serve) -> None:
    app, other = build(), build()
    CostGuard(app, headers={"user": "X-Test-User"})
    CostGuard(other)
    assert wsgi(app).get("/show/7", headers=ALICE).json()["user"] == "alice"
    assert "user" not in wsgi(other).get("/show/7", headers=ALICE).json()


def test_a_callable_that_raises_names_the_tag() -> None:
    app = build()
    CostGuard(app, user=lambda request: g.user.id)
    app.testing = True
    with pytest.raises(ConfigError, match="'user' raised AttributeError"):
        app.test_client().get("/show/7")


def test_blueprints_have_their_prefix_in_the_route(wsgi: Serve) -> None:
    app = build()
    blueprint = flask.Blueprint("v1", __name__, url_prefix="/v1/<team>")
    blueprint.get("/users/<id>")(lambda team, id: dict(current_tags()))
    app.register_blueprint(blueprint)
    CostGuard(app)
    assert wsgi(app).get("/v1/red/users/7").json() == {"route": "/v1/<team>/users/<id>"}


def test_flasks_test_client_keeps_its_request_context() -> None:
    app = build()
    CostGuard(app, user=from_header)
    with app.test_client() as client:
        assert client.get("/show/7", headers=ALICE).json == {"user": "alice", "route": "/show/<int:number>"}
        assert request.path == "/show/7"
    assert current_frame() is None


def test_a_request_context_without_the_wsgi_app_leaves_no_frame() -> None:
    app = build()
    CostGuard(app, user=from_header)
    with app.test_request_context("/show/7", headers=ALICE):
        assert app.full_dispatch_request().json == {"user": "alice", "route": "/show/<int:number>"}
        assert current_frame() is None


def test_concurrent_requests_keep_their_own_tags(wsgi: Serve) -> None:
    app = build()
    CostGuard(app, user=from_header)
    client = wsgi(app)

    def one(number: int) -> None:
        headers = {"x-test-user": f"u{number}"} if number % 3 else {}
        path = ("/show/7", "/stream")[number % 2]
        shown = httpx.get(f"{client.base_url}".rstrip("/") + path, headers=headers, timeout=60).json()
        assert shown.get("user") == (f"u{number}" if number % 3 else None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))
