"""Pressed buttons, as Slack sends them: a form with JSON in it, signed."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import urlencode

from costguard.alerts.alert import Alert
from costguard.alerts.slack_buttons import Buttons
from costguard.alerts.slack_signature import signature
from tests.alerts.crossings import NOON
from tests.alerts.server import SlackServer

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
ANN, EVE = "U0000ANN", "U0000EVE"


def button(alert: Alert, buttons: Buttons, action_id: str) -> dict[str, Any]:
    """The button of a message whose `action_id` begins so."""
    block = buttons.block(alert)
    assert block is not None
    return next(one for one in block["elements"] if one["action_id"].startswith(action_id))


def pressed(
    one: dict[str, Any], *, by: str = ANN, url: str = "", at: int = NOON // 10**9, **more: Any
) -> tuple[dict[str, str], bytes]:
    """Headers and body. `more` changes the payload."""
    payload = {
        "type": "block_actions",
        "user": {"id": by, "username": by.lower(), "team_id": "T1"},
        "container": {"type": "message", "message_ts": "1795348800.0001", "channel_id": "C1"},
        "actions": [{"action_id": one["action_id"], "value": one.get("value", ""), "action_ts": str(at)}],
        "response_url": url,
        **more,
    }
    body = urlencode({"payload": json.dumps(payload)}).encode()
    return signed(body, at), body


def signed(body: bytes, at: int = NOON // 10**9, secret: str = SECRET) -> dict[str, str]:
    return {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": str(at),
        "x-slack-signature": signature(secret, str(at), body),
    }


def said(server: SlackServer, number: int = 1) -> str:
    """What people were told in Slack, once there are so many answers."""
    assert server.wait_for(received=number)
    assert len(server.received) == number
    return str(server.received[-1]["text"])


def together(count: int, work: Any) -> None:
    """The same at the same time, in threads."""
    ready = threading.Barrier(count)

    def run() -> None:
        ready.wait(20)
        work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
