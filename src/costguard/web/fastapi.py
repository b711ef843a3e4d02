"""FastAPI in one line: ``install(app, guard, user=lambda request: request.state.user_id)``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from costguard.errors import ConfigError, MissingExtra
from costguard.tags import Tags, bind_tags
from costguard.web.asgi import CostGuardMiddleware
from costguard.web.exchange import Door, Exchange, TagsOption, Value
from costguard.web.peers import Trust

if TYPE_CHECKING:
    from fastapi import FastAPI


def install(
    app: FastAPI,
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
    """Add the middleware to an app before it starts, inside of all its other middleware.

    So it sees what they found out about the request (the user), in whatever order they are added,
    and a 429 passes through them (CORS). Calls to providers made in other middleware are not tagged:
    for those, add `CostGuardMiddleware` yourself. The app's own handlers for our errors go first.
    Options: see `costguard.web.exchange.Exchange`.

    Raises ConfigError for wrong options or an app that has started, MissingExtra without FastAPI.
    """
    try:
        from starlette.middleware import Middleware
    except ImportError:
        raise MissingExtra("fastapi", "fastapi", "costguard.web.fastapi.install") from None

    options: dict[str, Any] = {
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
    # The middleware itself is made when the app starts; a wrong option is told now.
    Exchange(guard, **options)
    if app.middleware_stack is not None:
        raise ConfigError("the app has started, and takes no more middleware; call install() where the app is made")
    app.user_middleware.append(Middleware(CostGuardMiddleware, guard=guard, **options))


def bind(
    *,
    user: Value = None,
    feature: Value = None,
    environment: Value = None,
    tags: TagsOption = None,
) -> Callable[..., Awaitable[Tags]]:
    """A dependency that refines the tags of a route or router.

    ``@app.post("/chat", dependencies=[Depends(bind(feature="chat", user=lambda request: request.state.user))])``

    Callables, sync or async, get the `HTTPConnection`: the `Request` or the `WebSocket`. A tag for
    which one returns None stays as it was. For what other dependencies know, write your own and call
    `bind_tags` in it. Raises ConfigError for wrong options, MissingExtra without FastAPI.
    """
    exchange = Exchange(None, user=user, feature=feature, environment=environment, tags=tags)

    async def dependency(connection: Any) -> Tags:
        return bind_tags(await exchange.ask_async(connection, None))

    try:
        from starlette.requests import HTTPConnection
    except ImportError:
        raise MissingExtra("fastapi", "fastapi", "costguard.web.fastapi.bind") from None
    # FastAPI looks at the annotations, and ours are strings that name nothing at module level.
    dependency.__annotations__ = {"connection": HTTPConnection}
    return dependency
