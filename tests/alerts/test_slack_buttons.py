"""Buttons below an alert in Slack: they act once, for those who may, with Slack's signature, and are written down."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from costguard.alerts.alert import Alert
from costguard.alerts.outbox import Outbox
from costguard.alerts.rules_alert import RuleAlert
from costguard.alerts.slack import slack
from costguard.alerts.slack_buttons import Buttons
from costguard.alerts.slack_endpoint import SlackActions
from costguard.alerts.slack_message import message
from costguard.alerts.slack_signature import signature
from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.mutes import mutes
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import rules
from costguard.tags import Tags
from tests.alerts.crossings import NOON, Clock, tell
from tests.alerts.pressing import ANN, EVE, SECRET, button, pressed, said, signed, together
from tests.alerts.server import SlackServer

BUTTONS = Buttons(grants=("$5", "$20"), mute="4h", dashboard="https://costs.example.com/")
TOMORROW = NOON // 10**9 + 12 * 3600


def grants(payer: object = "alice", budget: str = "b", end: int = TOMORROW) -> str:
    """The value of a button, which is no button of ours but for what it is by itself."""
    key = json.dumps(["day", "UTC", ["user"], {}, [payer], NOON // 10**9 - 43200]) + "@0.8*5"
    return json.dumps({"do": "grant", "key": key, "budget": budget, "amount": "5", "unit": "usd", "end": end})


@pytest.fixture
def actions(ledger: Ledger, clock: Clock) -> SlackActions:
    return SlackActions(ledger, SECRET, [ANN], response_hosts=["127.0.0.1"], now_ns=clock)


@pytest.fixture
def grant(make_alert: Callable[..., Alert]) -> dict[str, Any]:
    return button(make_alert(), BUTTONS, "costguard_grant_0")


def granted(ledger: Ledger, user: str = "alice", budget: str = "$5/day per user") -> Decimal:
    """The limit that this user has now."""
    rule = Budget.parse(budget)
    extra = sum(
        one.amount for one in rules(ledger).grants if one.account == rule.account and one.payer == {"user": user}
    )
    return Decimal(rule.limit_for(Tags(user=user), NOON, extra).most) / 10**9


def test_an_alert_of_a_budget_has_buttons_that_fit_it(make_alert: Callable[..., Alert]) -> None:
    *_, block = message(make_alert(), BUTTONS)
    assert block["type"] == "actions"
    shown = [one["text"]["text"] for one in block["elements"]]
    assert shown == ["Grant $5", "Grant $20", "Mute for 4h", "Open the dashboard"]
    assert "confirm" in block["elements"][0]
    assert block["elements"][3]["url"] == "https://costs.example.com/"
    tokens = make_alert(unit="tokens", spent=Decimal(80), limit=Decimal(100))
    assert message(tokens, BUTTONS)[-1]["elements"][0]["text"]["text"] == "Mute for 4h"
    mixed = Buttons(grants=("$5", "100000 tokens"), mute=None)
    assert [one["text"]["text"] for one in message(tokens, mixed)[-1]["elements"]] == ["Grant 100,000 tokens"]
    assert message(make_alert())[-1]["type"] == "section", "nobody asked for buttons"


def test_values_that_slack_would_not_take_have_no_button(make_alert: Callable[..., Alert]) -> None:
    long = make_alert(key=f'["day","UTC",["user"],{{}},["{"x" * 2000}"],1795305600]@0.8*5000000000')
    assert [one["text"]["text"] for one in message(long, BUTTONS)[-1]["elements"]] == ["Open the dashboard"]


def test_a_grant_is_given_once_for_this_window_and_written_down(
    ledger: Ledger, actions: SlackActions, grant: dict[str, Any], server: SlackServer
) -> None:
    headers, body = pressed(grant, url=server.webhook)
    assert actions.take(headers, body).status == 200
    assert said(server) == "<@U0000ANN> granted alice $5.00 more on $5.00/day per user until 2026-11-23 00:00 UTC."
    assert granted(ledger) == Decimal(10)
    assert granted(ledger, "bob") == Decimal(5)
    (stored,) = rules(ledger).grants
    assert (stored.author, stored.until_ns) == ("u0000ann (Slack U0000ANN)", None), "for the rest of the window"
    (deed,) = ledger.deeds()
    assert (deed.action, deed.author) == ("grant", stored.author)
    assert deed.details["amount"] == "5"
    assert deed.details["payer"] == {"user": "alice"}


def test_the_same_request_again_is_refused(
    ledger: Ledger, actions: SlackActions, grant: dict[str, Any], server: SlackServer
) -> None:
    request = pressed(grant, url=server.webhook)
    for _ in range(3):
        actions.take(*request)
    assert server.wait_for(received=3)
    assert sum("nothing was added" in one["text"] for one in server.received) == 2
    assert granted(ledger) == Decimal(10)
    assert len(ledger.deeds()) == 1


def test_two_people_at_once_grant_once(url: str, clock: Clock, grant: dict[str, Any], server: SlackServer) -> None:
    ledgers = [open_ledger(url) for _ in range(4)]
    people = iter([(SlackActions(each, SECRET, [ANN, EVE], response_hosts=["127.0.0.1"], now_ns=clock), by)
                   for each, by in zip(ledgers, (ANN, EVE, ANN, EVE), strict=True)])  # fmt: skip
    lock = threading.Lock()

    def press() -> None:
        with lock:
            actions, by = next(people)
        actions.take(*pressed(grant, by=by, url=server.webhook, at=NOON // 10**9))

    together(4, press)
    assert server.wait_for(received=4)
    assert granted(ledgers[0]) == Decimal(10)
    assert len(ledgers[0].deeds()) == 1
    for each in ledgers:
        each.close()


def test_who_is_not_allowed_does_nothing_and_is_told_so(
    ledger: Ledger, actions: SlackActions, grant: dict[str, Any], server: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    actions.take(*pressed(grant, by=EVE, url=server.webhook))
    assert "not among those who may" in said(server)
    assert server.received[0]["response_type"] == "ephemeral"
    assert not rules(ledger).grants
    assert not ledger.deeds()
    assert EVE in caplog.text


@pytest.mark.parametrize(
    "forge",
    [
        lambda headers, body: ({**headers, "x-slack-signature": "v0=" + "0" * 64}, body),
        lambda headers, body: ({**headers, "x-slack-signature": ""}, body),
        lambda headers, body: ({**headers, "x-slack-signature": headers["x-slack-signature"].upper()}, body),
        lambda headers, body: ({**headers, "x-slack-signature": "v0=ä\udc80"}, body),
        lambda headers, body: (headers, body + b"&more=1"),
        lambda headers, body: (headers, body.replace(ANN.encode(), EVE.encode())),
        lambda headers, body: (signed(body, secret="another secret of some app"), body),
        lambda headers, body: ({**headers, "x-slack-request-timestamp": str(NOON // 10**9 + 1)}, body),
        lambda headers, body: ({**headers, "x-slack-request-timestamp": ""}, body),
        lambda headers, body: ({**headers, "x-slack-request-timestamp": "٣"}, body),
        lambda headers, body: (signed(body, NOON // 10**9 - 301), body),
        lambda headers, body: (signed(body, NOON // 10**9 + 301), body),
        lambda headers, body: ({}, body),
    ],
)
def test_a_forged_or_old_request_is_refused(
    ledger: Ledger, actions: SlackActions, grant: dict[str, Any], forge: Callable[..., Any]
) -> None:
    assert actions.take(*forge(*pressed(grant))).status == 401
    assert not rules(ledger).grants
    assert not ledger.deeds()


def test_the_signature_is_that_of_slacks_documentation() -> None:
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
        b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
        b"response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F"
        b"96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert signature(SECRET, "1531420618", body) == expected


def test_a_window_that_is_over_gets_nothing(
    ledger: Ledger, actions: SlackActions, grant: dict[str, Any], server: SlackServer, clock: Clock
) -> None:
    clock.now_ns = TOMORROW * 10**9
    actions.take(*pressed(grant, url=server.webhook, at=TOMORROW))
    assert said(server) == "That window ended 2026-11-23 00:00 UTC; nothing was granted."
    assert not rules(ledger).grants
    assert not ledger.deeds()


@pytest.mark.parametrize(
    ("budget", "fraction"),
    [("$5/24h per user", "0.8"), ("$5/ever per user where feature=chat", "1"), ("1000 tokens/day per user", "0.8")],
)
def test_the_button_of_any_budget_tops_up_that_budget(
    ledger: Ledger, actions: SlackActions, budget: str, fraction: str
) -> None:
    buttons = Buttons(grants=("$5", "500 tokens"))
    told: list[Alert] = []
    crossing = tell(ledger, 'al"]@,', budget=budget, fraction=fraction, spent="0.000000900")
    outbox = Outbox(ledger, [told.append], now_ns=Clock())
    assert outbox.flush(20) == 0
    outbox.close()
    actions.take(*pressed(button(told[0], buttons, "costguard_grant")))
    (stored,) = rules(ledger).grants
    assert stored.account == crossing.limit.budget.account
    assert stored.payer == {"user": 'al"]@,'}
    begin, end = stored.grant.in_force(crossing.limit)
    assert begin < end


def test_a_mute_silences_and_is_written_down(
    ledger: Ledger, actions: SlackActions, make_alert: Callable[..., Alert], server: SlackServer
) -> None:
    request = pressed(button(make_alert(), BUTTONS, "costguard_mute"), url=server.webhook)
    actions.take(*request)
    assert said(server) == "<@U0000ANN> muted $5.00/day per user of alice until 2026-11-22 16:00 UTC."
    actions.take(*request)
    (mute,) = mutes(ledger, now_ns=NOON)
    assert (mute.budget, mute.payer, mute.until_ns) == (
        "$5.00/day per user", {"user": "alice"}, NOON + 4 * 3600 * 10**9,
    )  # fmt: skip
    assert [deed.action for deed in ledger.deeds()] == ["mute"]


def test_from_the_alert_in_slack_to_the_higher_limit(
    ledger: Ledger, actions: SlackActions, server: SlackServer
) -> None:
    tell(ledger)
    outbox = Outbox(ledger, [slack(server.webhook, buttons=BUTTONS)], now_ns=Clock())
    assert outbox.flush(20) == 0
    outbox.close()
    elements = server.accepted[0]["blocks"][-1]["elements"]
    actions.take(*pressed(elements[1]))
    assert granted(ledger) == Decimal(25)


def test_answers_go_to_slack_only(
    ledger: Ledger, clock: Clock, grant: dict[str, Any], server: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = SlackActions(ledger, SECRET, [ANN], now_ns=clock)
    for url in (server.webhook, "http://hooks.slack.com/x", "file:///etc/passwd", "https://hooks.slack.com.evil/x",
                "https://["):  # fmt: skip
        elsewhere.take(*pressed(grant, url=url))
    assert caplog.text.count("gets no answer") == 5
    assert not server.received


@pytest.mark.parametrize("value", ["", "5", "{}", '{"do":"grant"}', '{"do":"pay","key":"k","budget":"b"}',
                                   '{"do":"grant","key":"unpriced:x","budget":"b","amount":"5","unit":"usd"}',
                                   '{"do":"grant","key":"[]@1","budget":"b","amount":"-5","unit":"usd"}',
                                   '{"do":"mute","key":"[]@1","budget":"b","seconds":true}',
                                   grants(end=10**18), grants(end=-(10**18)), grants(payer=5),
                                   grants(budget="\ud800"), "[" * 100_000])  # fmt: skip
def test_a_button_of_something_else_does_nothing(ledger: Ledger, actions: SlackActions, value: str) -> None:
    assert actions.take(*pressed({"action_id": "costguard_grant_0", "value": value})).status == 200
    assert not rules(ledger).grants
    assert not ledger.deeds()


@pytest.mark.parametrize(
    "body",
    [b"", b"ssl_check=1", b"payload=%7B%22type%22%3A%22view_submission%22%7D", b"\xff=1", b"payload=5", b"payload=%7B",
     urlencode({"payload": json.dumps({"type": "block_actions", "actions": 5})}).encode(),
     urlencode({"payload": json.dumps({"type": "block_actions", "actions": [5], "user": []})}).encode()],
)  # fmt: skip
def test_whatever_slack_signs_is_answered(actions: SlackActions, body: bytes) -> None:
    assert actions.take(signed(body), body).status in (200, 400)


def test_the_store_being_away_is_said(
    url: str, grant: dict[str, Any], clock: Clock, server: SlackServer, tmp_path: Any
) -> None:
    ledger = open_ledger(url)
    actions = SlackActions(ledger, SECRET, [ANN], response_hosts=["127.0.0.1"], now_ns=clock)
    ledger.close()
    for path in tmp_path.glob("costs.db*"):
        path.unlink()
    (tmp_path / "costs.db").mkdir()
    assert actions.take(*pressed(grant, url=server.webhook)).status == 200
    assert "nothing is certain to be done" in said(server)


# The endpoint, for ASGI and WSGI.


def test_wsgi(ledger: Ledger, actions: SlackActions, grant: dict[str, Any]) -> None:
    def ask(method: str, headers: dict[str, str], body: bytes, length: str | None = None) -> str:
        environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        environ |= {"REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(body)) if length is None else length}
        started: list[str] = []
        content = b"".join(
            actions.wsgi({**environ, "wsgi.input": io.BytesIO(body)}, lambda status, _: started.append(status))
        )
        return f"{started[0]} {content.decode()}".strip()

    headers, body = pressed(grant)
    assert ask("GET", headers, b"") == "405 Method Not Allowed only POST"
    assert ask("POST", headers, body, "99999999").startswith("413")
    assert ask("POST", headers, body, "-1").startswith("413")
    assert ask("POST", {**headers, "x-slack-signature": "v0=1"}, body).startswith("401")
    assert not rules(ledger).grants
    assert ask("POST", headers, body) == "200 OK"
    assert granted(ledger) == Decimal(10)


async def test_asgi(ledger: Ledger, actions: SlackActions, grant: dict[str, Any]) -> None:
    import httpx
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount("/slack/actions", actions.asgi)])
    headers, body = pressed(grant)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://costs") as client:
        assert (await client.get("/slack/actions/")).status_code == 405
        assert (await client.post("/slack/actions/", content=body)).status_code == 401
        assert (await client.post("/slack/actions/", content=b"x" * 1_000_001, headers=headers)).status_code == 413
        assert not rules(ledger).grants
        assert (await client.post("/slack/actions/", content=body, headers=headers)).status_code == 200
    assert granted(ledger) == Decimal(10)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"signing_secret": ""}, "signing secret"),
        ({"signing_secret": "short"}, "signing secret"),
        ({"allowed": "U0000ANN"}, "give a list"),
        ({"allowed": ["ann"]}, "'ann' is not a Slack user id"),
        ({"allowed": ["@ann"]}, "names can be changed"),
    ],
)
def test_wrong_settings_of_the_endpoint_are_refused(settings: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"signing_secret": SECRET, "allowed": [ANN], **settings}
    with pytest.raises(ConfigError, match=says):
        SlackActions(open_ledger("memory://"), **given)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"grants": "$5"}, "give a list"),
        ({"grants": ["5"]}, "grant '5' is not an amount"),
        ({"grants": ["$0"]}, "grant '\\$0' is not an amount"),
        ({"grants": ["5 euros"]}, "not an amount"),
        ({"grants": ["$1"] * 6}, "more than five"),
        ({"mute": "soon"}, "mute 'soon' is not a span"),
        ({"dashboard": "javascript:alert(1)"}, "not an http or https address"),
    ],
)
def test_wrong_buttons_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Buttons(**settings)


def test_what_a_rule_found_can_be_muted_too(
    ledger: Ledger, actions: SlackActions, make_alert: Callable[..., Alert], server: SlackServer
) -> None:
    def found(kind: str, rule: str) -> Alert:
        given = make_alert(key=f"{kind}:{rule}:x", kind=kind, budget="", payer={"feature": "chat"})
        fields = {name: getattr(given, name) for name in Alert.__dataclass_fields__}
        return RuleAlert(**fields, rule=rule, words=("a title", "a text"))

    spike, dear = found("spike", "spike 3x per feature"), found("call", "call over $2.00")
    assert [one["text"]["text"] for one in message(spike, BUTTONS)[-1]["elements"]] == [
        "Mute for 4h", "Open the dashboard",
    ]  # fmt: skip
    actions.take(*pressed(button(spike, BUTTONS, "costguard_mute"), url=server.webhook))
    assert said(server) == "<@U0000ANN> muted spike 3x per feature of chat until 2026-11-22 16:00 UTC."
    actions.take(*pressed(button(dear, BUTTONS, "costguard_mute"), url=server.webhook))
    first, second = mutes(ledger, now_ns=NOON)
    assert (first.budget, first.payer) == ("spike 3x per feature", {"feature": "chat"})
    assert (second.budget, second.payer) == ("call over $2.00", {})
    chat: dict[str, Any] = {"kind": "spike", "facts": {"rule": "spike 3x per feature", "payer": {"feature": "chat"}}}
    assert first.covers(chat)
    assert not first.covers({"kind": "spike", "facts": {**chat["facts"], "payer": {"feature": "search"}}})
    assert message(found("digest", "digest daily 09:00"), BUTTONS)[-1]["elements"][0]["url"], "no mute"
