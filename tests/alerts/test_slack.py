from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any

import pytest

from costguard.alerts.alert import RetryLater, Undeliverable
from costguard.alerts.slack import slack
from costguard.errors import ConfigError, MissingExtra
from tests.alerts.alerts import alert
from tests.alerts.server import Answer, SlackServer


def fields(message: dict[str, Any]) -> dict[str, str]:
    """The labelled fields of a Block Kit message."""
    (section,) = [block for block in message["blocks"] if "fields" in block]
    return dict(field["text"].split("\n", 1) for field in section["fields"])


def test_a_message_names_payer_budget_spent_limit_reset_and_what_it_went_on(server: SlackServer) -> None:
    slack(server.webhook)(alert())
    (message,) = server.accepted
    assert fields(message) == {
        "*Payer*": "alice",
        "*Budget*": "$5.00/day per user",
        "*Spent*": "$4.02",
        "*Limit*": "$5.00",
        "*Resets*": "2026-11-23 00:00 UTC",
        "*Top feature*": "chat ($3.10)",
        "*Top model*": "gpt-4o ($4.02)",
    }
    assert message["blocks"][0]["text"]["text"] == "alice has reached 80 % of $5.00/day per user"
    assert "▓▓▓▓▓▓▓▓░░ 80 %" in message["blocks"][1]["text"]["text"]
    assert message["text"].startswith("alice has spent $4.02 of $5.00 (80 %)")


def test_a_bot_token_posts_the_same_message_to_a_channel(server: SlackServer) -> None:
    slack(token="xoxb-1-2", channel="#costs", base_url=server.base_url)(alert())
    (message,) = server.accepted
    assert message["channel"] == "#costs"
    assert fields(message)["*Payer*"] == "alice"
    assert server.authorizations == ["Bearer xoxb-1-2"]


@pytest.mark.parametrize("bell", ["<!channel>", "<!here>", "<@U123>", "<https://evil.example|click>", "@channel"])
def test_a_user_cannot_ring_bells_or_forge_links(server: SlackServer, bell: str) -> None:
    slack(server.webhook)(alert(payer={"user": f"eve {bell} & co"}, top_feature=(bell, Decimal(1))))
    (message,) = server.accepted
    everything = json.dumps({**message, "blocks": message["blocks"][1:]}, ensure_ascii=False)
    assert bell not in everything
    assert "&amp; co" in fields(message)["*Payer*"]
    assert message["blocks"][0]["text"]["type"] == "plain_text", "Slack reads no markup there"
    assert "@channel" not in message["blocks"][0]["text"]["text"]
    assert all(field["verbatim"] for field in message["blocks"][2]["fields"])


def test_the_longest_tags_still_fit_slacks_limits(server: SlackServer) -> None:
    long = "<" * 200
    slack(server.webhook)(alert(payer={f"tag{number}": long for number in range(20)}, name=long * 3))
    (message,) = server.accepted
    assert len(message["blocks"][0]["text"]["text"]) <= 150
    assert all(len(field["text"]) <= 2000 for field in message["blocks"][2]["fields"])


def test_a_line_break_in_a_tag_starts_no_line_of_its_own(server: SlackServer) -> None:
    slack(server.webhook)(alert(payer={"user": "eve\n*Spent*\n$0.00"}))
    (message,) = server.accepted
    assert fields(message)["*Payer*"] == "eve *Spent* $0.00"


def test_a_budget_that_never_resets_and_has_no_price_yet_is_told_in_words(server: SlackServer) -> None:
    slack(server.webhook)(alert(resets_at=None, top_feature=None, top_model=None))
    shown = fields(server.accepted[0])
    assert shown["*Resets*"] == "never"
    assert shown["*Top feature*"] == "nothing priced yet"


def test_a_rate_limit_becomes_the_wait_that_slack_asks_for(server: SlackServer) -> None:
    server.answers.append(Answer(429, "rate_limited", {"Retry-After": "17"}))
    with pytest.raises(RetryLater) as limited:
        slack(server.webhook)(alert())
    assert limited.value.seconds == 17
    server.answers.append(Answer(429, '{"ok": false, "error": "ratelimited"}', {"Retry-After": "18"}))
    with pytest.raises(RetryLater) as limited:
        slack(token="xoxb-1", channel="C1", base_url=server.base_url)(alert())
    assert limited.value.seconds == 18
    assert len(server.received) == 2, "slack-sdk's own retries are off"


