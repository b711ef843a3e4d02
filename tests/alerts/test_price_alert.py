"""Alerts of models without a price and of old price lists: once, and off the request."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard import Guard, StoreUnavailable
from costguard.alerts.alert import Alert
from costguard.alerts.price_alert import PriceAlert, alert_of
from costguard.alerts.slack import slack
from costguard.call import Call
from costguard.events import Outcome
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.notice import News, Notice
from costguard.pricing.ages import StalePrices
from costguard.pricing.usage import Usage
from tests.alerts.server import SlackServer

USAGE = Usage(input_tokens=1000, output_tokens=50)


def use(guard: Guard, model: str, usage: Usage = USAGE, provider: str = "openai", **more: Any) -> None:
    guard.settle(Call(provider, model), Outcome("ok", usage, **more))


@pytest.mark.parametrize("engine", ["direct", "leases"])
def test_a_model_without_a_price_is_told_of_once_by_all_processes(tmp_path: Path, engine: Any) -> None:
    told: list[Alert] = []
    url = f"sqlite:///{tmp_path}/costs.db"
    for place in range(2):
        with Guard(url, ["$5/day"], [told.append], engine=engine, journal=tmp_path / str(place)) as guard:
            for _ in range(3):
                use(guard, "gpt-4oo")
            use(guard, "gpt-4o")
            guard.flush()
    (alert,) = told
    assert isinstance(alert, PriceAlert)
    assert (alert.kind, alert.about, alert.key) == ("unpriced", "openai/gpt-4oo", "unpriced:openai/gpt-4oo")
    assert alert.title == "openai/gpt-4oo has no price"
    assert "gpt-4o" in alert.near
    assert 'Guard(prices={"openai/gpt-4oo": {"input": "...", "output": "..."}})' in alert.text
    assert "count for no budget" in alert.text
    assert (alert.budget, alert.payer, alert.spent, alert.limit, alert.percent) == ("", {}, 0, 0, 0)


def test_each_model_is_told_of_for_itself_and_assumed_ones_too() -> None:
    told: list[Alert] = []
    with Guard("memory://", ["$5/day"], [told.append], on_unpriced="assume") as guard:
        use(guard, "made-up-1")
        use(guard, "made-up-2")
        use(guard, "made-up-3", provider="nobody-knows")
        guard.flush()
    assert sorted(alert.title for alert in told) == [
        "nobody-knows/made-up-3 has no price", "openai/made-up-1 has no price", "openai/made-up-2 has no price",
    ]  # fmt: skip
    by_name = {alert.title: alert.text for alert in told}
    assert "counted at the dearest price" in by_name["openai/made-up-1 has no price"]
    assert "count for no budget" in by_name["nobody-knows/made-up-3 has no price"]


def test_what_a_provider_reported_needs_no_price() -> None:
    told: list[Alert] = []
    for policy in ("allow", "assume"):
        with Guard("memory://", [], [told.append], on_unpriced=policy) as guard:
            use(guard, "made-up-1", reported=5)
            guard.flush()
    assert told == []


def test_a_part_without_a_price_is_told_of() -> None:
    told: list[Alert] = []
    prices = {"mine": {"input": "1", "output": "2"}}
    with Guard("memory://", [], [told.append], prices=prices) as guard:
        for _ in range(2):
            use(guard, "mine", Usage(input_tokens=10, web_searches=2, pages=1))
        guard.flush()
    (alert,) = told
    assert (alert.kind, alert.title) == ("partial", "openai/mine has no price for pages, web_searches")
    assert '"pages": "...", "web_searches": "..."' in alert.text


def test_an_old_price_list_is_told_of_once() -> None:
    told: list[Alert] = []
    dated = datetime.now(UTC) - timedelta(days=50)
    with Guard("memory://", [], [told.append]) as guard:
        for _ in range(2):
            assert guard._book.ages.told is not None
            guard._book.ages.told(StalePrices("genai-prices 0.0.1", dated, 50))
        guard.flush()
    (alert,) = told
    assert alert.title == "The prices of genai-prices 0.0.1 are 50 days old"
    assert f"costguard reprice --since {dated.date()}" in alert.text


def test_a_store_that_is_away_holds_up_no_call_and_the_next_one_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(MemoryLedger):
        away = True
        asked = threading.Event()

        def tell(self, crossing: News) -> bool:
            self.asked.set()
            if self.away:
                raise StoreUnavailable("the ledger is away")
            return super().tell(crossing)

    monkeypatch.setattr("costguard.notices._AGAIN", 0.0)
    ledger = Away()
    told: list[Alert] = []
    with Guard(ledger, [], [told.append]) as guard:
        use(guard, "made-up-1")
        assert ledger.asked.wait(10)
        guard.flush()
        assert told == []
        assert "nobody is told yet of unpriced openai/made-up-1: the ledger is away" in caplog.text
        ledger.away = False
        use(guard, "made-up-1")
        guard.flush()
        assert [alert.title for alert in told] == ["openai/made-up-1 has no price"]


def test_a_call_does_not_wait_for_the_store_to_take_the_news() -> None:
    class Slow(MemoryLedger):
        go_on = threading.Event()

        def tell(self, crossing: News) -> bool:
            assert self.go_on.wait(30)
            return super().tell(crossing)

    ledger = Slow()
    with Guard(ledger) as guard:
        use(guard, "made-up-1")
        assert len(guard.entries()) == 1
        assert ledger.undelivered() == 0
        ledger.go_on.set()
        guard.flush()
        assert ledger.undelivered() == 1


def test_names_of_users_fill_neither_memory_nor_a_terminal() -> None:
    told: list[Alert] = []
    with Guard("memory://", [], [told.append]) as guard:
        use(guard, "\x1b[31m" + "x" * 500)
        guard.flush()
    (alert,) = told
    assert len(alert.key) < 250
    assert "\x1b" not in alert.text


def test_every_store_keeps_a_notice_once(ledger: Ledger) -> None:
    notice = Notice("unpriced", "openai/mine", time.time_ns(), facts={"near": ["gpt-4o"]})
    assert ledger.tell(notice)
    assert not ledger.tell(notice)
    (parcel,) = ledger.claim(time.time_ns(), lease_ns=10**9)
    alert = alert_of(parcel, ledger)
    assert isinstance(alert, PriceAlert)
    assert (alert.near, alert.spent, alert.about) == (("gpt-4o",), Decimal(0), "openai/mine")


def test_slack_shows_it_without_a_budget(server: SlackServer) -> None:
    with Guard("memory://", [], [slack(server.webhook)]) as guard:
        use(guard, "made-up-1")
        guard.flush()
    (sent,) = server.accepted
    blocks = sent["blocks"]
    assert [block["type"] for block in blocks] == ["header", "section"]
    assert blocks[0]["text"]["text"] == "openai/made-up-1 has no price"
    assert "Guard(prices=" in blocks[1]["text"]["text"]
