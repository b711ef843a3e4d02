"""What is not done again with each page, and what a page does not do at all because it would take too long."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from costguard import Guard
from costguard.dashboard import previews
from tests.alerts.crossings import record
from tests.dashboard.pages import browser, dashboard


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard("memory://") as guard:
        for minute in range(5):
            record(guard.ledger, "3.00", user="alice", at_ns=time.time_ns() - (minute + 10) * 60 * 10**9)
        yield guard


async def test_a_file_is_kept_by_browsers_under_the_address_that_says_what_is_in_it(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        (address,) = re.findall(r'href="([^"]*base\.css[^"]*)"', (await client.get("budgets")).text)
        kept = (await client.get(address)).headers
        assert "immutable" in kept["cache-control"]
        other = (await client.get("static/base.css?v=of-before")).headers
        assert other["cache-control"] == "no-cache"
        assert other["etag"] == kept["etag"]


async def test_a_preview_of_too_many_calls_is_refused_with_the_command_that_makes_it(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "MOST_CALLS", 4)
    async with browser(dashboard(guard)) as client:
        answer = await client.get("alerts?preview=7d")
    assert answer.status_code == 400
    assert "reads 5 calls" in answer.text
    assert "costguard alerts preview --since 7d" in answer.text


async def test_a_preview_that_takes_too_long_says_how_far_it_looked(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browser(dashboard(guard)) as client:
        assert "Looked at as far as" not in (await client.get("alerts?preview=24h")).text
        monkeypatch.setattr(previews, "PATIENCE", -1.0)
        text = (await client.get("alerts?preview=7d")).text
    assert "Looked at as far as" in text
    assert "costguard alerts preview --since 7d" in text
