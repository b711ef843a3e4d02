"""What a pressed button in Slack does: it is checked, written into the audit trail, done once, and answered."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from costguard.alerts.slack_buttons import OPEN, Press, until
from costguard.alerts.slack_message import escape
from costguard.alerts.slack_signature import why_not
from costguard.alerts.spoken import clip, tame
from costguard.errors import ConfigError, CostGuardError, StoreUnavailable
from costguard.grants import Grant
from costguard.ledger.acts import act
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.mutes import mute_once, new_mute
from costguard.units import show_amount

_log = logging.getLogger("costguard.alerts")

MOST_BYTES = 1_000_000
"""Of a request: Slack sends the message along that the button is in, which is far smaller."""

_TIMEOUT = 10
_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")


@dataclass(frozen=True, slots=True)
class Answer:
    """To Slack: what is said to people goes another way, by the `response_url` of the request."""

    status: int
    body: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    to: Literal["ephemeral", "in_channel"] = "ephemeral"


class Actions:
    """Takes what Slack sends when a button is pressed.

    ledger:          where grants, mutes and the audit trail are; a `Guard` is taken too
    signing_secret:  of the Slack app ("Basic Information"); not its token
    allowed:         ids of the people who may act, such as "U024BE7LH"
    response_hosts:  hosts that answers may go to, beside Slack's own

    Raises ConfigError for a secret or ids that cannot be some.
    """

    def __init__(
        self,
        ledger: Ledger | Any,
        signing_secret: str,
        allowed: Iterable[str],
        *,
        response_hosts: Iterable[str] = (),
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if not isinstance(signing_secret, str) or len(signing_secret.strip()) < 16:
            raise ConfigError("the Slack signing secret is missing or cut short; copy it from the app's basic settings")
        if isinstance(allowed, str):
            raise ConfigError(
                f"allowed is one text, {allowed!r}; give a list of Slack's user ids: allowed=[{allowed!r}]"
            )
        self._allowed = frozenset(allowed)
        for one in self._allowed:
            if not _is_id(one):
                raise ConfigError(f"{one!r} is not a Slack user id, such as U024BE7LH; names can be changed by anyone")
        self._ledger: Ledger = getattr(ledger, "ledger", ledger)
        self._secret = signing_secret.strip()
        self._hosts = frozenset([*_HOSTS, *response_hosts])
        self._now_ns = now_ns

    def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request. `headers` by lower-case names. Never raises; it may wait for the store."""
        signed = headers.get("x-slack-signature", "")
        timestamp = headers.get("x-slack-request-timestamp", "")
        wrong = why_not(self._secret, timestamp, signed, body, self._now_ns() / 1e9)
        if wrong is not None:
            _log.warning("a request to the Slack endpoint is refused: %s", wrong)
            return Answer(401, "not signed by Slack")
        try:
            told = _payload(body)
        except ValueError:
            return Answer(400, "not a payload of Slack")
        if told.get("type") != "block_actions":
            return Answer(200)
        user = told.get("user") or {}
        who = str(user.get("id", ""))
        for action in told.get("actions") or ():
            if str(action.get("action_id", "")).startswith("costguard_") and action["action_id"] != OPEN:
                said = self._act(who, user, action, told, signed)
                self._say(str(told.get("response_url", "")), said)
        return Answer(200)

    def _act(self, who: str, user: Mapping[str, Any], action: Mapping[str, Any], told: Any, signed: str) -> _Said:
        if who not in self._allowed:
            _log.warning("Slack user %s pressed %s and is not allowed to", tame(who)[:40], action["action_id"])
            return _Said("You are not among those who may do this; ask whoever runs costguard to allow your user id.")
        try:
            press = Press.read(str(action.get("value", "")))
            payer = dict(press.whom)
        except ValueError as error:
            _log.warning("a button in Slack cannot be read: %s", error)
            return _Said("This button is of another version of costguard; nothing was done.")
        now = self._now_ns()
        if press.do == "grant" and press.end is not None and now // 10**9 >= press.end:
            return _Said(f"That window ended {until(press.end)}; nothing was granted.")
        author = clip(tame(str(user.get("username") or user.get("name") or who)), 80) + f" (Slack {who})"
        container = told.get("container") or {}
        place = [str(container.get(name) or "") for name in ("channel_id", "message_ts")]
        details = {
            "key": press.key, "budget": press.budget, "payer": payer, "user": who, "channel": place[0],
            "message": place[1],
        }  # fmt: skip
        try:
            if press.do == "grant":
                return self._grant(press, author, details, place, now)
            return self._mute(press, author, details, signed, now)
        except StoreUnavailable as error:
            _log.warning("what %s pressed in Slack is not done: %s", author, error)
            return _Said("The store cannot be reached; nothing is certain to be done. Press again in a moment.")
        except CostGuardError as error:
            _log.warning("what %s pressed in Slack is not done: %s", author, error)
            return _Said(f"Nothing was done: {escape(clip(str(error), 300))}")

    def _grant(self, press: Press, author: str, details: dict[str, Any], place: list[str], now: int) -> _Said:
        subject = press.subject
        shown = show_amount(press.amount, press.unit)
        payer = ",".join(value for _, value in subject.payer) or "everyone"
        reason = f"a button in Slack, below an alert of {press.budget}"
        grant = Grant(subject.account, subject.payer, press.amount, press.unit, now, None, author, reason)
        # Each button acts once, whoever presses it how often: two people on call may be quick at the same time.
        nonce = _nonce("grant", press.write(), *place)
        deed = Deed(nonce, now, author, "grant", reason, {**details, "amount": f"{press.amount:f}", "unit": press.unit})
        before = act(self._ledger, deed, grant)
        if before is not None:
            return _Said(f"{escape(before.author)} has done this already; nothing was added.")
        end = "" if press.end is None else f" until {until(press.end)}"
        who = details["user"]
        return _Said(f"<@{who}> granted {escape(payer)} {shown} more on {escape(press.budget)}{end}.", "in_channel")

    def _mute(self, press: Press, author: str, details: dict[str, Any], signed: str, now: int) -> _Said:
        ends = now + press.seconds * 10**9
        reason = "a button in Slack"
        payer = details["payer"]
        one = new_mute(author, ends, now, budget=press.budget, payer=payer, reason=reason)
        # The same request again has the same signature.
        deed = Deed(_nonce("mute", signed), now, author, "mute", reason, details)
        if mute_once(self._ledger, one, deed) is None:
            return _Said("This was done already.")
        whom = ",".join(payer.values()) or "everyone"
        text = f"<@{details['user']}> muted {escape(press.budget)} of {escape(whom)} until {until(ends // 10**9)}."
        return _Said(text, "in_channel")

    def _say(self, url: str, said: _Said) -> None:
        """In a thread: Slack wants its answer within three seconds."""
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        # Signed by Slack; all the same nobody can be made to send requests elsewhere.
        if parts.hostname not in self._hosts or not (parts.scheme == "https" or parts.hostname not in _HOSTS):
            _log.warning("Slack's response_url is at %r and gets no answer", str(parts.hostname)[:100])
            return
        threading.Thread(target=_send, args=(url, said), name="costguard-slack-answer", daemon=True).start()


