"""What a balance is stored under: the account, the payer's values and the window, as one text."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from json import dumps

_LONGEST = 1500
"""Bytes of a payer in a key: an index of PostgreSQL takes 2,704 in all, and tags come from users."""


def balance_key(account: str, values: Iterable[str], start_ns: int) -> str:
    """JSON: what `Budget.account` has, then the values of the payer's tags (of very long ones only their digest, a
    text instead of a list), then when the window began, in seconds since 1970."""
    payer = compact(list(values))
    if len(payer) * 4 > _LONGEST and len(payer.encode()) > _LONGEST:
        payer = f'"{sha256(payer.encode()).hexdigest()}"'
    return f"{account[:-1]},{payer},{start_ns // 10**9}]"


def compact(value: object) -> str:
    return dumps(value, separators=(",", ":"), ensure_ascii=False)
