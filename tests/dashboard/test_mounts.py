"""The dashboard inside of other apps: every link of every page leads back into it, wherever it is mounted."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, ClassVar
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from flask import Flask, session
from flask import request as asked_of_flask
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import create_environ

from costguard import Guard
from costguard.web.fastapi import install
from tests.dashboard.pages import EVERY_PAGE, browser, dashboard, fields_of, guard_with_calls, links_of


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = guard_with_calls()
    yield made
    made.close()


def mounted(guard: Guard, prefix: str) -> Any:
    app: Any = FastAPI()
    install(app, guard, user=lambda _: "alice")
    app.mount(prefix, dashboard(guard))
    return app


@pytest.mark.parametrize("prefix", ["/costs", "/internal/team a/costs"])
async def test_every_link_works_below_a_prefix(guard: Guard, prefix: str) -> None:
    async with browser(mounted(guard, prefix), f"http://costs.test{prefix}/") as client:
        await check_links(client, f"{prefix}/")


async def test_every_link_works_in_a_mount_of_a_mount(guard: Guard) -> None:
    app = Starlette(routes=[Mount("/a", Starlette(routes=[Mount("/b", dashboard(guard))]))])
    async with browser(app, "http://costs.test/a/b/") as client:
        await check_links(client, "/a/b/")


async def test_every_link_works_behind_a_proxy_that_takes_a_prefix_away(guard: Guard) -> None:
    """nginx with `proxy_pass http://app/;`: what the app sees has no prefix, and nobody told it of one."""
    app = mounted(guard, "/costs")

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith("/outside")
        await app({**scope, "path": scope["path"].removeprefix("/outside"), "raw_path": b""}, receive, send)

    async with browser(proxied, "http://costs.test/outside/costs/") as client:
        await check_links(client, "/outside/costs/")


async def check_links(client: httpx.AsyncClient, prefix: str) -> None:
    checked: set[str] = set()
    for path in EVERY_PAGE:
        at = str(client.base_url.join(path))
        page = await client.get(at)
        assert page.status_code == 200, f"{at}: {page.text[:300]}"
        for link in links_of(page.text, at):
            parts = urlsplit(link)
            if parts.netloc != "costs.test" or link in checked:
                continue
            assert parts.path.replace("%20", " ").startswith(prefix.replace("%20", " ")), f"{at} leads to {link}"
            if parts.path not in {urlsplit(one).path for one in checked}:
                assert (await client.get(link)).status_code == 200, f"{at} leads to {link}"
            checked.add(link)
    call = next(link for link in checked if "/calls/" in link and not link.endswith(".csv"))
    page = await client.get(call)
    for link in links_of(page.text, call):
        if urlsplit(link).netloc == "costs.test" and "?" not in link:
            assert (await client.get(link)).status_code == 200, f"{call} leads to {link}"


async def test_the_mount_without_its_slash_leads_to_the_one_with_it(guard: Guard) -> None:
    async with browser(mounted(guard, "/costs"), "http://costs.test/") as client:
        answer = await client.get("/costs")
        assert answer.status_code in (307, 308)
        assert answer.next_request is not None
        assert answer.next_request.url.path == "/costs/"


class TestInTheExamples:
    """alice may change budgets, bob may look, carol and strangers see nothing."""

    @pytest.fixture(autouse=True)
    def keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            monkeypatch.setenv(name, "local")
        monkeypatch.delenv("DEV", raising=False)

    seen: ClassVar = {"alice": (200, True), "bob": (200, False), "carol": (403, False), "mallory": (403, False)}

    async def test_fastapi(self, guard: Guard) -> None:
        from examples.fastapi_app.app import create_app

        async with browser(create_app(guard), "http://notes.test/") as client:
            for name, (status, changes) in self.seen.items():
                headers = {"authorization": f"Bearer session-of-{name}"}
                page = await client.get("costs/budgets?do=set", headers=headers)
                assert (page.status_code, 'method="post"' in page.text) == (status, changes), name

    def test_flask(self, guard: Guard) -> None:
        from examples.flask_app.app import create_app

        client = create_app(guard).test_client()
        for name, (status, changes) in self.seen.items():
            page = client.get("/costs/budgets?do=set", headers={"authorization": f"Bearer session-of-{name}"})
            assert (page.status_code, 'method="post"' in page.text) == (status, changes), name


class TestInFlask:
    @pytest.fixture
    def app(self, guard: Guard) -> Flask:
        app = Flask("notes")
        app.secret_key = "of the tests"

        @app.get("/sign-in/<name>")
        def sign_in(name: str) -> str:
            session["name"] = name
            return "signed in"

        def who(request: Any) -> Any:
            with app.request_context(request.scope["wsgi_environ"]):
                return "operator" if session.get("name") == "alice" else None

        board = dashboard(guard, authorize=who)
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/costs": board.wsgi()})  # type: ignore[method-assign]
        return app

    def test_flasks_own_session_says_who_it_is(self, app: Flask) -> None:
        client = app.test_client()
        assert client.get("/costs/").status_code == 403
        client.get("/sign-in/alice")
        page = client.get("/costs/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert client.get("/costs").headers["location"].endswith("costs/")

    def test_every_page_and_link_works(self, app: Flask) -> None:
        client = app.test_client()
        client.get("/sign-in/alice")
        for path in EVERY_PAGE:
            at = f"http://localhost/costs/{path}"
            page = client.get(at)
            assert page.status_code == 200, path
            for link in links_of(page.text, at):
                if link.startswith("http://localhost/"):
                    assert link.startswith("http://localhost/costs/"), link
        assert client.get("/costs/api/spend?by=user").get_json()["total"]["calls"] == 2

    def test_a_form_is_taken_and_the_etag_is_known(self, app: Flask, guard: Guard) -> None:
        client = app.test_client()
        client.get("/sign-in/alice")
        page = client.get("/costs/budgets?do=set").text
        sent = {**fields_of(page, "set"), "author": "ann", "reason": "why", "rule": "$4/week"}
        answer = client.post("/costs/budgets?do=set", data=sent, headers={"origin": "http://localhost"})
        assert answer.status_code == 303, answer.text
        assert client.get(urljoin("/costs/budgets", answer.headers["location"])).status_code == 200
        assert "$4.00/week" in [str(each) for each in guard.budgets]
        pulse = client.get("/costs/api/pulse")
        known = client.get("/costs/api/pulse", headers={"if-none-match": pulse.headers["etag"]})
        assert (known.status_code, known.data) == (304, b"")

    def test_many_at_once_are_all_answered(self, app: Flask) -> None:
        from concurrent.futures import ThreadPoolExecutor

        client = app.test_client()
        client.get("/sign-in/alice")
        cookie = client.get_cookie("session")
        assert cookie is not None

        def ask(_: int) -> int:
            one = app.test_client(use_cookies=False)
            return one.get("/costs/api/pulse", headers={"cookie": f"session={cookie.value}"}).status_code

        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(ask, range(60))) == {200}

    def test_a_head_has_no_body_that_would_be_taken_for_the_next_answer(self, app: Flask) -> None:
        status, headers, body = wsgi(app, {"REQUEST_METHOD": "HEAD", "PATH_INFO": "/costs/"}, Sent())
        assert status.startswith("403")
        assert int(headers["content-length"]) > 0
        assert body == b""

    @pytest.mark.parametrize("length", ["1000", "7", "-1", "many", "9" * 5000])
    def test_a_form_that_was_not_sent_to_its_end_is_not_waited_for_and_not_done(
        self, app: Flask, guard: Guard, length: str
    ) -> None:
        client = app.test_client()
        client.get("/sign-in/alice")
        page = client.get("/costs/budgets?do=set").text
        form = {**fields_of(page, "set"), "author": "ann", "reason": "why", "rule": "$4/week"}
        cookies = "; ".join(f"{name}={client.get_cookie(name).value}" for name in ("session", "costguard-form"))  # type: ignore[union-attr]
        asked = {"REQUEST_METHOD": "POST", "PATH_INFO": "/costs/budgets", "CONTENT_LENGTH": length}
        asked |= {"HTTP_COOKIE": cookies, "HTTP_ORIGIN": "http://localhost"}
        status, _, _ = wsgi(app, asked, Sent(urlencode(form).encode()))
        assert status.startswith("403")
        assert not guard.ledger.deeds()

    def test_authorize_may_read_the_form_itself(self, guard: Guard) -> None:
        app = Flask("notes")

        def who(request: Any) -> str:
            with app.request_context(request.scope["wsgi_environ"]):
                return "operator" if asked_of_flask.values.get("key") != "stolen" else "viewer"

        app.wsgi_app = dashboard(guard, authorize=who).wsgi()  # type: ignore[method-assign,assignment]
        client = app.test_client()
        form = {**fields_of(client.get("/budgets?do=set").text, "set"), "author": "ann", "reason": "why"}
        cookie = f"costguard-form={client.get_cookie('costguard-form').value}"  # type: ignore[union-attr]
        sent = urlencode({**form, "rule": "$4/week"}).encode()
        asked = {"REQUEST_METHOD": "POST", "PATH_INFO": "/budgets", "CONTENT_LENGTH": str(len(sent))}
        asked |= {"HTTP_COOKIE": cookie, "HTTP_ORIGIN": "http://localhost"}
        status, _, _ = wsgi(app, asked, Sent(sent))
        assert status.startswith("303")
        assert [deed.action for deed in guard.ledger.deeds()] == ["budget"]


class Sent(BytesIO):
    """What a client sent; who asks for more again and again would ask for ever."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.asked += not found
        assert self.asked < 100, "asked for what will never come"
        return found


def wsgi(app: Any, asked: dict[str, str], sent: Sent) -> tuple[str, dict[str, str], bytes]:
    """As a server that checks nothing asks an app: status, headers and body."""
    said: list[Any] = []
    form = {"CONTENT_TYPE": "application/x-www-form-urlencoded"}
    environ = {**create_environ(), **form, **asked, "wsgi.input": sent}
    body = b"".join(app(environ, lambda *answer: said.extend(answer)))
    return said[0], dict(said[1]), body
