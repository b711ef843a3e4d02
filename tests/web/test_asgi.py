"""The ASGI middleware around Starlette apps and bare ASGI apps, over uvicorn."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from queue import Queue
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from costguard.errors import StoreUnavailable, UnpricedModel
from costguard.tags import bind_tags, current_frame, current_tags
from costguard.web.asgi import CostGuardMiddleware
from tests.web.conftest import Serve, asgi_server
from tests.web.money import Till, over_budget


async def show(request: Request) -> JSONResponse:
    return JSONResponse(dict(current_tags()))


def show_sync(request: Request) -> JSONResponse:
    return JSONResponse(dict(current_tags()))


async def refuse(request: Request) -> JSONResponse:
    raise over_budget()


def refuse_sync(request: Request) -> JSONResponse:
    raise over_budget()


async def refuse_in_a_group(request: Request) -> JSONResponse:
    async with asyncio.TaskGroup() as group:
        group.create_task(refuse(request))
    raise AssertionError


async def refuse_wrapped(request: Request) -> JSONResponse:
    try:
        raise over_budget()
    except Exception as error:
        raise RuntimeError("the agent failed") from error


async def unpriced(request: Request) -> JSONResponse:
    raise UnpricedModel("no price", provider="openai", model="gpt-9")


async def no_store(request: Request) -> JSONResponse:
    raise StoreUnavailable("down")


async def broken(request: Request) -> JSONResponse:
    raise ZeroDivisionError


async def says_500(request: Request) -> PlainTextResponse:
    return PlainTextResponse("mine", 500)


async def cost(request: Request) -> PlainTextResponse:
    frame = current_frame()
    assert frame is not None
    frame.add(1_500_000)
    await asyncio.to_thread(frame.add, 2_500_000)
    return PlainTextResponse("ok")


async def cost_then_refuse(request: Request) -> PlainTextResponse:
    await cost(request)
    raise over_budget()


def events(kind: str, *, fail: bool = True) -> Any:
    async def stream() -> AsyncIterator[str]:
        yield f"data: {current_tags().user}\n\n"
        await asyncio.sleep(0)
        if fail:
            raise over_budget()

    def stream_sync() -> Iterator[str]:
        yield f"data: {current_tags().user}\n\n"
        if fail:
            raise over_budget()

    async def view(request: Request) -> StreamingResponse:
        body = stream_sync() if request.query_params.get("sync") else stream()
        return StreamingResponse(body, media_type=kind)

    return view


async def late(request: Request) -> StreamingResponse:
    async def stream() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        raise over_budget()
        yield ""

    def stream_sync() -> Iterator[str]:
        raise over_budget()
        yield ""

    body = stream_sync() if request.query_params.get("sync") else stream()
    return StreamingResponse(body, media_type="text/plain")


def routes() -> list[Route | Mount]:
    return [
        Route("/show", show),
        Route("/show-sync", show_sync),
        Route("/users/{id:int}", show),
        Mount("/teams/{team}", routes=[Route("/users/{id}", show)]),
        Mount("/plain", app=bare),
        Route("/refuse", refuse),
        Route("/refuse-sync", refuse_sync),
        Route("/refuse-group", refuse_in_a_group),
        Route("/refuse-wrapped", refuse_wrapped),
        Route("/unpriced", unpriced),
        Route("/no-store", no_store),
        Route("/broken", broken),
        Route("/says-500", says_500),
        Route("/cost", cost),
        Route("/cost-then-refuse", cost_then_refuse),
        Route("/events", events("text/event-stream")),
        Route("/text", events("text/plain")),
        Route("/late", late),
    ]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    body = json.dumps(dict(current_tags())).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


def app(*middleware: Middleware, **options: Any) -> Starlette:
    return Starlette(routes=routes(), middleware=[*middleware, Middleware(CostGuardMiddleware, **options)])


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


PLACES: dict[str, Any] = {
    "added": app,
    "around the app": lambda **options: CostGuardMiddleware(Starlette(routes=routes()), **options),
    "under BaseHTTPMiddleware": lambda **options: app(Middleware(Passing), **options),
    "over BaseHTTPMiddleware": lambda **options: Starlette(
        routes=routes(), middleware=[Middleware(CostGuardMiddleware, **options), Middleware(Passing)]
    ),
    "between BaseHTTPMiddlewares": lambda **options: Starlette(
        routes=routes(),
        middleware=[Middleware(Passing), Middleware(CostGuardMiddleware, **options), Middleware(Passing)],
    ),
}


@pytest.fixture(params=PLACES.values(), ids=list(PLACES))
def place(request: pytest.FixtureRequest) -> Any:
    return request.param


def from_header(request: Request) -> str | None:
    return request.headers.get("x-test-user")


async def from_header_async(request: Request) -> str | None:
    await asyncio.sleep(0)
    return request.headers.get("x-test-user")


@pytest.mark.parametrize("path", ["/show", "/show-sync"])
@pytest.mark.parametrize("user", [from_header, from_header_async])
def test_tags_reach_sync_and_async_views(place: Any, asgi: Serve, path: str, user: Any) -> None:
    client = asgi(place(user=user, environment="production", tags={"team": lambda request: request.method}))
    shown = client.get(path, headers={"x-test-user": "alice"}).json()
    assert shown == {"user": "alice", "environment": "production", "team": "GET", "route": path}
    # A visitor that the callable does not know, right after one that it does.
    assert "user" not in client.get(path).json()


def test_the_route_is_the_template_with_the_prefixes_of_mounts(place: Any, asgi: Serve) -> None:
    client = asgi(place())
    assert client.get("/users/7").json() == {"route": "/users/{id:int}"}
    assert client.get("/teams/red/users/9").json() == {"route": "/teams/{team}/users/{id}"}
    assert client.get("/plain/any/thing").json() == {"route": "/plain"}


def test_an_app_without_a_router_has_no_route(asgi: Serve) -> None:
    assert asgi(CostGuardMiddleware(bare, user="alice")).get("/x/1").json() == {"user": "alice"}


@pytest.mark.parametrize(
    "path", ["/refuse", "/refuse-sync", "/refuse-group", "/refuse-wrapped", "/late", "/late?sync=1"]
)
def test_a_refusal_is_a_clean_429(place: Any, asgi: Serve, path: str) -> None:
    response = asgi(place()).get(path)
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "3600"
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["remaining"] == "0.02"


def test_a_refusal_has_no_body_for_head(asgi: Serve) -> None:
    response = asgi(app()).head("/refuse")
    assert (response.status_code, response.content) == (429, b"")


def test_the_other_refusals_have_their_own_status(place: Any, asgi: Serve) -> None:
    client = asgi(place())
    assert client.get("/unpriced").status_code == 422
    assert client.get("/no-store").status_code == 503
    assert client.get("/no-store").headers["retry-after"] == "5"


def test_other_errors_and_other_500s_are_left_alone(place: Any, asgi: Serve) -> None:
    client = asgi(place())
    # uvicorn closes the connection after an error that reached it.
    broken = client.get("/broken", headers={"connection": "close"})
    assert (broken.status_code, broken.text) == (500, "Internal Server Error")
    mine = client.get("/says-500")
    assert (mine.status_code, mine.text) == (500, "mine")


def test_a_streamed_500_is_not_held_back(asgi: Serve) -> None:
    gate = asyncio.Event()

    async def view(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.wait_for(gate.wait(), 10)
        await send({"type": "http.response.body", "body": b"last"})

    async def open_gate(scope: Any, receive: Any, send: Any) -> None:
        gate.set()
        await bare(scope, receive, send)

    client = asgi(CostGuardMiddleware(Starlette(routes=[Mount("/open", app=open_gate), Mount("/", app=view)])))
    with client.stream("GET", "/") as response:
        chunks = response.iter_text()
        assert next(chunks) == "first"
        assert client.get("/open/").status_code == 200
        assert next(chunks) == "last"


@pytest.mark.parametrize("query", ["", "?sync=1"])
def test_a_refusal_in_a_started_event_stream_is_a_typed_event_and_a_clean_end(asgi: Serve, query: str) -> None:
    response = asgi(app(Middleware(Passing), user="alice")).get(f"/events{query}")
    assert response.status_code == 200
    first, error = [part for part in response.text.split("\n\n") if part]
    assert first == "data: alice"
    kind, data = error.split("\n")
    assert kind == "event: error"
    assert json.loads(data.removeprefix("data: "))["status"] == 429


def test_a_refusal_in_any_other_started_body_cuts_the_connection(asgi: Serve) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        asgi(app()).get("/text")


def test_a_stream_reaches_the_client_as_it_is_made(place: Any, asgi: Serve) -> None:
    gate = threading.Event()

    def view(request: Request) -> StreamingResponse:
        def stream() -> Iterator[str]:
            yield "first"
            assert gate.wait(10)
            yield "last"

        return StreamingResponse(stream(), media_type="text/event-stream")

    inner = place()
    (inner.app if isinstance(inner, CostGuardMiddleware) else inner).routes.append(Route("/gated", view))
    with asgi(inner).stream("GET", "/gated") as response:
        chunks = response.iter_text()
        assert next(chunks) == "first"
        gate.set()
        assert next(chunks) == "last"


def test_a_compressed_event_stream_is_cut_rather_than_spoilt(asgi: Serve) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"\x1f\x8b", "more_body": True})
        raise over_budget()

    with pytest.raises(httpx.RemoteProtocolError):
        asgi(CostGuardMiddleware(stream)).get("/")


def test_a_refusal_in_a_background_task_comes_after_the_response(asgi: Serve) -> None:
    seen: Queue[str] = Queue()

    def work() -> None:
        seen.put(current_tags().user)
        raise over_budget()

    async def view(request: Request) -> PlainTextResponse:
        return PlainTextResponse("done", background=BackgroundTask(work))

    around = Starlette(routes=[Route("/", view)], middleware=[Middleware(CostGuardMiddleware, user="alice")])
    assert asgi(around).get("/").text == "done"
    assert seen.get(timeout=60) == "alice"


def test_middleware_outside_applies_to_a_refusal(asgi: Serve) -> None:
    client = asgi(app(Middleware(CORSMiddleware, allow_origins=["https://a.example"]), Middleware(GZipMiddleware)))
    response = client.get("/refuse", headers={"origin": "https://a.example"})
    assert response.status_code == 429
    assert response.headers["access-control-allow-origin"] == "https://a.example"


def test_the_response_tells_the_cost_of_all_calls_of_the_request(place: Any, asgi: Serve) -> None:
    client = asgi(place(guard=Till(), user="alice", cost_headers=True))
    response = client.get("/cost")
    assert response.headers["x-costguard-cost"] == "0.004"
    assert response.headers["x-costguard-remaining"] == "0.02"
    assert int(response.headers["x-costguard-reset"]) > 0
    assert client.get("/show").headers["x-costguard-cost"] == "0.00"
    assert client.get("/cost-then-refuse").headers["x-costguard-cost"] == "0.004"


def test_the_cost_is_not_told_unless_asked_for(place: Any, asgi: Serve) -> None:
    assert not [name for name in asgi(place(guard=Till())).get("/cost").headers if "costguard" in name]


def test_the_door_is_asked_with_the_tags_before_the_app_runs(place: Any, asgi: Serve) -> None:
    till = Till(allowed=lambda tags: tags.user != "alice")
    client = asgi(place(guard=till, user=from_header, check=True))
    assert client.get("/broken", headers={"x-test-user": "alice"}).status_code == 429
    assert client.get("/show", headers={"x-test-user": "bob"}).status_code == 200
    assert [tags.user for tags in till.asked] == ["alice", "bob"]


def test_payer_headers_are_opt_in(place: Any, asgi: Serve) -> None:
    sent = {"x-user-id": "alice"}
    assert asgi(place(headers={"user": "X-User-Id"})).get("/show", headers=sent).json()["user"] == "alice"
    assert "user" not in asgi(place()).get("/show", headers=sent).json()


def test_the_middleware_of_a_mounted_app_refines_the_tags_of_the_one_outside(asgi: Serve) -> None:
    """Else its calls are nobody's, and count for no budget of the user."""
    till = Till(allowed=lambda tags: tags.user != "bob")
    inner = app(feature="chat", user=lambda request: None, environment="inside", guard=till, check=True)
    outer = Starlette(routes=[Mount("/in/{team}", inner)])
    outer.add_middleware(CostGuardMiddleware, guard=till, user=from_header, environment="outside", cost_headers=True)
    client = asgi(outer)
    seen = client.get("/in/red/users/7", headers={"x-test-user": "alice"})
    tags = {"user": "alice", "feature": "chat", "environment": "inside", "route": "/in/{team}/users/{id:int}"}
    assert seen.json() == tags
    assert client.get("/in/red/cost").headers["x-costguard-cost"] == "0.004"
    assert client.get("/in/red/show", headers={"x-test-user": "bob"}).status_code == 429


