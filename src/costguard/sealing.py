"""Tags in the message of a job queue: one signed string."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

from costguard.errors import ConfigError
from costguard.tags import NO_TAGS, Tags, current_tags, tagged

_VERSION = "cg1"
"""Also the name of the algorithm: HMAC-SHA256 over version and payload."""


def seal_tags(secret: str | bytes, tags: Tags | None = None) -> str:
    """The current tags (or those given) as one signed, url-safe string, to send along in a job's message.

    Signed, so that whoever can write to the queue cannot choose who pays; not encrypted, so the tags
    can be read. Raises ConfigError for an empty secret.
    """
    payload = json.dumps(
        {"tags": dict(current_tags() if tags is None else tags), "at": int(time.time())},
        separators=(",", ":"),
        ensure_ascii=False,
    )
    signed = f"{_VERSION}.{_encode(payload.encode())}"
    return f"{signed}.{_encode(_sign(signed, secret))}"


def open_sealed(text: str, secret: str | bytes, *, max_age: float | None = None) -> tagged:
    """The sealed tags as a context: ``with open_sealed(message["tags"], SECRET): work()``.

    max_age: seconds after which a sealed string is no longer taken; None takes it for ever.
    Raises ConfigError for anything that `seal_tags` did not make with this secret, and for one too old.
    """
    parts = text.split(".") if isinstance(text, str) else []
    if len(parts) != 3:
        raise ConfigError(f"sealed tags {_shown(text)} are not whole; pass the string of seal_tags() on unchanged")
    version, payload, signature = parts
    if version != _VERSION:
        raise ConfigError(
            f"sealed tags are of version {version[:8]!r}, and this costguard reads {_VERSION!r}; "
            f"use one version on both sides of the queue"
        )
    if not hmac.compare_digest(
        _encode(_sign(f"{version}.{payload}", secret)).encode(), signature.encode("utf-8", "surrogatepass")
    ):
        raise ConfigError(
            f"the signature of the sealed tags {_shown(text)} is wrong; "
            f"seal and open with the same secret, and pass the string on unchanged"
        )
    content = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    age = time.time() - content["at"]
    if max_age is not None and age > max_age:
        raise ConfigError(f"the sealed tags are {age:.0f} s old, and max_age is {max_age:g} s; seal them again")
    return tagged(content["tags"] or NO_TAGS)


def _sign(signed: str, secret: str | bytes) -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    if not isinstance(key, bytes) or not key:
        raise ConfigError("the secret for sealed tags is empty; give the same non-empty str or bytes on both sides")
    return hmac.digest(key, signed.encode("utf-8", "surrogatepass"), "sha256")


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
