"""Alerts to Slack, or to anything that takes its messages, through slack-sdk."""

from __future__ import annotations

import logging
import re
from hashlib import sha256
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from costguard.alerts.alert import Alert, RetryLater, Undeliverable
from costguard.errors import ConfigError, MissingExtra
from costguard.money import show_usd
from costguard.units import show_amount

TIMEOUT = 10
"""Seconds for one request."""

# slack-sdk logs the address of a request, and a webhook's address is its password.
_silent = logging.Logger("costguard.alerts.slack_sdk", logging.CRITICAL + 1)

_TRANSIENT = frozenset({
    "ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout",
    "rollup_error", "team_added_to_org",
})  # fmt: skip
"""Errors of Slack's Web API that pass by themselves: https://docs.slack.dev/reference/methods/chat.postMessage#errors"""

_BELLS = re.compile(r"@(?=(?:channel|here|everyone|all)\b)", re.IGNORECASE)


class Slack:
    """A channel: one Block Kit message for each alert. Made by `slack`."""

    def __init__(self, name: str, *, url: str | None = None, token: str = "", channel: str = "", base_url: str) -> None:
        self.name = name
        self._url = url
        self._token = token
        self._channel = channel
        self._base_url = base_url

    def __repr__(self) -> str:
        return f"slack({self.name!r})"

    def __call__(self, alert: Alert) -> None:
        """Send it. Raises RetryLater on HTTP 429, Undeliverable where a retry cannot help, else what failed."""
        if self._url is not None:
            self._webhook(self._url, alert)
        else:
            self._bot(alert)

    def _webhook(self, url: str, alert: Alert) -> None:
        from slack_sdk.webhook import WebhookClient

        client = WebhookClient(url, timeout=TIMEOUT, logger=_silent, retry_handlers=[])
        answer = client.send(text=escape(alert.text), blocks=message(alert), unfurl_links=False, unfurl_media=False)
        body = answer.body.strip()
        if answer.status_code == 200 and not body.startswith("<"):
            return
        if answer.status_code == 200:
            raise Undeliverable("the webhook answered with a web page, not as Slack does: check its address")
        self._refused(answer.status_code, body, answer.headers)

    def _bot(self, alert: Alert) -> None:
        from slack_sdk.errors import SlackApiError
        from slack_sdk.web import WebClient

        client = WebClient(self._token, self._base_url, timeout=TIMEOUT, logger=_silent, retry_handlers=[])
        try:
            client.chat_postMessage(
                channel=self._channel,
                text=escape(alert.text),
                blocks=message(alert),
                link_names=False,
                unfurl_links=False,
                unfurl_media=False,
            )
        except SlackApiError as error:
            answer = error.response
            reason = str(answer.get("error") or "no reason given")
            if answer.status_code == 200 and reason not in _TRANSIENT:
                raise Undeliverable(f"Slack refuses the message to {self._channel}: {reason}") from None
            status = 429 if reason in ("ratelimited", "rate_limited") else answer.status_code
            self._refused(status, reason, answer.headers)

    def _refused(self, status: int, reason: str, headers: Any) -> None:
        said = f"HTTP {status} {reason[:200]}".strip()
        if status == 429:
            raise RetryLater(_retry_after(headers), f"{said}: Slack limits the rate")
        if 400 <= status < 500 and status != 408:
            raise Undeliverable(f"{said}: Slack refuses it; make a new webhook, or check the token and the channel")
        raise ConnectionError(f"{said} from Slack")


