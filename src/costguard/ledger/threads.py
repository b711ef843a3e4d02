"""Which alerts belong together, and below which message of a channel they are told.

A channel's word for its first message of a thread (Slack's `ts`) is kept among the names in `outbox.delivered`, as
"@name word": so every worker finds it, and it goes where the row goes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from costguard.ledger.base import Ledger
from costguard.ledger.driver import Execute
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.sql import SqlLedger

NOTE = "@"
"""Before the name of a channel, in `Parcel.delivered`: what it has said of the message."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose limit a crossing is of, read from its key.

    account: `Budget.account`
    payer:   tag and value, in the order of the budget's `per`
    window:  when it began, or which one it is; the same for all payers
    """

    account: str
    payer: tuple[tuple[str, str], ...]
    window: str

    @classmethod
    def of(cls, key: str) -> Subject | None:
        """None where the key is that of something else than a crossing."""
        if not key.startswith("["):
            return None
        try:
            before, window = key[: key.rindex("@")].removesuffix("]").rsplit(",", 1)
            *account, values = json.loads(before + "]")
            payer = tuple(zip(account[2], values, strict=True))
        except (ValueError, IndexError, TypeError):
            return None
        return cls(json.dumps(account, separators=(",", ":"), ensure_ascii=False), payer, window)

    @property
    def period(self) -> str:
        """The window of the budget: "day", "24h"."""
        return str(json.loads(self.account)[0])

    def shares_thread(self, other: Subject | None) -> bool:
        """A thread is of one budget in one window, for all its payers."""
        return other is not None and (other.account, other.window) == (self.account, self.window)


def first_told(ledger: Ledger, key: str, channel: str) -> str | None:
    """What the channel said of the first message of the thread that this crossing belongs to."""
    subject = Subject.of(key)
    if subject is None:
        return None
    beginning = subject.account[:-1] + ","
    store: Any = ledger
    while (inner := getattr(store, "inner", None)) is not None:
        store = inner
    if isinstance(store, SqlLedger):
        driver = store._driver
        query = driver.text(
            "SELECT key, delivered FROM costguard_outbox WHERE substr(key, 1, CAST(? AS INTEGER)) = ? "
            "AND delivered LIKE ? ORDER BY id"
        )
        rows = driver.read(partial(_rows, query, (len(beginning), beginning, f'%"{NOTE}%')))
    elif isinstance(store, MemoryLedger):
        with store._lock:
            rows = [(kept.key, json.dumps(kept.delivered)) for kept in store._outbox._parcels.values()]
    else:
        return None
    mark = f"{NOTE}{channel} "
    for other, delivered in rows:
        if subject.shares_thread(Subject.of(other)):
            for told in json.loads(delivered):
                if told.startswith(mark):
                    return str(told.removeprefix(mark))
    return None


def _rows(query: str, values: tuple[Any, ...], execute: Execute) -> list[Any]:
    return execute(query, values).fetchall()