def test_two_middlewares_that_tell_the_cost_tell_it_once(asgi: Serve) -> None:
    inner = CostGuardMiddleware(Starlette(routes=routes()), Till(), user=from_header, cost_headers=True)
    response = asgi(CostGuardMiddleware(inner, Till(), cost_headers=True)).get("/cost")
    assert response.headers.get_list("x-costguard-cost") == ["0.004"]
    assert response.headers.get_list("x-costguard-remaining") == ["0.02"]


def test_a_callable_that_raises_is_a_visible_error(asgi: Serve) -> None:
    assert asgi(app(user=lambda request: request.user.id)).get("/show").status_code == 500


def test_lifespan_passes_through() -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
        yield {"started": "yes"}

    async def view(request: Request) -> JSONResponse:
        return JSONResponse(request.state.started)

    inner = Starlette(routes=[Route("/", view)], lifespan=lifespan)
    with asgi_server(CostGuardMiddleware(inner)) as address:
        assert httpx.get(f"http://{address}/").json() == "yes"


def test_concurrent_requests_keep_their_own_tags(place: Any, asgi: Serve) -> None:
    client = asgi(place(user=from_header))

    async def run() -> None:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as parallel:

            async def one(number: int) -> None:
                path = ("/show", "/show-sync")[number % 2]
                headers = {"x-test-user": f"u{number}"} if number % 3 else {}
                shown = (await parallel.get(path, headers=headers)).json()
                assert shown.get("user") == (f"u{number}" if number % 3 else None)

            await asyncio.gather(*(one(number) for number in range(60)))

    asyncio.run(run())


async def test_no_frame_is_left_behind_in_one_context() -> None:
    """In-process, so that all requests share this context: what leaked would be seen by the next."""
    seen: list[str] = []

    async def view(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current_tags().user)
        bind_tags(user=f"bound-{len(seen)}")
        if len(seen) == 2:
            raise ZeroDivisionError
        if len(seen) == 3:
            raise asyncio.CancelledError
        await bare(scope, receive, send)

    async def nothing(message: Any = None) -> Any: ...

    around = CostGuardMiddleware(view)
    for expected in (None, ZeroDivisionError, asyncio.CancelledError, None):
        scope = {"type": "http", "path": "/", "headers": []}
        try:
            await around(scope, nothing, nothing)
        except (ZeroDivisionError, asyncio.CancelledError) as error:
            assert type(error) is expected
        assert current_frame() is None
        assert scope["costguard.frame"] is None
    assert seen == ["unattributed"] * 4
