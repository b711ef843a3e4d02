"""Who may see the dashboard."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from fastapi import HTTPException as FastAPIError
from starlette.exceptions import HTTPException

from costguard import ConfigError, Guard
from costguard.dashboard import Dashboard, Person
from tests.dashboard.pages import EVERY_API, EVERY_PAGE, browser, dashboard, guard_with_calls

LOOPBACK = "http://127.0.0.1:8321/"


@pytest.fixture
def guard() -> Any:
    made = guard_with_calls()
    yield made
    made.close()


@dataclass
class Account:
    name: str
    role: str


def test_without_authorize_there_is_no_dashboard(guard: Guard) -> None:
    with pytest.raises(ConfigError, match="open to everybody; give authorize="):
        Dashboard(guard)


def test_settings_that_cannot_be_meant_are_refused(guard: Guard) -> None:
    for wrong in (
        {"authorize": "operator"}, {"authorize": lambda _: "viewer", "loopback": True}, {"users": "secret"},
        {"users": "hashed"}, {"users": "hashed", "secret": "short"}, {"private": "user"}, {"origins": "https://a.test"},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Dashboard(guard, **{"authorize": lambda _: "viewer", **wrong})  # type: ignore[arg-type]
    for store in ("memory://", 5):
        with pytest.raises(ConfigError, match=r"dashboard|guard"):
            Dashboard(store, authorize=lambda _: "viewer")  # type: ignore[arg-type]


async def test_nobody_sees_nothing_but_style_sheets(guard: Guard) -> None:
    async with browser(dashboard(guard, authorize=lambda _: None)) as client:
        for path in [*EVERY_PAGE, *(f"api/{each}" for each in EVERY_API), "budgets.csv", "calls.csv", "calls/1.csv"]:
            answer = await client.get(path)
            assert answer.status_code == 403, path
            assert "alice" not in answer.text
            assert "memory://" not in answer.text
        assert (await client.post("budgets", data={"do": "set"})).status_code == 403
        assert (await client.get("static/base.css")).status_code == 200


async def test_authorize_may_be_async_and_name_the_person(guard: Guard) -> None:
    async def who(request: Any) -> Account | None:
        return Account("ann <x>", "viewer") if request.headers.get("x-user") == "ann" else None

    async with browser(dashboard(guard, authorize=who)) as client:
        assert (await client.get("/")).status_code == 403
        page = await client.get("/", headers={"x-user": "ann"})
        assert page.status_code == 200
        assert "ann &lt;x&gt;" in page.text


async def test_an_object_with_an_async_call_is_asked_too(guard: Guard) -> None:
    class Who:
        async def __call__(self, request: Any) -> Person:
            return Person("operator", request.headers["x-user"])

    async with browser(dashboard(guard, authorize=Who())) as client:
        assert "ann" in (await client.get("/", headers={"x-user": "ann"})).text


@pytest.mark.parametrize("said", [True, "admin", 1, {"role": "operator"}, Account("ann", "root"), ""])
async def test_an_answer_that_is_none_lets_nobody_in(guard: Guard, said: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with browser(dashboard(guard, authorize=lambda _: said)) as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "alice" not in answer.text
    assert "which is no answer" in caplog.text


async def test_authorize_that_fails_lets_nobody_in_and_shows_nothing_of_it(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    def who(_: Any) -> str:
        raise RuntimeError("password is hunter2")

    async with browser(dashboard(guard, authorize=who)) as client:
        answer = await client.get("/")
        assert answer.status_code == 500
        assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


async def test_authorize_that_looks_for_somebody_with_next_and_finds_nobody_is_answered(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    def who(request: Any) -> str:
        return next(role for name, role in {"ann": "operator"}.items() if name == request.cookies.get("name"))

    async with asyncio.timeout(20), browser(dashboard(guard, authorize=who)) as client:
        assert (await client.get("/")).status_code == 500
    assert "give next() a default" in caplog.text


async def test_what_authorize_says_in_another_form_than_words_is_said_as_text(guard: Guard) -> None:
    def who(_: Any) -> str:
        raise FastAPIError(403, detail={"since": date(2026, 11, 1)})

    async with browser(dashboard(guard, authorize=who)) as client:
        answer = await client.get("api/spend")
        assert (answer.status_code, answer.headers["x-frame-options"]) == (403, "DENY")
        assert "2026" in answer.json()["text"]


async def test_authorize_may_send_people_to_a_sign_in(guard: Guard) -> None:
    def who(_: Any) -> str:
        raise HTTPException(303, headers={"location": "/sign-in"})

    async with browser(dashboard(guard, authorize=who)) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_a_viewer_is_shown_no_form_and_can_change_nothing(guard: Guard) -> None:
    async with browser(dashboard(guard, authorize=lambda _: "operator")) as client:
        form = await client.get("budgets?do=set")
    token = re.findall(r'name="csrf" value="([0-9a-f]+)"', form.text)[0]
    async with browser(dashboard(guard, authorize=lambda _: "viewer")) as client:
        for path in ("budgets?do=set", "alerts?do=mute"):
            assert 'method="post"' not in (await client.get(path)).text
        answer = await client.post(
            "budgets", data={"do": "set", "csrf": token}, headers={"origin": "http://costs.test"}
        )
        assert answer.status_code == 403
    assert not guard.ledger.deeds()


class TestOnLoopback:
    async def test_the_link_opens_one_session_and_is_then_used_up(self, guard: Guard) -> None:
        app = Dashboard(guard, loopback=True)
        entrance = app.entrance()
        async with browser(app, LOOPBACK) as client:
            assert (await client.get("/")).status_code == 403
            answer = await client.get(f"/{entrance}")
            assert (answer.status_code, answer.headers["location"]) == (303, "./")
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            page = await client.get("/")
            assert page.status_code == 200
            assert entrance.removeprefix("?token=") not in page.text
            assert (await client.get("/api/pulse")).status_code == 200
        async with browser(app, LOOPBACK) as another:
            assert (await another.get(f"/{entrance}")).status_code == 403
            assert (await another.get("/")).status_code == 403

    async def test_a_new_link_ends_the_one_before(self, guard: Guard) -> None:
        app = Dashboard(guard, loopback=True)
        first, second = app.entrance(), app.entrance()
        async with browser(app, LOOPBACK) as client:
            assert (await client.get(f"/{first}")).status_code == 403
            assert (await client.get(f"/{second}")).status_code == 303

    @pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test:8321", "", "192.168.1.5", "localhost.evil"])
    async def test_a_name_that_was_bent_to_this_machine_is_refused(self, guard: Guard, host: str) -> None:
        app = Dashboard(guard, loopback=True)
        async with browser(app, LOOPBACK) as client:
            await client.get(f"/{app.entrance()}")
            for path in ("/", "/api/spend", "/static/base.css"):
                answer = await client.get(path, headers={"host": host})
                assert answer.status_code == 403
                assert "alice" not in answer.text

    @pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1", "[::1]:99"])
    async def test_the_names_of_this_machine_are_taken(self, guard: Guard, host: str) -> None:
        app = Dashboard(guard, loopback=True)
        async with browser(app, LOOPBACK) as client:
            await client.get(f"/{app.entrance()}")
            assert (await client.get("/", headers={"host": host})).status_code == 200

    async def test_who_comes_from_elsewhere_or_through_a_proxy_is_refused(self, guard: Guard) -> None:
        app = Dashboard(guard, loopback=True)
        entrance = app.entrance()
        async with browser(app, LOOPBACK, client=("192.168.1.5", 5000)) as client:
            assert (await client.get(f"/{entrance}")).status_code == 403
        async with browser(app, LOOPBACK) as client:
            for header in ("x-forwarded-for", "x-forwarded-proto", "forwarded", "via", "x-real-ip"):
                assert (await client.get(f"/{entrance}", headers={header: "10.0.0.1"})).status_code == 403
            assert (await client.get(f"/{entrance}")).status_code == 303

    async def test_there_is_no_token_where_authorize_decides(self, guard: Guard) -> None:
        app = dashboard(guard, authorize=lambda _: None)
        with pytest.raises(ConfigError, match="no token"):
            app.entrance()
        async with browser(app, LOOPBACK) as client:
            assert (await client.get("/?token=anything")).status_code == 403


@pytest.mark.parametrize("store", ["costs.db", "mysql://costs", "sqlite://costs.db"])
def test_a_store_that_cannot_be_meant_is_refused_when_the_dashboard_is_made(store: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(store.partition("//")[0])):
        Dashboard(store, authorize=lambda request: "viewer")
