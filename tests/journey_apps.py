"""One small app per framework for test_journey: the same routes, on real servers in threads.

POST /teams/{team}/ask?sdk=openai|anthropic[&stream=1]   one call
POST /summaries                                          one call, with a budget of the route's own
POST /agent                                              calls inside an event stream, until refused
WS   /chat                                               one call per message (FastAPI, Starlette)
"""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import waitress
from anthropic import Anthropic, AsyncAnthropic
from examples.provider import Provider
from fastapi import FastAPI, Request, WebSocket
from flask import Flask, Response, request
from openai import AsyncOpenAI, OpenAI
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from costguard import Guard, bind_tags
from costguard.web.asgi import CostGuardMiddleware
from costguard.web.fastapi import install
from costguard.web.flask import CostGuard

OPENAI = "gpt-4o"
ANTHROPIC = "claude-haiku-4-5"
MESSAGES: Any = [{"role": "user", "content": "hello"}]
MOST_CALLS = 20


class Asker:
    """The four clients, and one call with each: plain, or as the stream the SDK gives."""

    def __init__(self, provider: Provider) -> None:
        self.openai = OpenAI(base_url=provider.openai_url, api_key="local")
        self.anthropic = Anthropic(base_url=provider.url, api_key="local")
        self.async_openai = AsyncOpenAI(base_url=provider.openai_url, api_key="local")
        self.async_anthropic = AsyncAnthropic(base_url=provider.url, api_key="local")

    @staticmethod
    def options(sdk: str, stream: bool) -> dict[str, Any]:
        if sdk == "anthropic":
            return {"model": ANTHROPIC, "messages": MESSAGES, "max_tokens": 20_000, "stream": stream}
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        return {"model": OPENAI, "messages": MESSAGES, "stream": stream, **usage}

    def ask(self, sdk: str, stream: bool = False) -> Any:
        verb = self.anthropic.messages if sdk == "anthropic" else self.openai.chat.completions
        return verb.create(**self.options(sdk, stream))

    async def ask_async(self, sdk: str, stream: bool = False) -> Any:
        verb = self.async_anthropic.messages if sdk == "anthropic" else self.async_openai.chat.completions
        return await verb.create(**self.options(sdk, stream))

    def agent(self) -> Iterator[str]:
        for number in range(MOST_CALLS):
            self.ask("openai")
            yield f"data: step {number}\n\n"

    async def agent_async(self) -> AsyncIterator[str]:
        for number in range(MOST_CALLS):
            await self.ask_async("openai")
            yield f"data: step {number}\n\n"


def user_of(request: Any) -> str | None:
    """What an app's own sign-in would say."""
    user: str | None = request.headers.get("x-signed-in")
    return user


def fastapi_app(guard: Guard, asker: Asker, *, sync: bool) -> FastAPI:
    app = FastAPI()
    install(app, guard, user=user_of, environment="test", cost_headers=True)

    if sync:

        @app.post("/teams/{team}/ask", response_model=None)
        @guard.feature("ask")
        def ask(team: str, sdk: str, stream: bool = False) -> Any:
            bind_tags(team=team)
            made = asker.ask(sdk, stream)
            if not stream:
                return {"id": made.id}
            return StreamingResponse((f"data: {event.model_dump_json()}\n\n" for event in made), media_type=SSE)

        @app.post("/summaries")
        @guard.budget("$0.15/day", per="user")
        @guard.feature("summarize-fastapi-sync")
        def summaries() -> Any:
            return {"id": asker.ask("openai").id}

        @app.post("/agent")
        @guard.feature("agent")
        def agent() -> StreamingResponse:
            return StreamingResponse(asker.agent(), media_type=SSE)

        return app

    @app.post("/teams/{team}/ask", response_model=None)
    @guard.feature("ask")
    async def ask_async(team: str, sdk: str, stream: bool = False) -> Any:
        bind_tags(team=team)
        made = await asker.ask_async(sdk, stream)
        return StreamingResponse(_events(made), media_type=SSE) if stream else {"id": made.id}

    @app.post("/summaries")
    @guard.budget("$0.15/day", per="user")
    @guard.feature("summarize-fastapi-async")
    async def summaries_async() -> Any:
        return {"id": (await asker.ask_async("openai")).id}

    @app.post("/agent")
    @guard.feature("agent")
    async def agent_async() -> StreamingResponse:
        return StreamingResponse(asker.agent_async(), media_type=SSE)

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await _chat(websocket, asker)

    return app


def starlette_app(guard: Guard, asker: Asker) -> Starlette:
    @guard.feature("ask")
    async def ask(request: Request) -> Any:
        bind_tags(team=request.path_params["team"])
        stream = "stream" in request.query_params
        made = await asker.ask_async(request.query_params["sdk"], stream)
        return StreamingResponse(_events(made), media_type=SSE) if stream else JSONResponse({"id": made.id})

    @guard.budget("$0.15/day", per="user")
    @guard.feature("summarize-starlette")
    async def summaries(_: Request) -> Any:
        return JSONResponse({"id": (await asker.ask_async("openai")).id})

    @guard.feature("agent")
    async def agent(_: Request) -> Any:
        return StreamingResponse(asker.agent_async(), media_type=SSE)

    async def chat(websocket: WebSocket) -> None:
        await _chat(websocket, asker)

    posts = {"/teams/{team}/ask": ask, "/summaries": summaries, "/agent": agent}
    routes = [Route(path, view, methods=["POST"]) for path, view in posts.items()]
    app = Starlette(routes=[*routes, WebSocketRoute("/chat", chat)])
    app.add_middleware(CostGuardMiddleware, guard=guard, user=user_of, environment="test", cost_headers=True)
    return app


def flask_app(guard: Guard, asker: Asker) -> Flask:
    app = Flask(__name__)
    CostGuard(app, guard, user=user_of, environment="test", cost_headers=True)

    @app.post("/teams/<team>/ask")
    @guard.feature("ask")
    def ask(team: str) -> Any:
        bind_tags(team=team)
        stream = "stream" in request.args
        made = asker.ask(request.args["sdk"], stream)
        if not stream:
            return {"id": made.id}
        return Response((f"data: {event.model_dump_json()}\n\n" for event in made), mimetype=SSE)

    @app.post("/summaries")
    @guard.budget("$0.15/day", per="user")
    @guard.feature("summarize-flask")
    def summaries() -> Any:
        return {"id": asker.ask("openai").id}

    @app.post("/agent")
    @guard.feature("agent")
    def agent() -> Response:
        return Response(asker.agent(), mimetype=SSE)

    return app


SSE = "text/event-stream"


async def _events(stream: Any) -> AsyncIterator[str]:
    async for event in stream:
        yield f"data: {event.model_dump_json()}\n\n"


async def _chat(websocket: WebSocket, asker: Asker) -> None:
    bind_tags(feature="chat")
    await websocket.accept()
    async for _ in websocket.iter_text():
        await websocket.send_text((await asker.ask_async("anthropic")).id)


@contextmanager
def asgi_server(app: Any) -> Iterator[str]:
    """uvicorn in a thread, on a socket that already listens: the first request waits in its queue."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@contextmanager
def wsgi_server(app: Any) -> Iterator[str]:
    """waitress in a thread."""
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    thread.join(20)
