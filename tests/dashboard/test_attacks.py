"""What attackers send, and what a hostile network, client or configuration makes of an address or a form."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from costguard import ConfigError, Guard, StoreUnavailable
from costguard.dashboard import Dashboard, Person
from costguard.dashboard.api import Pulse
from costguard.dashboard.threads import THREADS, WAITING
from costguard.grants import Grant
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.mutes import mutes
from costguard.ledger.rules import add_grant, rules
from tests.alerts.crossings import record
from tests.dashboard.pages import browser, dashboard, guard_with_calls, operator, send
from tests.dashboard.test_answers import Slow

LOOPBACK = "http://127.0.0.1:8321/"


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = guard_with_calls()
    yield made
    made.close()


@pytest.mark.parametrize("origin", ["admin.example.com", "null", "", "file:///x", "https://", 5])
def test_an_origin_that_is_none_is_refused_as_it_would_let_in_pages_without_any(guard: Guard, origin: Any) -> None:
    with pytest.raises(ConfigError, match="which is no origin; write it as https://"):
        dashboard(guard, origins=[origin])


async def test_a_person_of_a_role_that_is_none_is_let_in_as_nobody(guard: Guard) -> None:
    said: list[Any] = [Person("admin", "eve"), Person("operator", "carol\n" + "x" * 500)]  # type: ignore[arg-type]
    async with browser(dashboard(guard, authorize=lambda _: said[0])) as client:
        answer = await client.get("/")
        assert answer.status_code == 500
        assert "alice" not in answer.text
    read = Person.read(said[1])
    assert read is not None
    assert read.name == "carol " + "x" * 74


async def test_slow_reports_keep_nobody_at_the_door(guard: Guard) -> None:
    """A function that is not async is asked in a thread: not in one that a report has."""
    ledger = Slow()

    def who(request: Any) -> Any:
        return "viewer" if "x-user" in request.headers else None

    async with browser(dashboard(ledger, authorize=who)) as client:
        waiting = [
            asyncio.create_task(client.get("api/spend", headers={"x-user": "ann"})) for _ in range(THREADS + WAITING)
        ]
        deadline = asyncio.get_running_loop().time() + 30
        # Strangers hear it at once, and members that it is busy: not that nobody knows who they are.
        assert (await asyncio.wait_for(client.get("api/spend"), 30)).status_code == 403
        while True:
            one = asyncio.create_task(client.get("api/spend", headers={"x-user": "ann"}))
            done, _ = await asyncio.wait([one], timeout=0.2)
            if done:
                break
            waiting.append(one)
            assert asyncio.get_running_loop().time() < deadline
        assert (one.result().status_code, one.result().json()["error"]) == (503, "Busy")
        ledger.answer.set()
        assert {each.status_code for each in await asyncio.gather(*waiting)} <= {200, 503}


@pytest.mark.parametrize(
    "path",
    [
        "?since=700000d", "?since=9999-12-31", "explore?since=9999-12-31", "api/explain?since=9999-12-31",
        "api/series?since=0001-01-01&compare=previous", "calls?until=9999-12-31T23:59:59-10:00",
    ],
)  # fmt: skip
async def test_a_time_that_calendars_do_not_have_is_said_without_a_traceback(guard: Guard, path: str) -> None:
    async with browser(dashboard(guard)) as client:
        answer = await client.get(path)
    assert answer.status_code == 400, answer.text[-300:]


async def test_no_address_asks_the_store_thousands_of_times(guard: Guard) -> None:
    """In a zone that is not whole hours off UTC each hour is a question of its own."""
    async with browser(dashboard(guard)) as client:
        answer = await client.get("api/series?grain=hour&since=80d&tz=Asia/Kathmandu")
        assert answer.status_code == 400
        assert "coarser" in answer.json()["text"]
        assert (await client.get("api/series?grain=hour&since=7d&tz=Asia/Kathmandu")).status_code == 200
        assert (await client.get("api/series?grain=hour&since=80d&tz=Europe/Berlin")).status_code == 200


async def test_a_mute_far_beyond_any_calendar_spoils_no_page(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        answer = await send(client, "alerts?do=mute", "mute", kind="burn", **{"for": "999999w"})
        assert answer.status_code == 422
        assert mutes(guard.ledger) == []
        # One that is there from before is shown as one without an end.
        from costguard.ledger import mutes as kept
        from costguard.ledger.deeds import Deed

        now = time.time_ns()
        far = now + timedelta(weeks=999_999) // timedelta(microseconds=1) * 1000
        old = kept.Mute(0, "burn", "", {}, far, "ann", "x", now)
        assert kept.mute_once(guard.ledger, old, Deed("n" * 32, now, "ann", "mute", "x")) is not None
        page = await client.get("alerts")
        assert page.status_code == 200
        assert "somebody ends it" in page.text


async def test_a_mute_has_only_characters_that_alerts_have(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        answer = await send(client, "alerts?do=mute", "mute", budget="x\0y", payer="user=a")
        assert answer.status_code == 422
        answer = await send(client, "alerts?do=mute", "mute", payer="user=a\0b")
        assert answer.status_code == 303
    assert [dict(one.payer) for one in mutes(guard.ledger)] == [{"user": "ab"}]


async def test_an_address_begins_no_line_in_the_log(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryLedger):
        def entries(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError

    async with browser(dashboard(Broken())) as client:
        answer = await client.get("calls/%0A" + "0" * 31)
        assert answer.status_code == 500
    (record,) = [each for each in caplog.records if "could not answer" in each.getMessage()]
    assert "\n" not in record.getMessage()


async def test_a_look_ahead_at_the_link_does_not_use_it_up(guard: Guard) -> None:
    app = Dashboard(guard, loopback=True)
    entrance = app.entrance()
    async with browser(app, LOOPBACK) as client:
        assert (await client.head(f"/{entrance}")).status_code == 403
        assert (await client.get(f"/{entrance}")).status_code == 303


async def test_bytes_that_are_no_text_are_answered_in_a_wsgi_app_too(guard: Guard) -> None:
    app = dashboard(guard).wsgi()
    said: list[tuple[str, dict[str, str]]] = []

    def ask(path: str, query: str) -> bytes:
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": query, "SERVER_NAME": "x",
            "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "x", "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
        }  # fmt: skip
        return b"".join(app(environ, lambda status, headers, *_: said.append((status, dict(headers)))))

    for path, query in (("/\xff", ""), ("/calls/\xe9\xff", ""), ("/api/spend", "where.user=\xff"), ("/calls", "a=€")):
        await asyncio.to_thread(ask, path, query)
    assert [status[:3] for status, _ in said] == ["404", "400", "200", "200"]
    assert all("content-security-policy" in headers for _, headers in said)
    body = await asyncio.to_thread(ask, "/api/spend", "where.user=z%C3%BC&by=user")
    assert b"z\\u00fc" in body


async def test_what_an_address_says_is_shown_without_what_turns_lines_around(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        answer = await client.get("alerts/%E2%80%AEx%07")
        assert answer.status_code == 404
        assert "\u202e" not in answer.text
        assert "\x07" not in answer.text


class Away(MemoryLedger):
    asked = 0

    def sums(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        raise StoreUnavailable("the ledger memory:// is away", retry_after=7)


async def test_open_pages_do_not_ask_a_store_that_is_away_one_after_the_other() -> None:
    ledger = Away()
    async with browser(dashboard(ledger)) as client:
        start = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(client.get("api/pulse") for _ in range(30)))
        seconds = asyncio.get_running_loop().time() - start
    assert {(each.status_code, each.headers["retry-after"]) for each in answers} == {(503, "7")}
    assert ledger.asked <= seconds / Pulse.EVERY + 1


async def test_a_store_that_cannot_be_opened_is_not_tried_by_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    from costguard.dashboard import desk

    tried: list[str] = []

    def opened(url: str) -> Any:
        tried.append(url)
        raise StoreUnavailable("away", retry_after=9)

    monkeypatch.setattr(desk, "_opened", opened)
    async with browser(Dashboard("postgresql://x@127.0.0.1:1/none", authorize=operator)) as client:
        start = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(client.get("api/spend") for _ in range(30)))
        seconds = asyncio.get_running_loop().time() - start
    assert {each.headers["retry-after"] for each in answers} == {"9"}
    assert len(tried) <= seconds / desk.AGAIN + 1


async def test_a_page_with_a_preview_that_is_open_reads_all_calls_once_a_minute_not_with_each_of_them() -> None:
    class Counting(MemoryLedger):
        read = 0

        def entries(self, *args: Any, **kwargs: Any) -> Any:
            self.read += 1
            return super().entries(*args, **kwargs)

        def sums(self, *args: Any, **kwargs: Any) -> Any:
            self.read += 1
            return super().sums(*args, **kwargs)

    ledger = Counting()
    record(ledger, "1.00", user="alice", at_ns=time.time_ns() - 1800 * 10**9)
    async with browser(dashboard(ledger)) as client:

        async def reads(path: str) -> int:
            before = ledger.read
            assert (await client.get(path)).status_code == 200
            return ledger.read - before

        without = await reads("alerts")
        assert await reads("alerts?preview=30d&rules=call+over+%240.01") > without
        for path in ("alerts?preview=30d", "alerts.csv?table=preview&preview=30d"):
            assert await reads(f"{path}&rules=call+over+%240.01") == without
        # Another one is not the same.
        assert "1 alert would" in (await client.get("alerts?preview=24h&rules=call+over+%240.01")).text
        assert "0 alerts would" in (await client.get("alerts?preview=24h&rules=call+over+%247")).text


async def test_a_grant_that_this_version_cannot_read_can_be_seen_and_taken_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    guard = guard_with_calls(url, engine="direct")
    stored = add_grant(guard.ledger, Grant("$5/day per user", {"user": "bob"}, 3, author="ann", reason="x"))  # type: ignore[arg-type]
    with sqlite3.connect(tmp_path / "costs.db") as database:
        database.execute('UPDATE costguard_grants SET account = \'["eon","UTC",["user"],{}]\'')
    async with browser(dashboard(guard)) as client:
        page = await client.get("budgets")
        assert page.status_code == 200
        assert "of a newer version" in page.text
        answer = await send(client, f"budgets?do=take+back&number={stored.id}", "take back")
        assert answer.status_code == 303
    assert rules(guard.ledger).grants == ()
    guard.close()


async def test_who_goes_away_while_a_form_is_sent_leaves_no_error_in_the_log(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[Any] = [{"type": "http.request", "body": b"do=set&rule=", "more_body": True}]

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def ignore(_: Any) -> None:
        """Nobody is there any more."""

    asked = {"type": "http", "method": "POST", "path": "/budgets", "root_path": "", "scheme": "http"}
    await dashboard(guard)({**asked, "query_string": b"", "headers": [(b"host", b"costs.test")]}, receive, ignore)
    assert not guard.ledger.deeds()
    assert not caplog.records
