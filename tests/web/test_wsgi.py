"""The WSGI middleware around bare WSGI apps, over waitress and wsgiref."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from queue import Queue
from typing import Any
from wsgiref.validate import validator

import httpx
import pytest

from costguard.errors import ConfigError, StoreUnavailable, UnpricedModel
from costguard.tags import bind_tags, current_frame, current_tags, tagged
from costguard.web.wsgi import CostGuardMiddleware
from tests.web.conftest import Serve
from tests.web.money import Till, over_budget

Start = Callable[..., Any]
JSON = ("Content-Type", "application/json")
EVENTS = ("Content-Type", "text/event-stream")
TEXT = ("Content-Type", "text/plain")


def shown() -> bytes:
    return json.dumps(dict(current_tags())).encode()


def show(environ: dict[str, Any], start: Start) -> list[bytes]:
    start("200 OK", [JSON])
    return [shown()]


def show_from_a_generator(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    start("200 OK", [JSON])
    yield b""
    yield shown()


def show_from_a_body(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [JSON])
    return (shown() for _ in range(1))


def show_by_write(environ: dict[str, Any], start: Start) -> list[bytes]:
    write = start("200 OK", [TEXT])
    write(b"one ")
    write(current_tags().user.encode())
    return [b" three"]


def refuse(environ: dict[str, Any], start: Start) -> list[bytes]:
    raise over_budget()


def refuse_after_start(environ: dict[str, Any], start: Start) -> list[bytes]:
    start("200 OK", [JSON])
    raise over_budget()


def refuse_in_a_generator(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    start("200 OK", [JSON])
    yield b""
    raise over_budget()


def refuse_wrapped(environ: dict[str, Any], start: Start) -> list[bytes]:
    try:
        raise over_budget()
    except Exception as error:
        raise RuntimeError("the agent failed") from error


def started(headers: list[tuple[str, str]]) -> Any:
    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        start("200 OK", headers)
        yield b"data: " + current_tags().user.encode() + b"\n\n"
        raise over_budget()

    return app


def cost(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    frame = current_frame()
    assert frame is not None
    start("200 OK", [TEXT])
    frame.add(1_500_000)
    frame.add(2_500_000)
    yield b"ok"


def from_header(request: Any) -> str | None:
    return request.headers.get("X-Test-User")  # type: ignore[no-any-return]


@pytest.mark.parametrize("app", [show, show_from_a_generator, show_from_a_body])
def test_tags_reach_the_app_and_every_kind_of_body(wsgi: Serve, app: Any) -> None:
    client = wsgi(validator(CostGuardMiddleware(validator(app), user=from_header, environment="production")))
    assert client.get("/", headers={"x-test-user": "alice"}).json() == {"user": "alice", "environment": "production"}
    assert client.get("/").json() == {"environment": "production"}


def test_the_write_callable_works(wsgi: Serve) -> None:
    assert wsgi(CostGuardMiddleware(show_by_write, user="alice")).get("/").text == "one alice three"


def test_a_callable_reads_the_environ_as_a_mapping_too(wsgi: Serve) -> None:
    app = CostGuardMiddleware(
        show,
        user=lambda environ: environ["REQUEST_METHOD"],
        feature=lambda environ: environ.get("NOPE"),
        tags={"path": lambda request: request.path, "kind": lambda request: request.headers["content-type"]},
    )
    shown = wsgi(app).post("/a", headers={"content-type": "x/y"}).json()
    assert shown == {"user": "POST", "path": "/a", "kind": "x/y"}


def test_the_route_comes_from_the_environ_or_a_callable(wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start: Start) -> list[bytes]:
        environ["costguard.route"] = "/users/{id}"
        return show(environ, start)

    assert wsgi(CostGuardMiddleware(app)).get("/users/7").json() == {"route": "/users/{id}"}
    mine = CostGuardMiddleware(show, route=lambda environ: f"{environ['PATH_INFO'][:6]}/*")
    assert wsgi(mine).get("/users/7").json() == {"route": "/users/*"}


@pytest.mark.parametrize("app", [refuse, refuse_after_start, refuse_in_a_generator, refuse_wrapped])
def test_a_refusal_before_the_first_byte_is_a_clean_429(wsgi: Serve, app: Any) -> None:
    response = wsgi(validator(CostGuardMiddleware(app))).get("/")
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "3600"
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["remaining"] == "0.02"


@pytest.mark.parametrize("app", [refuse, refuse_in_a_generator], ids=["app", "generator"])
def test_a_refusal_has_no_body_for_head(app: Any) -> None:
    """Servers hand on what they get, and on a kept connection it is read as the beginning of the next response."""
    started: list[Any] = []
    environ = {"REQUEST_METHOD": "HEAD"}
    body = b"".join(CostGuardMiddleware(app)(environ, lambda *given: started.append(given)))
    ((status, headers),) = started
    assert status == "429 Too Many Requests"
    assert int(dict(headers)["Content-Length"]) > 0
    assert body == b""


def test_the_other_refusals_have_their_own_status(wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start: Start) -> list[bytes]:
        if environ["PATH_INFO"] == "/store":
            raise StoreUnavailable("down")
        raise UnpricedModel("no price", provider="openai", model="gpt-9")

    client = wsgi(CostGuardMiddleware(app))
    assert client.get("/store").status_code == 503
    assert client.get("/").status_code == 422


def test_a_refusal_in_a_started_event_stream_is_a_typed_event_and_a_clean_end(wsgi: Serve) -> None:
    response = wsgi(CostGuardMiddleware(started([EVENTS]), user="alice")).get("/")
    first, error = [part for part in response.text.split("\n\n") if part]
    assert first == "data: alice"
    kind, data = error.split("\n")
    assert kind == "event: error"
    assert json.loads(data.removeprefix("data: "))["status"] == 429


@pytest.mark.parametrize(
    "headers", [[TEXT], [EVENTS, ("Content-Length", "500")], [EVENTS, ("Content-Encoding", "gzip")]]
)
def test_a_refusal_in_any_other_started_body_is_raised_on(headers: Any) -> None:
    body = iter(CostGuardMiddleware(started(headers))({}, lambda *_: None))
    assert next(body).startswith(b"data")
    with pytest.raises(Exception, match="has spent"):
        next(body)


def test_the_response_tells_the_cost_of_all_calls_before_its_first_byte(wsgi: Serve) -> None:
    response = wsgi(CostGuardMiddleware(cost, Till(), user="alice", cost_headers=True)).get("/")
    assert response.headers["x-costguard-cost"] == "0.004"
    assert response.headers["x-costguard-remaining"] == "0.02"
    assert int(response.headers["x-costguard-reset"]) > 0
    assert not [name for name in wsgi(CostGuardMiddleware(cost, Till())).get("/").headers if "costguard" in name]


def test_the_door_is_asked_with_the_tags_before_the_app_runs(wsgi: Serve) -> None:
    till = Till(allowed=lambda tags: tags.user != "alice")
    client = wsgi(CostGuardMiddleware(show, till, user=from_header, check=True))
    assert client.get("/", headers={"x-test-user": "alice"}).status_code == 429
    assert client.get("/", headers={"x-test-user": "bob"}).status_code == 200
    assert [tags.user for tags in till.asked] == ["alice", "bob"]


def test_payer_headers_are_opt_in(wsgi: Serve) -> None:
    sent = {"x-user-id": "alice"}
    assert wsgi(CostGuardMiddleware(show, headers={"user": "X-User-Id"})).get("/", headers=sent).json() == {
        "user": "alice"
    }
    assert wsgi(CostGuardMiddleware(show)).get("/", headers=sent).json() == {}


def test_one_inside_of_another_refines_its_tags_and_the_cost_is_told_once(wsgi: Serve) -> None:
    """Else its calls are nobody's, and count for no budget of the user."""
    inner = CostGuardMiddleware(show, Till(), feature="chat", user=lambda request: None, cost_headers=True)
    client = wsgi(CostGuardMiddleware(inner, Till(), user=from_header, route=lambda _: "/x", cost_headers=True))
    response = client.get("/", headers={"x-test-user": "alice"})
    assert response.json() == {"user": "alice", "feature": "chat", "route": "/x"}
    assert response.headers.get_list("x-costguard-cost") == ["0.00"]
    told = wsgi(CostGuardMiddleware(CostGuardMiddleware(cost), Till(), cost_headers=True)).get("/")
    assert told.headers["x-costguard-cost"] == "0.004"


