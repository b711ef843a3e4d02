"""Channels beside Slack: a signed webhook, and whatever apprise knows."""

from __future__ import annotations

import base64
import hmac
import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from costguard.alerts.alert import Alert, RetryLater, Undeliverable
from costguard.alerts.apprise import apprise
from costguard.alerts.folding import Folded
from costguard.alerts.outbox import Outbox
from costguard.alerts.webhook import webhook
from costguard.errors import ConfigError, MissingExtra
from costguard.ledger.base import Ledger
from tests.alerts.crossings import NOON, Clock, tell

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
AnAlert = Callable[..., Alert]


@dataclass
class Receiver:
    """requests: headers (lower case) and body of each. answers: status and headers, one for each request; else 204."""

    url: str = ""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status, headers = made.answers.popleft() if made.answers else (204, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815  # the name of http.server

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{http.server_port}/hooks/secret-path"
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    http.shutdown()
    http.server_close()


def verified(headers: dict[str, str], body: bytes, key: bytes = KEY) -> bool:
    """As https://www.standardwebhooks.com says, written again from its text."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, content, sha256).digest()).decode()
    return expected in headers["webhook-signature"].split()


def test_a_webhook_tells_everything_and_signs_it(receiver: Receiver, clock: Clock, make_alert: AnAlert) -> None:
    webhook(receiver.url, SECRET, headers={"Authorization": "Bearer 1"}, now_ns=clock)(make_alert())
    ((headers, body),) = receiver.requests
    assert verified(headers, body)
    assert not verified(headers, body + b" ")
    assert not verified(headers, body, b"another key that nobody here has")
    assert headers["webhook-timestamp"] == str(NOON // 10**9)
    assert headers["authorization"] == "Bearer 1"
    told = json.loads(body)
    assert told["type"] == "costguard.alert.budget"
    assert told["timestamp"] == "2026-11-22T12:00:00Z"
    data = told["data"]
    assert data["title"] == "alice has reached 80 % of $5.00/day per user"
    assert (data["payer"], data["spent"], data["limit"], data["fraction"]) == ({"user": "alice"}, "4.02", "5", "0.8")
    assert data["top_model"] == ["gpt-4o", "4.02"]
    assert data["resets_at"] == "2026-11-23T00:00:00Z"


def test_a_secret_is_replaced_without_a_gap(receiver: Receiver, make_alert: AnAlert) -> None:
    new = b"fedcba9876543210fedcba9876543210"
    webhook(receiver.url, [SECRET, new])(make_alert())
    assert verified(*receiver.requests[0])
    assert verified(*receiver.requests[0], new)


def test_every_try_of_an_alert_has_the_same_id_and_no_other_alert_has(receiver: Receiver, make_alert: AnAlert) -> None:
    hook = webhook(receiver.url, SECRET)
    for alert in (make_alert(), make_alert(), make_alert(key="another")):
        hook(alert)
    first, again, other = [headers["webhook-id"] for headers, _ in receiver.requests]
    assert first == again != other


def test_a_webhook_is_told_each_alert_once_over_failures(ledger: Ledger, receiver: Receiver, clock: Clock) -> None:
    receiver.answers.extend([(500, {}), (503, {"Retry-After": "30"}), (404, {})])
    outbox = Outbox(ledger, [webhook(receiver.url, SECRET, now_ns=clock)], now_ns=clock, pause=lambda tries: 10.0)
    tell(ledger)
    for seconds in (11, 31, 11):
        assert outbox.flush(5) == 1
        clock.advance(seconds)
    assert outbox.flush(20) == 0
    outbox.close()
    assert len(receiver.requests) == 4
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1
    assert all(verified(*request) for request in receiver.requests)


@pytest.mark.parametrize(
    ("status", "headers", "error", "seconds"),
    [
        (429, {"Retry-After": "17"}, RetryLater, 17),
        (429, {}, RetryLater, 60),
        (503, {"Retry-After": "7200"}, RetryLater, 3600),
        (410, {}, Undeliverable, None),
        (500, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, ConnectionError, None),
        (302, {"Location": "/elsewhere"}, ConnectionError, None),
        (401, {}, ConnectionError, None),
    ],
)
def test_a_webhooks_answer_steers_the_retries(
    receiver: Receiver, make_alert: AnAlert, status: int, headers: dict[str, str], error: Any, seconds: float | None
) -> None:
    receiver.answers.append((status, headers))
    with pytest.raises(error) as raised:
        webhook(receiver.url, SECRET)(make_alert())
    assert getattr(raised.value, "seconds", None) == seconds
    assert "secret" not in str(raised.value)
    assert len(receiver.requests) == 1, "no redirect is followed"


def test_a_webhook_that_nobody_answers_hides_its_address(make_alert: AnAlert) -> None:
    with pytest.raises(ConnectionError) as raised:
        webhook("http://127.0.0.1:9/hooks/secret-path", SECRET)(make_alert())
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(webhook("http://127.0.0.1:9/hooks/secret-path", SECRET))


@pytest.mark.parametrize(
    ("url", "secret", "says"),
    [
        ("hooks.example.com", SECRET, "not an http or https address"),
        ("file:///etc/passwd", SECRET, "not an http or https address"),
        ("https://", SECRET, "not an http or https address"),
        ("https://x/y z", SECRET, "not an http or https address"),
        ("https://x/", "", "24 to 64 bytes"),
        ("https://x/", "hunter2", "24 to 64 bytes"),
        ("https://x/", "whsec_dG9vIHNob3J0", "24 to 64 bytes"),
        ("https://x/", [], "without a secret"),
        ("https://ops:hunter2@x/", SECRET, "has a user in its address"),
    ],
)
def test_a_wrong_webhook_is_refused_at_once(url: str, secret: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        webhook(url, secret)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("value", ["Bearer hunter2\n", "Bearer hunter2\r\nX-Other: 1", "Bearer hunter2 \u2013"])
def test_a_header_that_cannot_be_sent_is_refused_at_once_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigError, match="header 'Authorization' of a webhook is not one line") as refused:
        webhook("https://x/", SECRET, headers={"Authorization": value})
    assert "hunter2" not in str(refused.value)


# apprise


def test_apprise_tells_a_service(receiver: Receiver, make_alert: AnAlert) -> None:
    channel = apprise(receiver.url.replace("http://", "json://"))
    channel(make_alert())
    (told,) = receiver.told
    assert told["title"] == "alice has reached 80 % of $5.00/day per user"
    assert told["message"].startswith("alice has spent $4.02 of $5.00 (80 %), budget $5.00/day per user")
    assert told["type"] == "warning"
    channel(make_alert(refused=True))
    assert receiver.told[-1]["type"] == "failure"


def test_apprise_tells_many_at_once_as_one(ledger: Ledger, receiver: Receiver, clock: Clock) -> None:
    outbox = Outbox(ledger, [apprise(receiver.url.replace("http://", "json://"))], now_ns=clock)
    for number in range(12):
        tell(ledger, f"user{number}")
    assert outbox.flush(20) == 0
    outbox.close()
    (told,) = receiver.told
    assert told["title"] == "12 alerts at once: 12 on budgets"
    assert told["message"].count("\n- ") == 12


def test_apprise_rings_no_bells_and_starts_no_lines(receiver: Receiver, make_alert: AnAlert) -> None:
    eve = make_alert(payer={"user": "eve @everyone\nAll is well"})
    channel = apprise(receiver.url.replace("http://", "json://"))
    channel(eve)
    channel(Folded.of([eve, make_alert()]))
    assert all("@everyone" not in one["message"] + one["title"] for one in receiver.told)
    assert [one["message"].count("\n") for one in receiver.told] == [0, 2]


def test_a_service_that_does_not_take_it_is_tried_again(receiver: Receiver, make_alert: AnAlert) -> None:
    receiver.answers.append((500, {}))
    with pytest.raises(ConnectionError, match="did not take the message"):
        apprise(receiver.url.replace("http://", "json://"))(make_alert())


def test_apprise_channels_have_stable_names_that_do_not_give_the_address_away() -> None:
    first, second = apprise("json://host/secret"), apprise("json://host/secret2")
    assert first.name == apprise("json://host/secret").name != second.name
    assert "secret" not in repr(first)
    assert apprise("json://host/secret", name="ops").name == "ops"


@pytest.mark.parametrize("url", ["", "nothing", "nosuch://host/secret", "json://host/secret, json://other", 5])
def test_a_wrong_url_of_apprise_is_refused_at_once(url: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        apprise(url)
    assert "secret" not in str(refused.value)


def test_without_apprise_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MissingExtra, match=r"pip install 'llm-costguard\[apprise\]'"):
        apprise("json://host")


def test_a_folded_alert_tells_the_most_urgent_first(make_alert: AnAlert) -> None:
    folded = Folded.of(
        [
            make_alert(payer={"user": "half"}, fraction=Decimal("0.5")),
            make_alert(payer={"user": "all"}, fraction=Decimal(1), at=datetime(2026, 11, 22, 13, tzinfo=UTC)),
            make_alert(payer={"user": "refused"}, refused=True),
        ]
    )
    assert [line.split(" ")[0] for line in folded.lines] == ["A", "all", "half"]
    assert folded.title == "3 alerts at once: 2 on budgets, 1 refusals"
    assert (folded.refused, folded.fraction, folded.at.hour) == (True, Decimal(1), 13)
    assert folded.key == Folded.of(folded.alerts).key
