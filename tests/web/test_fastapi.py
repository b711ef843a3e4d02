"""FastAPI: install(), bind(), and tags in every corner of a request, over uvicorn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from costguard.carry import carry
from costguard.errors import BudgetExceeded, ConfigError
from costguard.tags import Tags, bind_tags, current_tags
from costguard.web.asgi import CostGuardMiddleware
from costguard.web.fastapi import bind, install
from tests.web.conftest import Serve
from tests.web.money import Till, over_budget


async def payer(x_test_user: str) -> str:
    bind_tags(user=x_test_user)
    return x_test_user


def who(request: Request) -> None:
    bind_tags(user=request.headers.get("x-test-user"))


async def who_async(request: Request) -> None:
    bind_tags(user=request.headers.get("x-test-user"))


def who_for_a_while(request: Request) -> Iterator[None]:
    bind_tags(user=request.headers.get("x-test-user"))
    yield
    assert current_tags().user == request.headers.get("x-test-user", "unattributed")


DEPENDENCIES = {"sync": who, "async": who_async, "sync with yield": who_for_a_while}


def build(dependency: Any) -> FastAPI:
    app = FastAPI()
    depends = [Depends(dependency)]

    @app.get("/plain", dependencies=depends)
    def plain() -> dict[str, str]:
        return dict(current_tags())

    @app.get("/waiting", dependencies=depends)
    async def waiting() -> dict[str, str]:
        return dict(current_tags())

    @app.get("/to-thread", dependencies=depends)
    async def to_thread() -> dict[str, str]:
        return dict(await asyncio.to_thread(current_tags))

    @app.get("/executor", dependencies=depends)
    async def executor() -> dict[str, str]:
        return dict(await asyncio.get_running_loop().run_in_executor(None, carry(current_tags)))

    @app.get("/task", dependencies=depends)
    async def task() -> dict[str, str]:
        async def look() -> Tags:
            return current_tags()

        return dict(await asyncio.create_task(look()))

    @app.get("/stream", dependencies=depends)
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            await asyncio.sleep(0)
            yield json.dumps(dict(current_tags()))

        return StreamingResponse(body())

    @app.get("/stream-sync", dependencies=depends)
    def stream_sync() -> StreamingResponse:
        def body() -> Iterator[str]:
            yield json.dumps(dict(current_tags()))

        return StreamingResponse(body())

    app.state.background = []

    @app.get("/background", dependencies=depends)
    async def background(tasks: BackgroundTasks) -> dict[str, str]:
        def sync() -> None:
            app.state.background.append(dict(current_tags()))

        async def waits() -> None:
            app.state.background.append(dict(current_tags()))

        tasks.add_task(sync)
        tasks.add_task(waits)
        return dict(current_tags())

    return app


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


def alone(app: FastAPI) -> None:
    install(app)


def under_base(app: FastAPI) -> None:
    install(app)
    app.add_middleware(Passing)


def over_base(app: FastAPI) -> None:
    app.add_middleware(Passing)
    app.add_middleware(CostGuardMiddleware)


def between_bases(app: FastAPI) -> None:
    app.add_middleware(Passing)
    app.add_middleware(CostGuardMiddleware)
    app.add_middleware(Passing)


CORNERS = ["/plain", "/waiting", "/to-thread", "/executor", "/task", "/stream", "/stream-sync", "/background"]


@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES)
@pytest.mark.parametrize("around", [alone, under_base, over_base, between_bases])
def test_what_a_dependency_binds_reaches_every_corner_and_no_other_request(
    asgi: Serve, around: Any, dependency: Any
) -> None:
    app = build(dependency)
    around(app)
    client = asgi(app)
    for corner in CORNERS:
        assert client.get(corner, headers={"x-test-user": "alice"}).json() == {"user": "alice", "route": corner}
        assert client.get(corner).json() == {"route": corner}
        assert client.get(corner, headers={"x-test-user": "bob"}).json() == {"user": "bob", "route": corner}
    seen = [tags.get("user") for tags in app.state.background]
    # The last background tasks may still be running.
    assert seen == ["alice", "alice", None, None, "bob", "bob"][: len(seen)]
    assert len(seen) >= 4


def test_installed_once_it_sees_the_user_that_other_middleware_found_whatever_the_order(asgi: Serve) -> None:
    class Login(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            request.state.user = "alice"
            return await call_next(request)

    for login_first in (True, False):
        app = FastAPI()
        if login_first:
            app.add_middleware(Login)
        install(app, user=lambda request: request.state.user)
        if not login_first:
            app.add_middleware(Login)
        app.get("/")(lambda: dict(current_tags()))
        assert asgi(app).get("/").json() == {"user": "alice", "route": "/"}


def test_the_route_has_the_prefixes_of_routers_and_mounts(asgi: Serve) -> None:
    def view() -> dict[str, str]:
        return {"route": current_tags().route}

    leaf, router, sub, app = APIRouter(prefix="/leaf"), APIRouter(prefix="/teams/{team}"), FastAPI(), FastAPI()
    leaf.get("/{item:path}")(view)
    router.get("/users/{id}")(view)
    router.include_router(leaf)
    sub.include_router(router, prefix="/v2")
    sub.get("/{word}")(view)
    app.include_router(router, prefix="/v1")
    app.mount("/sub", sub)
    install(app)
    client = asgi(app)
    for path, route in {
        "/v1/teams/red/users/7": "/v1/teams/{team}/users/{id}",
        "/v1/teams/red/leaf/a/b": "/v1/teams/{team}/leaf/{item:path}",
        "/sub/v2/teams/red/users/7": "/sub/v2/teams/{team}/users/{id}",
        "/sub/hello": "/sub/{word}",
    }.items():
        assert client.get(path).json() == {"route": route}


def test_tags_bound_in_the_middleware_of_a_mounted_app_do_not_fix_the_route_too_early(asgi: Serve) -> None:
    class Login(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            bind_tags(user="alice")
            return await call_next(request)

    sub, app = FastAPI(), FastAPI()
    sub.add_middleware(Login)
    sub.get("/users/{id}")(lambda: dict(current_tags()))
    app.mount("/sub", sub)
    install(app)
    assert asgi(app).get("/sub/users/7").json() == {"user": "alice", "route": "/sub/users/{id}"}


def test_bind_is_a_dependency_for_routes_and_routers(asgi: Serve) -> None:
    async def plan(request: Request) -> str | None:
        return request.query_params.get("plan")

    app = FastAPI()
    router = APIRouter(dependencies=[Depends(bind(feature="chat", tags={"plan": plan}))])

    @router.get("/chat")
    def chat(tags: Annotated[Tags, Depends(bind(user=lambda request: request.headers.get("x-test-user")))]) -> Any:
        return [dict(tags), dict(current_tags())]

    app.include_router(router)
    install(app, environment="production", user="everyone")
    sent = {"x-test-user": "alice"}
    whole = {"user": "alice", "feature": "chat", "environment": "production", "plan": "pro", "route": "/chat"}
    assert asgi(app).get("/chat?plan=pro", headers=sent).json() == [whole, whole]
    assert asgi(app).get("/chat").json()[1]["user"] == "everyone"
    assert "connection" not in json.dumps(app.openapi())


def refusing(*, stream: bool = False) -> FastAPI:
    app = FastAPI()

    def over() -> None:
        raise over_budget()

    @app.get("/sync")
    def sync() -> None:
        raise over_budget()

    @app.get("/async")
    async def waits() -> None:
        raise over_budget()

    @app.get("/dependency", dependencies=[Depends(over)])
    def dependency() -> None:
        raise AssertionError

    @app.get("/late")
    def late() -> StreamingResponse:
        def body() -> Iterator[str]:
            raise over_budget()
            yield ""

        return StreamingResponse(body())

    @app.get("/events")
    def events() -> StreamingResponse:
        def body() -> Iterator[str]:
            yield "data: 1\n\n"
            raise over_budget()

        return StreamingResponse(body(), media_type="text/event-stream")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        raise over_budget()

    return app


@pytest.mark.parametrize("path", ["/sync", "/async", "/dependency", "/late"])
def test_a_refusal_is_a_429_inside_of_all_middleware(asgi: Serve, path: str) -> None:
    app = refusing()
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])
    install(app)
    app.add_middleware(Passing)
    response = asgi(app).get(path, headers={"origin": "https://a.example"})
    assert response.status_code == 429
    assert response.json()["budget"] == "$5.00/day per user"
    assert response.headers["access-control-allow-origin"] == "https://a.example"


def test_a_refusal_in_a_started_stream_is_an_event_also_under_base_http_middleware(asgi: Serve) -> None:
    app = refusing()
    app.add_middleware(Passing)
    install(app)
    assert asgi(app).get("/events").text.startswith("data: 1\n\n\n\nevent: error\ndata: {")


def test_a_refusal_closes_a_websocket(asgi: Serve) -> None:
    app = refusing()
    install(app)
    address = str(asgi(app).base_url.copy_with(scheme="ws").join("/socket"))
    with connect(address) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_the_apps_own_handlers_go_first(asgi: Serve) -> None:
    app = refusing()
    install(app)

    @app.exception_handler(BudgetExceeded)
    async def mine(request: Request, error: BudgetExceeded) -> JSONResponse:
        return JSONResponse({"mine": str(error.standing)}, 402)

    assert asgi(app).get("/sync").status_code == 402


def test_an_error_that_the_app_made_of_a_refusal_stays_the_apps(asgi: Serve) -> None:
    app = FastAPI()
    install(app)

    @app.get("/")
    def view() -> None:
        try:
            raise over_budget()
        except BudgetExceeded as error:
            raise HTTPException(418) from error

    assert asgi(app).get("/").status_code == 418


def test_options_reach_the_middleware(asgi: Serve) -> None:
    app = refusing()
    install(app, Till(), amounts=False, cost_headers=True)
    response = asgi(app).get("/sync")
    assert "limit" not in response.json()
    assert response.headers["x-costguard-cost"] == "0.00"


def test_wrong_options_and_a_started_app_are_told_at_once(asgi: Serve) -> None:
    app = FastAPI()
    with pytest.raises(ConfigError, match="given twice"):
        install(app, user="alice", tags={"user": "bob"})
    asgi(app).get("/")
    with pytest.raises(ConfigError, match="has started"):
        install(app)
