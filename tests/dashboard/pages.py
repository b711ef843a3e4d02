"""Dashboards over ledgers with calls in them, asked over ASGI in this process."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any
from urllib.parse import urljoin

import httpx

from costguard import Guard
from costguard.call import Call, new_call_id
from costguard.dashboard import Dashboard
from costguard.events import Entry, Hold
from costguard.pricing.usage import Usage
from costguard.tags import Tags

HOSTILE = (
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "x" * 200, "\u202eecila", "a\x07b\x1b[31m",
    "=HYPERLINK(\"http://evil.test\",\"x\")", "@SUM(1+1)", "{{ 7*7 }}", "../../etc/passwd", "a&b=c#d?e%00",
)  # fmt: skip

BUDGETS = ("$5/day per user", "$500/month", "1000 calls/day per feature", "$1/call")

EVERY_PAGE = (
    "",
    "explore",
    "explore?by=user",
    "budgets",
    "budgets?do=set",
    "calls",
    "alerts",
    "alerts?preview=24h",
    "prices",
)
EVERY_API = (
    "spend?by=user,feature", "series?by=user", "top?by=user", "explain?by=user", "forecast", "calls", "refused",
    "savings?by=user", "at_risk", "budgets", "alerts", "pulse",
)  # fmt: skip


def guard_with_calls(store: str = "memory://", *users: str, budgets: Any = BUDGETS, **options: Any) -> Guard:
    """Calls of the last seconds: a dollar for each of these users, alice and bob if none are given."""
    guard = Guard(store, budgets=budgets, **options)
    for user in users or ("alice", "bob"):
        spend(guard, user)
    return guard


def spend(guard: Guard, user: str, *, feature: str = "chat", model: str = "gpt-4o", cents: int = 100) -> str:
    """A call that cost so much, counted on the guard's budgets; its id."""
    now = time.time_ns()
    tags = Tags(user=user, feature=feature)
    call = Call("openai", model, operation="chat", tags=tags)
    call.started_ns = now
    call.id = new_call_id(now)
    nanos = cents * 10**7
    hold = Hold(call, guard._budgets.limits(tags, now), nanos, now + 60 * 10**9)
    assert guard.ledger.reserve(hold, now) is None
    usage = Usage(input_tokens=100, output_tokens=20)
    entry = Entry(call.id, now, "openai", model, "chat", nanos, usage=usage, tags=tags)
    assert guard.ledger.settle(entry, hold) is not None
    return call.id


@asynccontextmanager
async def browser(app: Any, base: str = "http://costs.test/", **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Keeps cookies; does not follow redirects."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, **options), base_url=base) as client:
        yield client


def operator(_: Any) -> str:
    return "operator"


def dashboard(guard: Any, **options: Any) -> Dashboard:
    return Dashboard(guard, **{"authorize": operator, **options})


def fields_of(page: str, do: str) -> dict[str, str]:
    """The hidden fields of the form that does this, as the page has them."""
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", page, re.DOTALL):
        found = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form))
        if found.get("do") == do:
            return {name: unescape(value) for name, value in found.items()}
    raise AssertionError(f"no form does {do!r}")


async def send(
    client: httpx.AsyncClient, path: str, do: str, *, headers: dict[str, str] | None = None, **fields: str
) -> httpx.Response:
    """Open the page, fill in the form that does this, and post it, as a browser would."""
    page = await client.get(path)
    assert page.status_code == 200, page.text
    sent = {**fields_of(page.text, do), "author": "ann", "reason": "a new plan", **fields}
    origin = {"origin": f"{client.base_url.scheme}://{client.base_url.netloc.decode()}"}
    return await client.post(path, data=sent, headers=origin if headers is None else headers)


def links_of(page: str, at: str) -> set[str]:
    """All that a page links to or loads, as absolute addresses."""
    found = re.findall(r'(?:href|src|action)="([^"]*)"', page)
    return {urljoin(at, unescape(link)) for link in found}
