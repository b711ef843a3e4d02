"""Alerts as signed JSON to an address of your own, as https://www.standardwebhooks.com says.

Headers `webhook-id` (the same for every try of one alert), `webhook-timestamp` and `webhook-signature`: the HMAC-SHA256
of "id.timestamp.body". Libraries of that standard verify it, in most languages; docs/channels.md has ten lines that do.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from costguard.alerts.alert import Alert, RetryLater, Undeliverable
from costguard.errors import ConfigError
from costguard.version import __version__

TIMEOUT = 10
"""Seconds for one request."""

_PREFIX = "whsec_"


class Webhook:
    """A channel: one POST for each alert. Made by `webhook`."""

    def __init__(self, url: str, keys: Sequence[bytes], headers: Mapping[str, str], now_ns: Callable[[], int]) -> None:
        self.name = f"webhook:{sha256(url.encode()).hexdigest()[:8]}"
        self._url = url
        self._keys = tuple(keys)
        self._headers = dict(headers)
        self._now_ns = now_ns
        self._open = build_opener(_NoRedirect).open

    def __repr__(self) -> str:
        return f"webhook({self.name!r})"

    def __call__(self, alert: Alert) -> None:
        """Send it. Raises RetryLater where the receiver says how long, Undeliverable on HTTP 410, else what failed."""
        body = json.dumps(payload(alert), separators=(",", ":"), ensure_ascii=False).encode()
        number = f"msg_{sha256(alert.key.encode()).hexdigest()[:32]}"
        timestamp = str(self._now_ns() // 10**9)
        signatures = " ".join(sign(key, number, timestamp, body) for key in self._keys)
        request = Request(  # noqa: S310  # the address was checked to be one of http
            self._url,
            data=body,
            headers={
                **self._headers,
                "Content-Type": "application/json",
                "User-Agent": f"costguard/{__version__}",
                "Webhook-Id": number,
                "Webhook-Timestamp": timestamp,
                "Webhook-Signature": signatures,
            },
            method="POST",
        )
        try:
            with self._open(request, timeout=TIMEOUT) as answer:
                answer.read(1)
        except HTTPError as error:
            status, after = error.code, error.headers.get("Retry-After", "")
            error.close()
            if status == 410:
                raise Undeliverable("HTTP 410: the webhook is gone") from None
            if after.strip().isdigit():
                seconds = float(min(3600, max(1, int(after))))
                raise RetryLater(seconds, f"HTTP {status}, to be tried again in {seconds:g} s") from None
            if status == 429:
                raise RetryLater(60.0, "HTTP 429") from None
            raise ConnectionError(f"HTTP {status} from the webhook") from None
        except URLError as error:
            # Without the address, whose path may be a secret.
            raise ConnectionError(f"the webhook cannot be reached: {error.reason}") from None


def webhook(
    url: str,
    secret: str | bytes | Sequence[str | bytes],
    *,
    headers: Mapping[str, str] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Webhook:
    """A channel that posts each alert as JSON, signed.

    webhook("https://ops.example.com/costs", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    secret:   "whsec_" and 24 to 64 bytes in base64, or these bytes; several while one is replaced by another: the
              message then has a signature of each
    headers:  more of them, such as {"Authorization": "Bearer ..."}

    Raises ConfigError for an address or a secret that cannot be one.
    """
    _check(url)
    for name, value in (headers or {}).items():
        text = str(value)
        # Whoever sends it would refuse it with its value in the message, which logs and the outbox keep.
        if not text.isprintable() or any(ord(letter) > 255 for letter in text):
            raise ConfigError(f"header {name!r} of a webhook is not one line of text; is a line break at its end?")
    given = [secret] if isinstance(secret, (str, bytes)) else list(secret)
    if not given:
        raise ConfigError("a webhook without a secret cannot be told from a forged one; give secret='whsec_...'")
    return Webhook(url, [read_secret(one) for one in given], headers or {}, now_ns)


def read_secret(secret: str | bytes) -> bytes:
    """The key of a secret as it is written down. Raises ConfigError, which does not show it."""
    key = secret
    if isinstance(key, str):
        try:
            key = base64.b64decode(key.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if not isinstance(key, bytes) or not 24 <= len(key) <= 64:
        raise ConfigError(
            "the secret of a webhook is not 24 to 64 bytes in base64; make one with: "
            "python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""
        )
    return key


def sign(key: bytes, number: str, timestamp: str, body: bytes) -> str:
    """One signature of `webhook-signature`."""
    digest = hmac.new(key, f"{number}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def payload(alert: Alert) -> dict[str, Any]:
    """What is sent: the fields of the alert, amounts as strings, times in ISO 8601 (UTC), with `title` and `text`."""
    data = {each.name: _plain(getattr(alert, each.name)) for each in fields(alert)}
    return {
        "type": f"costguard.alert.{alert.kind.replace(' ', '_')}",
        "timestamp": _plain(alert.at),
        "data": {**data, "title": alert.title, "text": alert.text},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def _check(url: object) -> None:
    text = str(url)
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(letter.isspace() or not letter.isprintable() for letter in text):
        raise ConfigError(f"webhook {text[:24]!r} is not an http or https address; give the whole https://...")
    if "@" in parts.netloc:
        raise ConfigError(
            f"the webhook at {parts.hostname} has a user in its address, which is not sent that way; "
            'give headers={"Authorization": "Basic ..."}'
        )


class _NoRedirect(HTTPRedirectHandler):
    """A redirected POST would become a GET without its body, and be taken for told."""

    def redirect_request(self, *_: Any) -> None:
        return None
