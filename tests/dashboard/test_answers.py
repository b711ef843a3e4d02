"""What the dashboard answers: headers, escaped values, CSV, JSON, and a few words where something is wrong."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from costguard import Guard, StoreUnavailable
from costguard.dashboard import Dashboard
from costguard.dashboard.threads import THREADS, WAITING
from costguard.ledger.memory import MemoryLedger
from tests.alerts.crossings import record
from tests.dashboard.pages import (
    EVERY_API,
    EVERY_PAGE,
    HOSTILE,
    browser,
    dashboard,
    guard_with_calls,
    operator,
    send,
    spend,
)


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = guard_with_calls()
    yield made
    made.close()


class Seen(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


async def test_every_answer_has_the_headers(guard: Guard) -> None:
    others = ["overview.csv", "budgets.csv", "static/base.css", "nothing", "calls/x"]
    async with browser(dashboard(guard)) as client:
        for path in (*EVERY_PAGE, *(f"api/{name}" for name in EVERY_API), *others):
            answer = await client.get(path)
            headers = answer.headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            kept = "no-cache" if path.startswith("static/") else "no-store"
            assert headers["cache-control"] == kept, path


async def test_nothing_in_a_page_is_inline_or_from_elsewhere(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        for path in EVERY_PAGE:
            for tag, attributes in Seen((await client.get(path)).text).found:
                assert tag != "style", path
                assert tag != "script" or attributes.get("src"), path
                for name, value in attributes.items():
                    assert name != "style", f"{path}: {tag}"
                    assert not name.startswith("on"), f"{path}: {tag} {name}"
                    assert not re.match(r"(https?:)?//|javascript:|data:", value or ""), f"{path}: {tag} {name}={value}"


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
async def test_values_of_users_are_text_and_nothing_else(value: str) -> None:
    guard = guard_with_calls("memory://", value)
    spend(guard, value, feature=value, model=value)
    async with browser(dashboard(guard)) as client:
        clean = await browser_tags(client, EVERY_PAGE)
        page = await client.get("explore?by=user")
        assert page.status_code == 200
        shown = unescape(page.text)
        assert value[:20] in shown or not value.isprintable()
        assert "\x07" not in page.text
        assert "\u202e" not in page.text
        for path in ("calls.csv", "explore.csv?by=user", "budgets.csv?table=standings"):
            check_csv((await client.get(path)).text)
        found = (await client.get("api/spend", params={"by": "user", "where.user": value})).json()
        assert found["total"]["calls"] == 2
    guard.close()
    assert "img onerror" not in clean
    assert clean <= SAFE


SAFE = {
    "a", "bdi", "body", "br", "button", "caption", "code", "dd", "details", "div", "dl", "dt", "footer", "form", "h1",
    "h2", "h3", "head", "header", "html", "input", "label", "li", "link", "main", "meta", "nav", "ol", "option", "p",
    "path", "pre", "rect", "circle", "script", "section", "select", "small", "span", "strong", "summary", "svg",
    "table", "tbody", "td", "textarea", "tfoot", "th", "thead", "time", "title", "tr", "ul", "em", "figure",
    "figcaption", "output", "dialog", "b", "i", "line", "g", "template", "noscript",
}  # fmt: skip


async def browser_tags(client: Any, paths: Any) -> set[str]:
    tags = set()
    for path in paths:
        page = await client.get(path)
        assert page.status_code == 200, f"{path}: {page.text}"
        tags |= {tag for tag, _ in Seen(page.text).found}
    return tags


def check_csv(text: str) -> None:
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) > 1
    for row in rows:
        assert len(row) == len(rows[0])
        for cell in row:
            assert "\x00" not in cell
            if cell[:1] in "=+-@\t\r":
                assert re.fullmatch(r"-?[0-9.]*", cell), cell


async def test_the_csv_has_what_the_page_has(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        answer = await client.get("budgets.csv?table=standings")
        assert answer.headers["content-type"].startswith("text/csv")
        assert "costguard-budgets-standings.csv" in answer.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        mine = [row for row in rows if row["budget"] == "$5.00/day per user" and row["payer"] == "alice"]
        assert [tuple(Decimal(row[name]) for name in ("limit", "spent", "remaining")) for row in mine] == [(5, 1, 4)]
        assert (await client.get("budgets.csv?table=nothing")).status_code == 404


async def test_a_negative_amount_is_a_number_and_no_formula(guard: Guard) -> None:
    record(guard.ledger, "-0.50", user="alice", feature="=1+1", at_ns=time.time_ns())
    async with browser(dashboard(guard)) as client:
        rows = list(csv.DictReader(io.StringIO((await client.get("calls.csv")).text)))
    assert [(Decimal(row["cost"]), row["feature"]) for row in rows if row["feature"] != "chat"] == [
        (-Decimal("0.5"), "'=1+1")
    ]


async def test_the_api_answers_as_the_reports_do(guard: Guard) -> None:
    from costguard.reports import spend as report

    async with browser(dashboard(guard)) as client:
        answer = await client.get("api/spend?by=user,feature&since=all")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == report(guard.ledger, ("user", "feature")).to_json()
        wrong = await client.get("api/spend?since=yesterday")
        assert wrong.status_code == 400
        assert "yesterday" in wrong.json()["text"]


@pytest.mark.parametrize(
    "path",
    [
        "?since=never", "explore?by=a+b", "calls?order=best", "alerts?state=lost", "alerts?preview=9y",
        "alerts?preview=400d", "?" + "&".join(f"a{n}=1" for n in range(200)), "explore?by=" + "x" * 2000,
        "calls?since=%ff%fe", "alerts?before=-1",
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_said_without_a_traceback(guard: Guard, path: str) -> None:
    async with browser(dashboard(guard)) as client:
        answer = await client.get(path)
    assert answer.status_code == 400, answer.text[:300]
    assert "Traceback" not in answer.text


async def test_other_methods_and_broken_hosts_are_answered_by_us(guard: Guard) -> None:
    from fastapi import FastAPI

    app = FastAPI()
    app.mount("/costs", dashboard(guard))
    async with browser(app, "http://costs.test/costs/") as client:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = await client.request(method, "calls")
            assert answer.status_code == 405
            assert "content-security-policy" in answer.headers
            assert answer.headers["allow"] == "GET, HEAD"
        assert (await client.head("")).status_code == 200
        for host in ("[::1", "a b", "%00", "x" * 500):
            assert (await client.get("", headers={"host": host})).status_code == 200


async def test_what_is_not_there_is_a_page_that_says_so(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        for path in (
            "nothing", "api/nothing", "static/nothing.css", "static/../app.py", "static/%2e%2e/app.py",
            "calls/01890000-0000-7000-8000-000000000000", "budgets?budget=nothing", "budgets/x",
        ):  # fmt: skip
            assert (await client.get(path)).status_code == 404, path


async def test_a_store_that_is_away_is_a_page_that_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = Dashboard("postgresql://nobody:hunter2@127.0.0.1:1/none?patience=1", authorize=operator)
    async with browser(app) as client:
        for path in ("/", "/budgets", "/api/spend", "/budgets.csv"):
            answer = await client.get(path)
            assert answer.status_code == 503, answer.text[:300]
            assert int(answer.headers["retry-after"]) > 0
            assert "hunter2" not in answer.text
            assert "Traceback" not in answer.text
        assert (await client.get("/static/base.css")).status_code == 200
    missing = Dashboard(f"sqlite:///{tmp_path}/none.db", authorize=operator)
    async with browser(missing) as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "costguard migrate" in answer.text
    assert not (tmp_path / "none.db").exists()


class Away(MemoryLedger):
    """A store that goes away."""

    gone = False

    def sums(self, *args: Any, **kwargs: Any) -> Any:
        if self.gone:
            raise StoreUnavailable("the ledger memory:// is away")
        return super().sums(*args, **kwargs)


async def test_a_store_that_goes_away_comes_back(guard: Guard) -> None:
    ledger = Away()
    async with browser(dashboard(ledger)) as client:
        assert (await client.get("/")).status_code == 200
        ledger.gone = True
        assert (await client.get("/")).status_code == 503
        ledger.gone = False
        assert (await client.get("/")).status_code == 200


class Slow(MemoryLedger):
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def sums(self, *args: Any, **kwargs: Any) -> Any:
        assert self.answer.wait(30)
        return super().sums(*args, **kwargs)


async def test_a_slow_store_holds_up_no_loop_and_a_bounded_number_of_requests() -> None:
    ledger = Slow()
    async with browser(dashboard(ledger)) as client:
        waiting = [asyncio.create_task(client.get("api/spend")) for _ in range(THREADS + WAITING)]
        deadline = asyncio.get_running_loop().time() + 20
        while True:
            assert (await client.get("static/base.css")).status_code == 200
            more = asyncio.create_task(client.get("api/spend"))
            if (await asyncio.wait([more], timeout=0.1))[0]:
                break
            # It came in before some of those: now it is one of them.
            waiting.append(more)
            assert asyncio.get_running_loop().time() < deadline
        assert more.result().status_code == 503
        assert more.result().json()["error"] == "Busy"
        ledger.answer.set()
        assert {each.status_code for each in await asyncio.gather(*waiting)} <= {200, 503}
        assert (await client.get("api/spend")).status_code == 200


async def test_who_stops_waiting_gives_the_place_to_others() -> None:
    ledger = Slow()
    async with browser(dashboard(ledger)) as client:
        for _ in range(3):
            waiting = [asyncio.create_task(client.get("api/spend")) for _ in range(THREADS + WAITING - 4)]
            await asyncio.sleep(0)
            for each in waiting[THREADS:]:
                each.cancel()
            await asyncio.gather(*waiting[THREADS:], return_exceptions=True)
            ledger.answer.set()
            assert [(await each).status_code for each in waiting[:THREADS]] == [200] * THREADS
            ledger.answer.clear()
        ledger.answer.set()
        assert (await client.get("api/spend")).status_code == 200


async def test_the_pulse_changes_when_anything_does(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        first = await client.get("api/pulse")
        assert first.json()["calls"] == 2
        known = {"if-none-match": first.headers["etag"]}
        assert (await client.get("api/pulse", headers=known)).status_code == 304
        spend(guard, "carol")
        deadline = asyncio.get_running_loop().time() + 20
        while (answer := await client.get("api/pulse", headers=known)).status_code == 304:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert answer.json()["calls"] == 3


async def test_many_open_pages_ask_the_store_once_a_second() -> None:
    class Counting(MemoryLedger):
        asked = 0

        def sums(self, *args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            return super().sums(*args, **kwargs)

    ledger = Counting()
    async with browser(dashboard(ledger)) as client:
        await client.get("api/pulse")
        before, start = ledger.asked, asyncio.get_running_loop().time()
        await asyncio.gather(*(client.get("api/pulse") for _ in range(40)))
        seconds = asyncio.get_running_loop().time() - start
        assert ledger.asked - before <= (seconds + 1) * max(1, before)


async def test_a_message_is_never_taken_from_the_address(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        page = await client.get("budgets?done=Your+password+is+wrong")
        assert "password" not in re.sub(r'href="[^"]*"', "", page.text)
        assert "flash" not in page.text
        answer = await send(client, "budgets?do=set", "set", rule="$8/week")
        assert "flash" in (await client.get(answer.headers["location"])).text


async def test_a_websocket_is_refused_and_the_lifespan_is_answered(guard: Guard) -> None:
    sent: list[Any] = []

    async def send_(message: Any) -> None:
        sent.append(message)

    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    app = dashboard(guard)
    await app({"type": "websocket", "path": "/"}, receive, send_)
    await app({"type": "lifespan"}, receive, send_)
    assert [message["type"] for message in sent] == [
        "websocket.close", "lifespan.startup.complete", "lifespan.shutdown.complete",
    ]  # fmt: skip