def test_a_stream_reaches_the_client_as_it_is_made(wsgi: Serve) -> None:
    gate = threading.Event()

    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        start("200 OK", [EVENTS])
        yield b"first"
        assert gate.wait(10)
        yield b"last"

    with wsgi(CostGuardMiddleware(app)).stream("GET", "/") as response:
        chunks = response.iter_text()
        assert next(chunks) == "first"
        gate.set()
        assert next(chunks) == "last"


def test_the_body_is_closed_in_the_context_of_its_request(wsgi: Serve) -> None:
    closed: Queue[str] = Queue()

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"ok"

        def close(self) -> None:
            closed.put(current_tags().user)

    def app(environ: dict[str, Any], start: Start) -> Body:
        start("200 OK", [TEXT])
        bind_tags(user="late")
        return Body()

    assert wsgi(CostGuardMiddleware(app, user="alice")).get("/").text == "ok"
    assert closed.get(timeout=60) == "late"


def test_a_block_that_a_generator_holds_open_lasts_from_step_to_step() -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        start("200 OK", [TEXT])
        with tagged(feature="inside"):
            yield current_tags().feature.encode()
            yield current_tags().feature.encode()
        yield current_tags().feature.encode()

    steps = iter(CostGuardMiddleware(app, feature="outside")({}, lambda *_: None))
    seen = []
    for chunk in steps:
        seen.append(chunk)
        assert current_frame() is None
    assert seen == [b"inside", b"inside", b"outside"]


