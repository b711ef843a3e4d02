"""Whether a request comes from Slack: https://docs.slack.dev/authentication/verifying-requests-from-slack"""

from __future__ import annotations

import hmac
from hashlib import sha256

MOST_SECONDS = 300
"""A request that is older, or that far in the future, is refused: it may have been caught and sent again."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `X-Slack-Signature` has to be."""
    digest = hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, sha256).hexdigest()
    return f"v0={digest}"


def why_not(secret: str, timestamp: str, signed: str, body: bytes, now: float) -> str | None:
    """Why this request is not taken for one of Slack; None if it is one."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return "it has no timestamp"
    if abs(now - int(timestamp)) > MOST_SECONDS:
        return f"its timestamp is {now - int(timestamp):.0f} s off"
    # In bytes: compare_digest takes no text beyond ASCII, which a forger may send.
    if not hmac.compare_digest(signature(secret, timestamp, body).encode(), signed.encode("utf-8", "replace")):
        return "its signature is wrong"
    return None
