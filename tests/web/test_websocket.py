"""WebSockets through the ASGI middleware, over uvicorn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from costguard.errors import StoreUnavailable
from costguard.tags import bind_tags, current_tags
from costguard.web.asgi import CostGuardMiddleware
from tests.web.conftest import Serve
from tests.web.money import Till, over_budget


async def chat(socket: WebSocket) -> None:
    await socket.accept()
    while (word := await socket.receive_text()) != "refuse":
        if word.startswith("i am "):
            bind_tags(user=word.removeprefix("i am "))
        await socket.send_json(dict(current_tags()))
    raise over_budget()


async def refuse_at_once(socket: WebSocket) -> None:
    raise over_budget()


async def no_store(socket: WebSocket) -> None:
    await socket.accept()
    raise StoreUnavailable("down")


async def refuse_after_closing(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(4000, "mine")
    raise over_budget()


async def break_down(socket: WebSocket) -> None:
    await socket.accept()
    raise ZeroDivisionError


def app(**options: Any) -> Starlette:
    routes = [
        WebSocketRoute("/chat/{room}", chat),
        WebSocketRoute("/refuse", refuse_at_once),
        WebSocketRoute("/no-store", no_store),
        WebSocketRoute("/closed", refuse_after_closing),
        WebSocketRoute("/broken", break_down),
    ]
    return Starlette(routes=[Mount("/v1", routes=routes)], middleware=[Middleware(CostGuardMiddleware, **options)])


def url(asgi: Serve, path: str, **options: Any) -> str:
    return str(asgi(app(**options)).base_url.copy_with(scheme="ws").join(f"/v1{path}"))


def close_of(address: str) -> tuple[int, str]:
    with connect(address, open_timeout=60) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(10)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_tags_and_the_route_reach_a_websocket(asgi: Serve) -> None:
    def user(connection: Any) -> str | None:
        return connection.query_params.get("user")  # type: ignore[no-any-return]

    with connect(url(asgi, "/chat/7?user=alice", user=user)) as socket:
        socket.send("hello")
        assert json.loads(socket.recv(10)) == {"user": "alice", "route": "/v1/chat/{room}"}
        socket.send("i am bob")
        assert json.loads(socket.recv(10))["user"] == "bob"


def test_a_refusal_closes_with_1008_and_the_reason(asgi: Serve) -> None:
    with connect(url(asgi, "/chat/7")) as socket:
        socket.send("refuse")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason.startswith("user=alice has spent $4.98 of $5.00")


def test_a_refusal_before_the_accept_shows_the_same_code(asgi: Serve) -> None:
    assert close_of(url(asgi, "/refuse"))[0] == 1008


def test_a_refusal_at_the_door_shows_the_same_code(asgi: Serve) -> None:
    assert close_of(url(asgi, "/chat/7", guard=Till(allowed=lambda tags: False), check=True))[0] == 1008


def test_an_unreachable_store_asks_to_come_back_later(asgi: Serve) -> None:
    assert close_of(url(asgi, "/no-store"))[0] == 1013


def test_a_socket_that_the_app_closed_keeps_the_apps_code(asgi: Serve) -> None:
    assert close_of(url(asgi, "/closed")) == (4000, "mine")


def test_other_errors_are_left_alone(asgi: Serve) -> None:
    with connect(url(asgi, "/broken")) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(10)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1011
