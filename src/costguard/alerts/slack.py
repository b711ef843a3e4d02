"""Alerts to Slack, or to anything that takes its messages, through slack-sdk."""

from __future__ import annotations

import logging
from hashlib import sha256
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from costguard.alerts.alert import Alert, RetryLater, Undeliverable
from costguard.alerts.slack_buttons import Buttons
from costguard.alerts.slack_message import escape, message
from costguard.alerts.spoken import clip
from costguard.errors import ConfigError, MissingExtra

TIMEOUT = 10
"""Seconds for one request."""

# slack-sdk logs the address of a request, and a webhook's address is its password.
_silent = logging.Logger("costguard.alerts.slack_sdk", logging.CRITICAL + 1)

_TRANSIENT = frozenset({
    "ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout",
    "rollup_error", "team_added_to_org",
})  # fmt: skip
"""Errors of Slack's Web API that pass by themselves: https://docs.slack.dev/reference/methods/chat.postMessage#errors"""

_THREADLESS = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message", "invalid_thread_ts"})
"""The first message of a thread is gone, or no replies are taken: then there is a new first one."""

_MOST_OF_A_TEXT = 3000
"""Slack cuts longer ones; beside blocks it is what notifications show."""


class Slack:
    """A channel: one Block Kit message for each alert, or for many at once. Made by `slack`.

    threads: with a bot token, the alerts of a budget in one window are one thread; a webhook does not say where its
             message went
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        token: str = "",
        channel: str = "",
        base_url: str,
        buttons: Buttons | None = None,
        folds: bool = True,
        threads: bool = True,
    ) -> None:
        self.name = name
        self.folds = folds
        self.threads = threads and url is None
        self._buttons = buttons
        self._url = url
        self._token = token
        self._channel = channel
        self._base_url = base_url

    def __repr__(self) -> str:
        return f"slack({self.name!r})"

    def prepare(self) -> None:
        """Load slack-sdk."""
        if self._url is not None:
            import slack_sdk.webhook
        else:
            import slack_sdk.web  # noqa: F401

    def __call__(self, alert: Alert) -> str | None:
        """Send it; with a bot token, what to `reply` to. Raises RetryLater on HTTP 429, Undeliverable where a retry
        cannot help, else what failed."""
        if self._url is not None:
            self._webhook(self._url, alert)
            return None
        return self._bot(alert)

    def reply(self, alert: Alert, first: str) -> None:
        """Send it into the thread of the message that `first` names; what is urgent is shown in the channel, too."""
        self._bot(alert, thread_ts=first, reply_broadcast=alert.refused or alert.fraction >= 1)

    def _webhook(self, url: str, alert: Alert) -> None:
        from slack_sdk.webhook import WebhookClient

        client = WebhookClient(url, timeout=TIMEOUT, logger=_silent, retry_handlers=[])
        text, blocks = _text(alert), message(alert, self._buttons)
        answer = client.send(text=text, blocks=blocks, unfurl_links=False, unfurl_media=False)
        body = answer.body.strip()
        if answer.status_code == 200 and not body.startswith("<"):
            return
        if answer.status_code == 200:
            raise Undeliverable("the webhook answered with a web page, not as Slack does: check its address")
        self._refused(answer.status_code, body, answer.headers)

    def _bot(self, alert: Alert, **thread: Any) -> str | None:
        from slack_sdk.errors import SlackApiError
        from slack_sdk.web import WebClient

        client = WebClient(self._token, self._base_url, timeout=TIMEOUT, logger=_silent, retry_handlers=[])
        try:
            answer = client.chat_postMessage(
                channel=self._channel,
                text=_text(alert),
                blocks=message(alert, self._buttons),
                link_names=False,
                unfurl_links=False,
                unfurl_media=False,
                **thread,
            )
        except SlackApiError as error:
            said = error.response
            reason = str(said.get("error") or "no reason given")
            if thread and reason in _THREADLESS:
                return self._bot(alert)
            if said.status_code == 200 and reason not in _TRANSIENT:
                raise Undeliverable(f"Slack refuses the message to {self._channel}: {reason}") from None
            status = 429 if reason in ("ratelimited", "rate_limited") else said.status_code
            self._refused(status, reason, said.headers)
        else:
            ts = answer.get("ts")
            return ts if isinstance(ts, str) else None
        return None

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
    buttons: Buttons | None = None,
    folds: bool = True,
    threads: bool = True,
) -> Slack:
    """A channel that posts to Slack: by an incoming webhook, or by a bot token and a channel.

    slack("https://hooks.slack.com/services/...")
    slack(token="xoxb-...", channel="#costs")

    base_url:  of a Web API other than https://slack.com/api/, for GovSlack or tests
    buttons:   below alerts of budgets; a `SlackActions` endpoint takes what they say
    folds:     many alerts at once are one message
    threads:   with a bot token, the alerts of a budget in one window are one thread

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
        name = f"slack:{sha256(webhook_url.encode()).hexdigest()[:8]}"
        made = Slack(name, url=webhook_url, base_url=base_url, buttons=buttons, folds=folds)
    else:
        if not isinstance(token, str) or not token.startswith("xox") or token.split() != [token]:
            raise ConfigError("Slack token does not begin with xoxb-; copy the Bot User OAuth Token of your Slack app")
        if not isinstance(channel, str) or not channel.strip():
            raise ConfigError(f'Slack channel {channel!r} is missing; name it with the token: channel="#costs"')
        made = Slack(
            f"slack:{channel}", token=token, channel=channel, base_url=base_url, buttons=buttons, folds=folds,
            threads=threads,
        )  # fmt: skip
    if find_spec("slack_sdk") is None:
        raise MissingExtra("slack-sdk", "slack", "slack()")
    return made


def _text(alert: Alert) -> str:
    return clip(escape(alert.text), _MOST_OF_A_TEXT)


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
    if "@" in parts.netloc:
        raise ConfigError(f"{what} at {parts.hostname} has a user in its address, which is not sent; leave it out")
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
