"""Messages link to the page of the dashboard that explains them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from costguard import ConfigError, Guard
from costguard.alerts.alert import Alert
from costguard.alerts.folding import Folded
from costguard.alerts.links import Links
from costguard.alerts.outbox import Outbox
from costguard.alerts.price_alert import PriceAlert
from costguard.alerts.rules_alert import RuleAlert
from costguard.alerts.slack import slack
from costguard.alerts.slack_buttons import Buttons
from costguard.alerts.webhook import webhook
from costguard.ledger.base import Ledger
from tests.alerts.crossings import Clock, tell
from tests.alerts.server import SlackServer

BASE = "https://costs.example.com/costs"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


@pytest.fixture
def link(make_alert: Callable[..., Alert]) -> Callable[..., str]:
    def of(made: type[Alert] = Alert, **changes: Any) -> str:
        alert = make_alert(
            **{name: value for name, value in changes.items() if name not in ("rule", "figures", "number")}
        )
        number = changes.pop("number", 0)
        fields = {name: getattr(alert, name) for name in Alert.__dataclass_fields__}
        more = {name: value for name, value in changes.items() if name in ("rule", "figures")}
        return Links(BASE).of(made(**fields, **more), number)

    return of


def test_each_kind_of_alert_links_to_its_page(link: Callable[..., str], make_alert: Callable[..., Alert]) -> None:
    assert link(payer={}) == f"{BASE}/budgets"
    assert link(payer={}, number=17) == f"{BASE}/budgets"
    assert link(RuleAlert, kind="call", budget="", figures={"call_id": "0198-a"}) == f"{BASE}/calls/0198-a"
    assert link(RuleAlert, kind="digest", budget="", payer={}) == f"{BASE}/"
    assert link(RuleAlert, kind="journal", budget="", payer={"host": "web-1"}) == f"{BASE}/"
    assert link(PriceAlert, kind="unpriced", budget="", payer={}) == f"{BASE}/prices"
    assert Links(BASE + "/").of(Folded.of([make_alert(), make_alert()])) == f"{BASE}/alerts"


def test_whom_an_alert_is_about_is_in_no_link(link: Callable[..., str]) -> None:
    assert link(number=17) == f"{BASE}/alerts/17"
    assert link(RuleAlert, kind="spike", budget="", payer={"feature": "chat"}, number=5) == f"{BASE}/alerts/5"
    # Of one that no store could keep.
    assert link() == f"{BASE}/budgets"
    assert link(RuleAlert, kind="spike", budget="", payer={"feature": "chat"}) == f"{BASE}/explore"


@pytest.mark.parametrize("wrong", ["costs.example.com", "ftp://costs", "https://", "https://a b", "https://a/?x=1", 5])
def test_an_address_that_nobody_can_open_is_refused_with_the_way_out(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"dashboard_url .* is not an http or https address"):
        Guard("memory://", [], [print], dashboard_url=wrong)


def test_every_channel_gets_the_link(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    told: list[Alert] = []
    channels: list[Any] = [
        slack(server.webhook), slack(server.webhook, buttons=Buttons(grants=[], mute=None)), told.append,
        webhook(server.webhook, SECRET),
    ]  # fmt: skip
    outbox = Outbox(ledger, channels, now_ns=clock, dashboard=BASE)
    tell(ledger, "a&b")
    assert outbox.flush(20) == 0
    link = f"{BASE}/alerts/1"
    plain, pressed, signed = server.accepted
    assert plain["blocks"][-1] == {
        "type": "context", "elements": [{"type": "mrkdwn", "text": f"<{link}|Open the dashboard>"}],
    }  # fmt: skip
    assert [one["url"] for one in pressed["blocks"][-1]["elements"]] == [link]
    assert signed["data"]["link"] == link
    assert [alert.link for alert in told] == [link]
    outbox.close()


def test_many_at_once_link_to_the_alerts(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    outbox = Outbox(ledger, [slack(server.webhook)], now_ns=clock, dashboard=BASE)
    for number in range(8):
        tell(ledger, f"user{number}")
    assert outbox.flush(20) == 0
    (message,) = server.accepted
    assert f"<{BASE}/alerts|Open the dashboard>" in json.dumps(message["blocks"])
    outbox.close()


def test_a_guard_says_where_the_dashboard_is() -> None:
    told: list[Alert] = []
    with Guard("memory://", [], [told.append], dashboard_url=BASE) as guard:
        tell(guard.ledger, at_ns=time.time_ns())
        guard.flush()
    assert [alert.link for alert in told] == [f"{BASE}/alerts/1"]