@pytest.mark.parametrize("value", ["soon", "-5", ""])
def test_a_rate_limit_without_a_number_waits_a_minute(server: SlackServer, value: str) -> None:
    server.answers.append(Answer(429, "", {"Retry-After": value}))
    with pytest.raises(RetryLater) as limited:
        slack(server.webhook)(alert())
    assert limited.value.seconds == 60


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, "invalid_payload"), (403, "action_prohibited"), (404, "no_service"), (410, "channel_is_archived")],
)
def test_a_permanent_refusal_says_what_slack_said_and_hides_the_address(
    server: SlackServer, status: int, body: str
) -> None:
    server.answers.append(Answer(status, body))
    with pytest.raises(Undeliverable, match=f"HTTP {status} {body}") as refused:
        slack(server.webhook)(alert())
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("error", ["invalid_auth", "channel_not_found", "not_in_channel"])
def test_the_web_apis_refusals_are_permanent_too(server: SlackServer, error: str) -> None:
    server.answers.append(Answer(200, json.dumps({"ok": False, "error": error})))
    with pytest.raises(Undeliverable, match=f"#costs: {error}"):
        slack(token="xoxb-1", channel="#costs", base_url=server.base_url)(alert())


@pytest.mark.parametrize("answer", [Answer(500, "oops"), Answer(200, '{"ok": false, "error": "internal_error"}')])
def test_a_fault_of_slacks_is_worth_another_try(server: SlackServer, answer: Answer) -> None:
    server.answers.append(answer)
    with pytest.raises(ConnectionError):
        slack(token="xoxb-1", channel="#costs", base_url=server.base_url)(alert())


def test_a_web_page_is_not_taken_for_slacks_ok(server: SlackServer) -> None:
    server.answers.append(Answer(200, "<!DOCTYPE html><title>Sign in</title>"))
    with pytest.raises(Undeliverable, match="web page"):
        slack(server.webhook)(alert())


def test_hosts_that_need_no_proxy_are_asked_without_one(server: SlackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    slack(server.webhook)(alert())
    slack(token="xoxb-1", channel="#costs", base_url=server.base_url)(alert())
    assert len(server.accepted) == 2


@pytest.mark.parametrize(
    ("webhook", "says"),
    [
        ("", "not an http or https address"),
        ("hooks.slack.com/services/T/B/X", "not an http or https address"),
        ("ftp://hooks.slack.com/services/T/B/X", "not an http or https address"),
        ("https://", "not an http or https address"),
        ("https://hooks.slack.com:port/services/T/B/X", "not an http or https address"),
        ("https://hooks.slack.com/services/T/B/X Y", "not an http or https address"),
        ("https://hooks.slack.com/services/T000", "cut short"),
        (5, "not an http or https address"),
        ("https://ops:hunter2@chat.example.com/hooks/x", "at chat.example.com has a user in its address"),
    ],
)
def test_a_wrong_webhook_is_refused_at_once(webhook: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        slack(webhook)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "needs a webhook address, or token="),
        ({"webhook_url": "https://hooks.slack.com/services/T/B/X", "token": "xoxb-1"}, "not both"),
        ({"token": "abc", "channel": "#costs"}, "xoxb-"),
        ({"token": "xoxb-1\n2", "channel": "#costs"}, "does not begin with xoxb-"),
        ({"token": "xoxb-1"}, "Slack channel None is missing"),
        ({"webhook_url": "https://hooks.slack.com/services/T/B/X", "channel": "#costs"}, "'#costs' cannot be chosen"),
        ({"token": "xoxb-1", "channel": "#costs", "base_url": "slack.com"}, "Slack base_url 'slack.com'"),
    ],
)
def test_a_wrong_setting_names_itself_and_the_way_out(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        slack(**settings)


def test_without_slack_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slack_sdk", None)
    with pytest.raises(MissingExtra, match=r"pip install 'llm-costguard\[slack\]'"):
        slack("https://hooks.slack.com/services/T/B/X")


def test_channels_have_stable_names_that_do_not_give_the_address_away() -> None:
    url = "https://hooks.slack.com/services/T/B/secret"
    assert slack(url).name == slack(url).name != slack(url + "2").name
    assert "secret" not in repr(slack(url))
    assert slack(token="xoxb-1", channel="#costs").name == "slack:#costs"
