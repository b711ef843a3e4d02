"""Real servers in a thread: uvicorn for ASGI; waitress and wsgiref for WSGI."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
import uvicorn
import waitress.server

Serve = Callable[[Any], httpx.Client]


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def install_signal_handlers(self) -> None:
        """A server in a thread takes no signals."""


@contextmanager
def asgi_server(app: Any) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Uvicorn(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    assert server.ready.wait(10), "uvicorn did not start"
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@contextmanager
def waitress_server(app: Any) -> Iterator[str]:
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, threads=4, expose_tracebacks=False)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.effective_port}"
    finally:
        server.close()
        thread.join(30)


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def wsgiref_server(app: Any) -> Iterator[str]:
    server: WSGIServer = make_server("127.0.0.1", 0, app, handler_class=_Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


class _Switch:
    """An app that is another app from test to test: starting a server for each takes too long."""

    app: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return self.app(*arguments)


class _AsgiSwitch(_Switch):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def asgi_switch() -> Iterator[tuple[_Switch, str]]:
    switch = _AsgiSwitch()
    with asgi_server(switch) as address:
        yield switch, address


@pytest.fixture(scope="session", params=[waitress_server, wsgiref_server], ids=["waitress", "wsgiref"])
def wsgi_switch(request: pytest.FixtureRequest) -> Iterator[tuple[_Switch, str]]:
    switch = _Switch()
    with request.param(switch) as address:
        yield switch, address


def _serving(switch: _Switch, address: str) -> Iterator[Serve]:
    with ExitStack() as stack:

        def serve(app: Any) -> httpx.Client:
            switch.app = app
            return stack.enter_context(httpx.Client(base_url=f"http://{address}", timeout=60))

        yield serve


@pytest.fixture
def asgi(asgi_switch: tuple[_Switch, str]) -> Iterator[Serve]:
    """Serve an ASGI app, without its lifespan, and get a client; the app served before is gone then."""
    yield from _serving(*asgi_switch)


@pytest.fixture
def wsgi(wsgi_switch: tuple[_Switch, str]) -> Iterator[Serve]:
    """Serve a WSGI app, and get a client; the app served before is gone then."""
    yield from _serving(*wsgi_switch)
