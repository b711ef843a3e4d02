"""The dashboard as an application, to be mounted in any ASGI or WSGI app, or to be run alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costguard.dashboard.access import WAYS_OUT, Authorize
from costguard.dashboard.desk import Desk
from costguard.dashboard.forgery import Forgery
from costguard.dashboard.headers import sealed
from costguard.dashboard.hiding import Hiding, Users
from costguard.dashboard.loopback import TOKEN, Loopback
from costguard.errors import ConfigError, MissingExtra
from costguard.ledger.base import Ledger
from costguard.web.asgi import Message, Receive, Send, lifespan

if TYPE_CHECKING:
    from costguard.guard import Guard


class Dashboard:
    """Where the money goes, as pages.

    >>> app.mount("/costs", Dashboard(guard, authorize=who_is_it))  # FastAPI, Starlette
    >>> app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/costs": dashboard.wsgi()})  # Flask

    guard:       the app's guard; or a store such as "sqlite:///costs.db", or a Ledger
    authorize:   a function, sync or async, of a Starlette `Request`: None (nobody), "viewer", "operator", or an object
                 with `name` and `role`. It may raise starlette's HTTPException, to send people to a sign-in
    users:       "shown", "hashed" or "hidden": the values of the tags in `private`, everywhere
    private:     tags whose values say who somebody is
    secret:      16 characters or more, the same in all processes; needed for users="hashed"
    origins:     the addresses that people see, such as "https://admin.example.com", where a proxy hides them
    budget_file: the app's, where no guard is given
    loopback:    instead of `authorize`: this machine alone, by the link that `entrance` gives

    Raises ConfigError without `authorize` and for settings that cannot be meant, MissingExtra without the packages of
    the extra `dashboard`. The store is opened with the first page: one that is away makes a page that says so.
    """

    def __init__(
        self,
        guard: Guard | Ledger | str,
        *,
        authorize: Authorize | None = None,
        users: Users = "shown",
        private: Sequence[str] = ("user",),
        secret: str | None = None,
        origins: Iterable[str] = (),
        budget_file: str | Path | None = None,
        loopback: bool = False,
    ) -> None:
        for package in ("starlette", "jinja2"):
            try:
                __import__(package)
            except ImportError:
                raise MissingExtra(package, "dashboard", "costguard.dashboard.Dashboard") from None
        if loopback and authorize is not None:
            raise ConfigError("loopback=True and authorize= do not go together; leave one of them out")
        if not loopback and authorize is None:
            raise ConfigError(f"a dashboard without authorize= would be open to everybody; {WAYS_OUT}")
        if authorize is not None and not callable(authorize):
            raise ConfigError(f"authorize={authorize!r} cannot be called; {WAYS_OUT}")
        if isinstance(origins, str):
            raise ConfigError(f"origins is one text; give a list: origins=[{origins!r}]")
        from costguard.dashboard.routes import Routes

        self._loopback = Loopback() if loopback else None
        self._desk = Desk(guard, Hiding(users, private, secret), budget_file)
        self._app = Routes(self._desk, Forgery(secret, origins), authorize, self._loopback).router()

    def entrance(self) -> str:
        """What to add to the address to get in, once: "?token=...". The one before it is over.

        Raises ConfigError for a dashboard with `authorize`.
        """
        if self._loopback is None:
            raise ConfigError("a dashboard with authorize= has no token; who may come in is its answer")
        return f"?{TOKEN}={self._loopback.new_token()}"

    @property
    def store(self) -> str:
        """What it shows, without a password. Raises ConfigError and StoreUnavailable where it cannot be opened."""
        return self._desk.ledger().url

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "there is nothing here"})
        else:
            await self._app(scope, receive, sealed(send))

    def wsgi(self) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
        """The same as a WSGI application, by a2wsgi: one thread more, made with the first request of a process.

        In `authorize`, `request.scope["wsgi_environ"]` is the environ. Raises MissingExtra without a2wsgi.
        """
        try:
            import a2wsgi  # noqa: F401
        except ImportError:
            raise MissingExtra("a2wsgi", "dashboard", "Dashboard.wsgi()") from None
        from costguard.dashboard.wsgi import Wsgi

        return Wsgi(self)

    def close(self) -> None:
        """Let go of a store that this dashboard opened; it opens it again where it has to."""
        self._desk.close()