def slack(
    webhook_url: str | None = None,
    *,
    token: str | None = None,
    channel: str | None = None,
    base_url: str | None = None,
) -> Slack:
    """A channel that posts to Slack: by an incoming webhook, or by a bot token and a channel.

    slack("https://hooks.slack.com/services/...")
    slack(token="xoxb-...", channel="#costs")

    base_url:  of a Web API other than https://slack.com/api/, for GovSlack or tests

    Raises ConfigError for an address or a token that cannot be one, MissingExtra without slack-sdk.
    """
    if (webhook_url is None) == (token is None):
        raise ConfigError('slack() needs a webhook address, or token="xoxb-..." with channel="#costs", and not both')
    base_url = base_url or "https://slack.com/api/"
    _check(base_url, "Slack base_url")
    if not base_url.endswith("/"):
        base_url += "/"
    if webhook_url is not None:
        if channel is not None:
            raise ConfigError(
                f"Slack channel {channel!r} cannot be chosen with a webhook, which belongs to one channel"
            )
        _check(webhook_url, "Slack webhook")
        made = Slack(f"slack:{sha256(webhook_url.encode()).hexdigest()[:8]}", url=webhook_url, base_url=base_url)
    else:
        if not isinstance(token, str) or not token.startswith("xox") or token != token.strip():
            raise ConfigError("Slack token does not begin with xoxb-; copy the Bot User OAuth Token of your Slack app")
        if not isinstance(channel, str) or not channel.strip():
            raise ConfigError(f'Slack channel {channel!r} is missing; name it with the token: channel="#costs"')
        made = Slack(f"slack:{channel}", token=token, channel=channel, base_url=base_url)
    if find_spec("slack_sdk") is None:
        raise MissingExtra("slack-sdk", "slack", "slack()")
    return made


def message(alert: Alert) -> list[dict[str, Any]]:
    """The blocks of one alert: https://docs.slack.dev/reference/block-kit/blocks"""
    header = {"type": "header", "text": {"type": "plain_text", "text": _clip(_tame(alert.title), 150), "emoji": False}}
    if alert.kind != "budget":
        return [header, {"type": "section", "text": _mrkdwn(escape(alert.text))}]
    filled = max(0, min(10, alert.percent // 10))
    bar = f"{'▓' * filled}{'░' * (10 - filled)} {alert.percent} %"
    fields = [
        ("Payer", alert.who),
        ("Budget", f"{alert.name} ({alert.budget})" if alert.name else alert.budget),
        ("Spent", show_amount(alert.spent, alert.unit)),
        ("Limit", show_amount(alert.limit, alert.unit)),
        ("Resets", "never" if alert.resets_at is None else f"{alert.resets_at:%Y-%m-%d %H:%M} UTC"),
        ("Top feature", _top(alert.top_feature)),
        ("Top model", _top(alert.top_model)),
    ]
    return [
        header,
        {"type": "section", "text": _mrkdwn(f"{bar}  {alert.progress}")},
        {"type": "section", "fields": [_mrkdwn(f"*{name}*\n{escape(_clip(value, 300))}") for name, value in fields]},
    ]


def escape(text: str) -> str:
    """Text that Slack shows as it is: tags come from users, who must not ring @channel or forge links.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return _tame(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _tame(text: str) -> str:
    # Services that imitate Slack ring on a plain "@channel"; a zero-width space stops that and is not seen.
    return _BELLS.sub("@\u200b", "".join(letter if letter.isprintable() else " " for letter in text))


def _top(top: tuple[str, Any] | None) -> str:
    return "nothing priced yet" if top is None else f"{top[0]} ({show_usd(top[1])})"


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: no links, names or mentions are made out of the words.
    return {"type": "mrkdwn", "text": _clip(text, 2000), "verbatim": True}


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _check(url: object, what: str) -> None:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    text = str(url)
    if not good or any(letter.isspace() or not letter.isprintable() for letter in text):
        # Whatever follows the host is the webhook's password.
        raise ConfigError(f"{what} {text[:24]!r} is not an http or https address; copy the whole https://...")
    if parts.hostname == "hooks.slack.com" and parts.path.strip("/").count("/") < 2:
        raise ConfigError(f"{what} 'https://hooks.slack.com{parts.path[:12]}' is cut short; copy all of it from Slack")


def _retry_after(headers: Any) -> float:
    """Seconds; a minute if Slack names none or no number, at most an hour."""
    for name, value in dict(headers).items():
        if str(name).lower() == "retry-after":
            text = value[0] if isinstance(value, list) else str(value)
            if text.strip().isdigit():
                return float(min(3600, max(1, int(text))))
    return 60.0
