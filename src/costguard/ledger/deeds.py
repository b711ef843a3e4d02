"""What people have done to a ledger's past: who, when, what and why, kept in the transaction that did it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from costguard.errors import ConfigError
from costguard.events import Crossing
from costguard.ledger.driver import Driver, Execute


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of the table `costguard_audit`.

    nonce:   given by who does it: what is done in several transactions, or tried again, is one deed
    action:  what was done, such as "reprice"
    details: plain JSON values; `Ledger.adjust` adds how many entries it recorded ("adjusted"), and what they add up
             to ("nanos")

    Raises ConfigError without an author.
    """

    nonce: str
    at_ns: int
    author: str
    action: str
    reason: str = ""
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.author.strip():
            raise ConfigError(f"a {self.action} has an author; give a name")


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What `Ledger.adjust` has done: the ids that were new, and the marks that the spending passed by it."""

    new: frozenset[str]
    crossings: tuple[Crossing, ...] = ()


NOTHING = Adjusted(frozenset())


def added(details: Mapping[str, object], count: int, nanos: int) -> dict[str, object]:
    """The details of a deed with so many more entries in it."""
    so_far = [details.get(name, 0) for name in ("adjusted", "nanos")]
    known = [one if isinstance(one, int) else 0 for one in so_far]
    return {**details, "adjusted": known[0] + count, "nanos": known[1] + nanos}


class Deeds:
    """The statements of `costguard_audit`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        text = driver.text
        self._add = text(
            "INSERT INTO costguard_audit (nonce, at, author, action, reason, details) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (nonce) DO NOTHING"
        )
        self._look = text(f"SELECT details FROM costguard_audit WHERE nonce = ?{driver.for_update}")
        self._change = text("UPDATE costguard_audit SET details = ? WHERE nonce = ?")
        self._latest = text(
            "SELECT nonce, at, author, action, reason, details FROM costguard_audit ORDER BY id DESC LIMIT ?"
        )

    def add(self, execute: Execute, deed: Deed, count: int, nanos: int) -> None:
        """In the running transaction: the deed, with so many more entries in it."""
        execute(
            self._add,
            (deed.nonce, deed.at_ns // 1000, deed.author, deed.action, deed.reason, _json(deed.details)),
        )
        (text,) = execute(self._look, (deed.nonce,)).fetchone()
        execute(self._change, (_json(added(json.loads(text), count, nanos)), deed.nonce))

    def latest(self, most: int) -> list[Deed]:
        rows = self._driver.read(lambda execute: execute(self._latest, (most,)).fetchall())
        return [
            Deed(nonce, at * 1000, author, action, reason, json.loads(details))
            for nonce, at, author, action, reason, details in rows
        ]


def _json(details: Mapping[str, object]) -> str:
    return json.dumps(dict(details), separators=(",", ":"), ensure_ascii=False)
