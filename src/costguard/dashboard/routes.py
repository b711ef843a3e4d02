"""The addresses of the dashboard: who is let in, what is made of a request, and what is said when it cannot be."""

from __future__ import annotations

import json
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route, Router

from costguard.dashboard import answers
from costguard.dashboard.access import Authorize, Person, ask
from costguard.dashboard.alert_address import address_of
from costguard.dashboard.answers import Kind, Refusal, Refused
from costguard.dashboard.api import API, Pulse
from costguard.dashboard.desk import Desk
from costguard.dashboard.files import file, mark
from costguard.dashboard.forgery import Forgery
from costguard.dashboard.form import DONE, MOST_BYTES, Form, read
from costguard.dashboard.loopback import TOKEN, Loopback
from costguard.dashboard.pages import PAGES, Page
from costguard.dashboard.query import Query
from costguard.dashboard.render import page as render
from costguard.dashboard.tables import plain, tables_of
from costguard.dashboard.threads import Busy, Threads
from costguard.errors import ConfigError, CostGuardError, StoreUnavailable
from costguard.reports.csv_cells import csv_lines

_log = logging.getLogger("costguard.dashboard")

_FOR_A_YEAR = "public, max-age=31536000, immutable"

_READING = ("GET", "HEAD")
_ALL = (*_READING, "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What a route takes: what it does not know the router would answer itself, or the app around us."""

Endpoint = Callable[[Request], Awaitable[Response]]
Allowed = Callable[[Request, Person], Awaitable[Response]]


class Routes:
    """All that a dashboard answers. Whatever happens, its answer is one of ours."""

    def __init__(self, desk: Desk, forgery: Forgery, authorize: Authorize | None, loopback: Loopback | None) -> None:
        self._desk = desk
        self._forgery = forgery
        self._authorize = authorize
        self._loopback = loopback
        self._threads = Threads()
        # Its own: slow reports must not keep people at the door, nor strangers at the door keep reports.
        self._door = Threads()
        self._pulse = Pulse()

    def router(self) -> Router:
        """To be called with each request, below its mount."""
        routes: list[BaseRoute] = []

        def add(path: str, kind: Kind, endpoint: Endpoint, methods: Sequence[str] = _READING) -> None:
            routes.append(Route(f"/{path}", self._open(kind, endpoint, methods), methods=_ALL))

        add("static/{name:path}", "html", self._file)
        add("api/pulse", "json", self._allowed(self._beat))
        for name in API:
            add(f"api/{name}", "json", self._allowed(self._api(name)))
        for page in PAGES:
            add(f"{page.path or page.name}.csv", "text", self._allowed(self._csv(page)))
        for page in PAGES:
            methods = (*_READING, "POST") if page.acts else _READING
            add(page.path, "html", self._allowed(self._page(page)), methods)
        add("alerts/{id}", "html", self._allowed(self._explained))
        return Router(routes, redirect_slashes=False, default=self._elsewhere)

    async def _elsewhere(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        bare = not answers.path(request)
        answer = await (self._slash(request) if bare else self._open("html", self._nothing)(request))
        await answer(scope, receive, send)

    # What every request goes through.

    def _open(self, kind: Kind, inner: Endpoint, methods: Sequence[str] = _READING) -> Endpoint:
        """The outermost: an error of any kind becomes an answer that shows nothing of the inside."""

        async def endpoint(request: Request) -> Response:
            try:
                self._here(request)
                if request.method not in methods:
                    answer = answers.refuse(request, kind, answers.NOT_SO)
                    answer.headers["allow"] = ", ".join(methods)
                    return answer
                return await inner(request)
            except HTTPException as error:
                return answers.of_the_app(request, kind, error)
            except Exception as error:  # noqa: BLE001 - logged, and no inside of the app in the answer
                known = answers.known(error)
                if known is None:
                    # Quoted: a line break in the address would begin a line of its own in the log.
                    _log.exception("the dashboard could not answer %s %r", request.method, answers.path(request))
                    known = answers.UNKNOWN
                return answers.refuse(request, kind, known)

        return endpoint

    def _here(self, request: Request) -> None:
        wrong = self._loopback.why_not(request) if self._loopback is not None else ""
        if wrong:
            raise Refused(Refusal(403, "Not from here", wrong))

    def _allowed(self, inner: Allowed) -> Endpoint:
        """For those alone whom `authorize`, or the token, lets in."""

        async def endpoint(request: Request) -> Response:
            if self._loopback is not None and request.method == "GET" and TOKEN in request.query_params:
                return self._enter(request, self._loopback)
            person = await self._who(request)
            if person is None:
                raise Refused(answers.NOT_YOU if self._loopback is None else answers.NO_SESSION)
            return await inner(request, person)

        return endpoint

    async def _who(self, request: Request) -> Person | None:
        if self._authorize is None:
            return self._loopback.person(request) if self._loopback is not None else None
        try:
            return Person.read(await ask(self._authorize, request, self._door.run))
        except (HTTPException, Busy):
            raise
        except Exception as error:
            # Whoever cannot be told is nobody. Not its message to the browser: it is about the inside of the app.
            _log.exception("authorize could not tell who asks for the dashboard")
            raise Refused(answers.WHO) from error

    def _enter(self, request: Request, loopback: Loopback) -> Response:
        """Out of the address at once, so that no history keeps it."""
        session = loopback.enter(request.query_params[TOKEN])
        if session is None:
            raise Refused(answers.USED)
        answer = RedirectResponse(answers.root(request), 303)
        answer.set_cookie(loopback.cookie, session, httponly=True, samesite="strict", path="/")
        return answer

    # What is answered.

    def _page(self, page: Page) -> Allowed:
        async def endpoint(request: Request, person: Person) -> Response:
            if request.method == "POST":
                return await self._act(request, person, page)
            return await self._show(request, person, page)

        return endpoint

    async def _show(
        self, request: Request, person: Person, page: Page, error: str = "", form: dict[str, str] | None = None
    ) -> Response:
        key, new = self._forgery.key(request)
        query = answers.query(request)
        more = {
            "page": page.name, "root": answers.root(request), "params": dict(request.path_params),
            "csrf": self._forgery.token(key, person), "flash": DONE.get(query.get("done"), ""), "error": error,
            "form": defaultdict(str, form or {}),
        }  # fmt: skip
        shown = Query([(name, value) for name, value in query if name != "done"])

        def make() -> str:
            view = self._desk.view(person, **more)
            context = {"query": shown, **page.make(view, shown)}
            return render(page.template, {"view": view, "nonce": secrets.token_hex(16), **context})

        answer = Response(await self._threads.run(make), 422 if error else 200, media_type="text/html")
        if new:
            secure = request.scope["scheme"] == "https"
            answer.set_cookie(
                self._forgery.cookie(request), key, httponly=True, samesite="strict", path="/", secure=secure
            )  # fmt: skip
        return answer

    async def _act(self, request: Request, person: Person, page: Page) -> Response:
        """What a form asks for; then the page again, by GET."""
        fields = read(await _body(request))
        wrong = self._forgery.why_not(request, fields.get("csrf", ""), person)
        if wrong:
            raise Refused(Refusal(403, "Not from this page", wrong))
        if not person.operator:
            raise Refused(answers.VIEWER)
        act = page.acts.get(fields.get("do", ""))
        if act is None:
            raise Refused(answers.NO_ACT)

        def make() -> str:
            return act(self._desk.view(person, page=page.name), Form.fill(fields, person.name))

        try:
            done = await self._threads.run(make)
        except StoreUnavailable:
            raise
        except CostGuardError as error:
            kept = {name: value for name, value in fields.items() if name not in ("csrf", "nonce")}
            return await self._show(request, person, page, str(error), kept)
        query = answers.query(request)
        return RedirectResponse(answers.root(request) + quote(page.path) + _after(query, done), 303)

    async def _explained(self, request: Request, person: Person) -> Response:
        """Where an alert leads, of which a message has the number: ids of users are in no address that is sent."""
        number, root = request.path_params["id"], answers.root(request)
        address = await self._threads.run(lambda: address_of(self._desk.view(person, root=root), number))
        return RedirectResponse(address, 303)

    def _csv(self, page: Page) -> Allowed:
        async def endpoint(request: Request, person: Person) -> Response:
            query = answers.query(request)

            def make() -> tuple[str, str]:
                view = self._desk.view(person, page=page.name, params=dict(request.path_params))
                found = tables_of(page.make(view, query))
                table = found.get(query.get("table")) or (None if query.get("table") else next(iter(found.values())))
                if table is None:
                    raise LookupError(f"this page has no table of that name; it has: {', '.join(sorted(found))}")
                names = [column.name for column in table.columns]
                rows = [[_cell(row.get(name)) for name in names] for row in table.rows]
                return table.name, "".join(csv_lines(names, rows))

            name, text = await self._threads.run(make)
            disposition = f'attachment; filename="costguard-{page.name}-{name}.csv"'
            return Response(text, media_type="text/csv", headers={"content-disposition": disposition})

        return endpoint

    def _api(self, name: str) -> Allowed:
        async def endpoint(request: Request, person: Person) -> Response:
            query = answers.query(request)
            made = await self._threads.run(lambda: API[name](self._desk.view(person, page=name), query))
            return Response(json.dumps(made), media_type="application/json")

        return endpoint

    async def _beat(self, request: Request, person: Person) -> Response:
        body, etag = await self._threads.run(lambda: self._pulse.beat(self._desk.view(person)))
        return answers.unless_known(request, body, "application/json", etag, "no-store")

    async def _file(self, request: Request) -> Response:
        found = file(request.path_params["name"])
        if found is None:
            raise Refused(answers.NOTHING)
        content, kind, etag = found
        same = request.query_params.get("v") == mark(etag)
        return answers.unless_known(request, content, kind, etag, _FOR_A_YEAR if same else "no-cache")

    async def _nothing(self, request: Request) -> Response:
        raise Refused(answers.NOTHING)

    async def _slash(self, request: Request) -> Response:
        """Mounted at /costs and asked for as that: links are relative to /costs/."""
        last = str(request.scope.get("root_path", "")).rstrip("/").rpartition("/")[2]
        text = answers.query_text(request)
        query = f"?{text}" if text else ""
        return RedirectResponse(f"{quote(last)}/{query}", 307)


def _after(query: Query, done: str) -> str:
    """The page again, without the form; what is gone is not opened any more."""
    kept = dict.fromkeys(("do", "number", "kind", "payer"))
    gone = {"budget": None} if done == "removed" or query.get("kind") else {}
    return query.href(done=done, **kept, **gone)


async def _body(request: Request) -> bytes:
    """Raises ConfigError where it is larger than any form of ours, or was not sent to its end."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MOST_BYTES:
                raise ConfigError(f"the form is larger than {MOST_BYTES:,} bytes; nothing was done")
            parts.append(part)
    except ClientDisconnect:
        # Whoever goes away is no error of ours, and nobody reads the answer.
        raise ConfigError("the form was not sent to its end; nothing was done") from None
    return b"".join(parts)


def _cell(value: Any) -> Any:
    """Numbers stay numbers: as text, a negative one would be taken for a formula."""
    if isinstance(value, float):
        return Decimal(f"{value:.3f}")
    return value if value is None or isinstance(value, (str, int, Decimal)) else str(plain(value))