def _send(url: str, said: _Said) -> None:
    from slack_sdk.webhook import WebhookClient

    silent = logging.Logger("costguard.alerts.slack_sdk", logging.CRITICAL + 1)
    try:
        client = WebhookClient(url, timeout=_TIMEOUT, logger=silent, retry_handlers=[])
        client.send(text=said.text, response_type=said.to, replace_original=False, unfurl_links=False)
    except Exception as error:  # noqa: BLE001  # it is done, only the word of it is missing
        _log.warning("the answer to a button in Slack is not told: %s", type(error).__name__)


def _payload(body: bytes) -> dict[str, Any]:
    """https://docs.slack.dev/interactivity/handling-user-interaction#payloads"""
    form = parse_qs(body.decode("utf-8"), max_num_fields=10)
    told = json.loads((form.get("payload") or ["{}"])[0])
    if not isinstance(told, dict):
        raise ValueError("not an object")
    for name, kind in (("user", dict), ("container", dict), ("actions", list)):
        if not isinstance(told.get(name) or kind(), kind):
            raise ValueError(name)
    if not all(isinstance(one, dict) for one in told.get("actions") or ()):
        raise ValueError("actions")
    return told


def _is_id(text: object) -> bool:
    return isinstance(text, str) and text[:1] in ("U", "W") and text.isascii() and text.isalnum() and text.isupper()


def _nonce(what: str, *parts: str) -> str:
    return f"slack {what} {sha256(json.dumps(parts).encode()).hexdigest()[:40]}"
