"""A hold as the text that Valkey keeps of it, so that any process can charge it, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from costguard.budgets import Limit
from costguard.call import Call
from costguard.events import Hold
from costguard.ledger.base import Lease
from costguard.ledger.rule import limit_columns, read_limit
from costguard.tags import Tags

MOST = 4096
"""Limits whose text is kept ready; their payers may come from clients, so the store of them has an end."""


class Records:
    """Thread-safe."""

    def __init__(self) -> None:
        self._ready: dict[str, tuple[Limit, str]] = {}

    def write(self, hold: Hold, limits: Iterable[Limit]) -> str:
        call = hold.call
        facts = [
            call.id, call.started_ns, call.provider, call.model, call.operation, call.streamed, dict(call.tags),
            hold.amount, hold.tokens, hold.expires_ns, isinstance(hold, Lease), hold.leases,
        ]  # fmt: skip
        return f"[{','.join([self._limit(limit) for limit in limits])}]\n{_compact(facts)}"

    def write_limits(self, limits: Iterable[Limit]) -> str:
        return f"[{','.join([self._limit(limit) for limit in limits])}]"

    def _limit(self, limit: Limit) -> str:
        ready = self._ready.get(limit.key)
        if ready is not None and ready[0].budget is limit.budget:
            return ready[1]
        text = _compact(limit_columns(limit))
        if len(self._ready) >= MOST:
            self._ready.clear()
        self._ready[limit.key] = (limit, text)
        return text


def keys_of(text: str) -> list[str]:
    """The keys of the balances that a hold is on."""
    found: list[list[Any]] = json.loads(text.partition("\n")[0])
    return [columns[0] for columns in found]


def read_limits(text: str) -> list[Limit]:
    found: list[list[Any]] = json.loads(text.partition("\n")[0])
    return [read_limit(*columns[1:]) for columns in found]


def read_hold(text: str) -> Hold:
    """The hold as it was taken, by another process perhaps."""
    call_id, started, provider, model, operation, streamed, tags, *rest = json.loads(text.partition("\n")[2])
    amount, tokens, expires, leased, leases = rest
    call = Call(provider, model, operation, streamed=streamed, tags=Tags(tags))
    call.id = call_id
    call.started_ns = started
    call.frame = None
    hold = (Lease if leased else Hold)(call, tuple(read_limits(text)), amount, expires, tokens)
    hold.leases = tuple(leases)
    return hold


def unlimited(hold: Hold) -> Hold:
    """The same hold on limits that always have room: it was taken already, elsewhere."""
    limits = []
    for limit in hold.limits:
        without = copy(limit)
        without.most = (1 << 63) - 1
        limits.append(without)
    same = type(hold)(hold.call, tuple(limits), hold.amount, hold.expires_ns, hold.tokens)
    same.leases = hold.leases
    return same


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")] if text else []


def commas(amounts: Sequence[int]) -> str:
    return ",".join(map(str, amounts))


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
