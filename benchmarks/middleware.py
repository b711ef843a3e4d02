"""What the middleware adds to a request, in-process, without sockets: ratios in one interleaved run.

Bare Starlette and Flask apps against the same app with our middleware and with named peers, where they
are installed (`benchmarks/requirements.txt`, in an environment of their own).

    python -m benchmarks middleware
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
TARGETS = {"starlette": 1.3, "flask": 1.06}
"""At most this many times the bare app, for ours without callables."""

PER_ROUND = {"starlette": 300, "flask": 100}
"""Requests of one case in a row: long enough for the clock, short enough that all cases share the weather."""

Case = Callable[[int], None]


def starlette_peers() -> dict[str, list[Any]]:
    """Those that are installed."""
    from starlette.middleware import Middleware

    middleware: dict[str, list[Any]] = {}
    try:
        from asgi_correlation_id import CorrelationIdMiddleware
    except ImportError:
        pass
    else:
        middleware["asgi-correlation-id"] = [Middleware(CorrelationIdMiddleware)]
    try:
        from starlette_context.middleware import ContextMiddleware, RawContextMiddleware
    except ImportError:
        pass
    else:
        middleware["starlette-context, raw ASGI"] = [Middleware(RawContextMiddleware)]
        middleware["starlette-context, BaseHTTP"] = [Middleware(ContextMiddleware)]
    return middleware


def starlette_cases(loop: asyncio.AbstractEventLoop, *, peers: bool) -> dict[str, Case]:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from costguard.web.asgi import CostGuardMiddleware

    async def view(request: Request) -> JSONResponse:
        return JSONResponse({"id": request.path_params["id"]})

    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            return await call_next(request)

    middleware: dict[str, list[Middleware]] = {
        "bare": [],
        "costguard": [Middleware(CostGuardMiddleware)],
        "costguard, fixed tags": [Middleware(CostGuardMiddleware, feature="chat", environment="production")],
        "costguard, user callable": [
            Middleware(CostGuardMiddleware, user=lambda request: request.headers.get("x-user-id"))
        ],
        "costguard, user header": [Middleware(CostGuardMiddleware, headers={"user": "x-user-id"})],
        "BaseHTTPMiddleware that does nothing": [Middleware(Passing)],
    }
    if peers:
        middleware |= starlette_peers()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise AssertionError(f"status {message['status']}")

    def case(app: Callable[..., Awaitable[None]]) -> Case:
        async def run(times: int) -> None:
            for _ in range(times):
                await app(
                    {
                        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
                        "method": "GET", "path": "/users/7", "raw_path": b"/users/7", "root_path": "",
                        "scheme": "http", "query_string": b"", "server": ("127.0.0.1", 80),
                        "client": ("127.0.0.1", 5000), "state": {},
                        "headers": [(b"host", b"x"), (b"user-agent", b"bench"), (b"x-user-id", b"alice")],
                    },
                    receive,
                    send,
                )  # fmt: skip

        return lambda times: loop.run_until_complete(run(times))

    route = Route("/users/{id}", view)
    return {name: case(Starlette(routes=[route], middleware=added)) for name, added in middleware.items()}


def flask_cases(*, peers: bool) -> dict[str, Case]:
    from flask import Flask
    from werkzeug.test import EnvironBuilder

    from costguard.web.flask import CostGuard
    from costguard.web.wsgi import CostGuardMiddleware

    def build() -> Flask:
        app = Flask("benchmark")
        app.get("/users/<id>")(lambda id: {"id": id})
        return app

    apps = {"bare": build()}
    apps["costguard"] = build()
    CostGuard(apps["costguard"])
    apps["costguard, user callable"] = build()
    CostGuard(apps["costguard, user callable"], user=lambda request: request.headers.get("x-user-id"))
    apps["costguard, WSGI only"] = build()
    apps["costguard, WSGI only"].wsgi_app = CostGuardMiddleware(apps["costguard, WSGI only"].wsgi_app)  # type: ignore[method-assign]
    try:
        from flask_limiter import Limiter
    except ImportError:
        peers = False
    if peers:
        apps["flask-limiter, in memory"] = build()
        Limiter(
            lambda: "alice",
            app=apps["flask-limiter, in memory"],
            default_limits=["1000000000/day"],
            storage_uri="memory://",
        )

    environ = EnvironBuilder("/users/7", headers={"x-user-id": "alice"}).get_environ()

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        if not status.startswith("200"):
            raise AssertionError(f"status {status}")

    def case(app: Flask) -> Case:
        def run(times: int) -> None:
            for _ in range(times):
                body = app({**environ}, start)
                for _ in body:
                    pass
                close = getattr(body, "close", None)
                if close is not None:
                    close()

        return run

    return {name: case(app) for name, app in apps.items()}


def measure(cases: dict[str, Case], per_round: int, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of CPU and ratio to `bare` of each case; each round runs every case, to share the weather.

    The ratio is the median over the rounds of the ratios within a round.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for run in cases.values():
        run(per_round)
    for number in range(rounds):
        order = list(cases) if number % 2 else list(reversed(cases))
        for name in order:
            begin = time.thread_time()
            cases[name](per_round)
            times[name].append((time.thread_time() - begin) / per_round)
    bare = times["bare"]
    return {
        name: {
            "us": statistics.median(seconds) * 1e6,
            "best_us": min(seconds) * 1e6,
            "ratio": statistics.median(mine / theirs for mine, theirs in zip(seconds, bare, strict=True)),
            "ratio_of_best": min(seconds) / min(bare),
        }
        for name, seconds in times.items()
    }


def run(rounds: int = 60, *, peers: bool = True, errors: bool = False) -> dict[str, Any]:
    """Measure everything that is installed, and return it as one JSON value. `errors` is for other benchmarks."""
    loop = asyncio.new_event_loop()
    try:
        starlette = measure(starlette_cases(loop, peers=peers), PER_ROUND["starlette"], rounds)
    finally:
        loop.close()
    flask = measure(flask_cases(peers=peers), PER_ROUND["flask"], rounds)
    versions = {}
    for package in ("starlette", "flask", "asgi-correlation-id", "starlette-context", "flask-limiter"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "rounds": rounds, "targets": TARGETS, "starlette": starlette, "flask": flask}


def table(result: dict[str, Any]) -> str:
    """A result for people."""
    lines = []
    for framework, target in TARGETS.items():
        lines.append(f"{framework} {result['versions'].get(framework, '')}: costguard at most {target} x the bare app")
        lines += [
            f"  {name:<38} {row['us']:8.1f} us  {row['ratio']:7.3f} x"
            f"   best {row['best_us']:7.1f} us  {row['ratio_of_best']:7.3f} x"
            for name, row in result[framework].items()
        ]
    return "\n".join(lines)


def main() -> None:
    result = run()
    print(table(result))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "middleware.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