def test_two_bodies_read_in_turns_keep_their_own_tags() -> None:
    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        start("200 OK", [TEXT])
        for _ in range(3):
            yield current_tags().user.encode()

    bodies = [
        iter(CostGuardMiddleware(app, user=lambda environ: environ["user"])({"user": user}, lambda *_: None))
        for user in ("alice", "bob")
    ]
    assert list(zip(*bodies, strict=True)) == [(b"alice", b"bob")] * 3


def test_an_app_may_replace_its_status_before_the_first_byte() -> None:
    calls: list[str] = []

    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        start("200 OK", [TEXT])
        try:
            1 // 0  # noqa: B018
        except ZeroDivisionError:
            start("500 Oops", [TEXT], sys.exc_info())
        yield b"sorry"

    assert list(CostGuardMiddleware(app)({}, lambda status, *_: calls.append(status))) == [b"sorry"]
    assert calls == ["500 Oops"]


def test_an_empty_body_still_starts() -> None:
    calls: list[str] = []

    def app(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        start("204 No Content", [])
        return iter(())

    assert list(CostGuardMiddleware(app)({}, lambda status, *_: calls.append(status))) == []
    assert calls == ["204 No Content"]


def test_the_servers_own_file_wrapper_is_handed_on_unwrapped() -> None:
    class Wrapper:
        def __init__(self, file: BytesIO) -> None:
            self.file = file

    def app(environ: dict[str, Any], start: Start) -> Any:
        start("200 OK", [TEXT])
        return environ["wsgi.file_wrapper"](BytesIO(b"x"))

    body = CostGuardMiddleware(app)({"wsgi.file_wrapper": Wrapper}, lambda *_: None)
    assert isinstance(body, Wrapper)


def test_a_callable_that_raises_is_a_visible_error() -> None:
    app = CostGuardMiddleware(show, user=lambda environ: environ["REMOTE_USER"])
    with pytest.raises(ConfigError, match="'user' raised KeyError"):
        app({}, lambda *_: None)


def test_concurrent_requests_keep_their_own_tags(wsgi: Serve) -> None:
    client = wsgi(CostGuardMiddleware(show_from_a_generator, user=from_header))

    def one(number: int) -> None:
        headers = {"x-test-user": f"u{number}"} if number % 3 else {}
        shown = httpx.get(str(client.base_url), headers=headers, timeout=60).json()
        assert shown.get("user") == (f"u{number}" if number % 3 else None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))


def test_no_frame_is_left_in_the_thread_whatever_happens() -> None:
    def broken(environ: dict[str, Any], start: Start) -> list[bytes]:
        bind_tags(user="bound")
        raise ZeroDivisionError

    for app in (show, show_from_a_generator, refuse):
        body = CostGuardMiddleware(app, user="alice")({}, lambda *_: None)
        next(iter(body))
        assert current_frame() is None
    with pytest.raises(ZeroDivisionError):
        CostGuardMiddleware(broken)({}, lambda *_: None)
    assert current_frame() is None
