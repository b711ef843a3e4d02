"""Providers' ids of responses in fewer bytes: what is known by its prefix and length is kept as the number it is.

SQLite takes bytes in a column of text. They are about a fifth of a row otherwise. Ids that look like none of these
stay text, so that each comes back as it was.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import a2b_base64
from re import compile as pattern

_HEX = pattern("[0-9a-f]*")
_UUID = pattern("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# By the length of the whole: prefix, and what follows it. Six bits a digit: 29 of base 62 take 22 bytes either way.
_OF_SIX_BITS = {38: "chatcmpl-", 28: "msg_01", 23: ""}
_OF_FOUR_BITS = {53: "resp_", 55: "resp_"}

# And back by the length of the bytes, which is another one for each: prefix, and digits after it.
_SIX = {22: ("chatcmpl-", 29), 17: ("msg_01", 22), 18: ("", 23)}
_FOUR = {24: "resp_", 25: "resp_"}


def pack(text: str | None) -> bytes | str | None:
    """OpenAI's `chatcmpl-` and `resp_`, Anthropic's `msg_01`, Google's 23 digits and UUIDs as bytes."""
    if text is None:
        return None
    length = len(text)
    prefix = _OF_SIX_BITS.get(length)
    if prefix is not None and text.startswith(prefix):
        digits = text[len(prefix) :]
        if text.isascii() and digits.replace("-", "").replace("_", "").isalnum():
            count = len(digits)
            plain = digits.replace("-", "+").replace("_", "/")
            return a2b_base64(plain + "A" * (-count % 4))[: (count * 6 + 7) // 8]
    prefix = _OF_FOUR_BITS.get(length)
    if prefix is not None and text.startswith(prefix) and _HEX.fullmatch(text, len(prefix)):
        return bytes.fromhex(text[len(prefix) :])
    if length == 36 and _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    return text


def unpack(kept: bytes | str | None) -> str | None:
    """The id again."""
    if not isinstance(kept, bytes):
        return kept
    size = len(kept)
    if size in _SIX:
        prefix, count = _SIX[size]
        return prefix + urlsafe_b64encode(kept + bytes(-size % 3)).decode()[:count]
    if size in _FOUR:
        return _FOUR[size] + kept.hex()
    text = kept.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
