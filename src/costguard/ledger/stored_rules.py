"""Budgets and grants as a store keeps them: with who made each and when, those that were taken back included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.units import Unit, from_rest


@dataclass(frozen=True, slots=True)
class StoredBudget:
    """A budget of the database; times in nanoseconds since 1970.

    identity:   what it counts and for whom, without the limit
    rule:       its text, `str(budget)`
    removed_ns: None as long as it is in force; else removed, or replaced by another of the same identity
    """

    id: int
    identity: str
    rule: str
    author: str
    created_ns: int
    removed_ns: int | None = None
    removed_by: str | None = None

    @property
    def budget(self) -> Budget:
        """Raises ConfigError, naming the row and the way out, for a rule of a newer version."""
        try:
            return Budget.parse(self.rule)
        except ConfigError as error:
            raise ConfigError(
                f"budget {self.id} of the database, by {self.author}: {error}; upgrade costguard, "
                f"or: costguard budgets remove {self.id}"
            ) from error


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant of the database; the fields of `Grant`, in plain values, with what the store knows of it.

    nonce:      given by who makes it: added again, as after a lost connection, it is not added twice
    amount:     integer of `unit`, nano-dollars for "usd"
    removed_ns: None as long as it was not taken back
    """

    id: int
    nonce: str
    account: str
    payer: Mapping[str, str]
    amount: int
    unit: Unit
    at_ns: int
    until_ns: int | None
    author: str
    reason: str
    removed_ns: int | None = None
    removed_by: str | None = None

    @property
    def grant(self) -> Grant:
        """Raises ConfigError, naming the row and the way out, for a grant of a newer version."""
        try:
            return Grant(
                self.account, tuple(self.payer.items()), from_rest(self.amount, self.unit), self.unit, self.at_ns,
                self.until_ns, self.author, self.reason,
            )  # fmt: skip
        except (ConfigError, ValueError, TypeError) as error:
            raise ConfigError(
                f"grant {self.id} of the database, by {self.author}: {error}; upgrade costguard, "
                f"or: costguard grants remove {self.id}"
            ) from error


@dataclass(frozen=True, slots=True)
class Rules:
    """What people have set in the database. `version` grows with every change."""

    version: int
    budgets: tuple[StoredBudget, ...] = ()
    grants: tuple[StoredGrant, ...] = ()


class Rulebook(Protocol):
    """Where rules are kept. Thread-safe; each verb is one transaction, and moves the version if it changes anything."""

    def version(self) -> int: ...

    def rules(self, *, history: bool) -> Rules:
        """In the order in which they were made; with `history` those that were removed, too."""
        ...

    def seen(self, now_ns: int) -> list[Budget]:
        """The rules that balances of running windows carry, wherever they come from; the likeliest first."""
        ...

    def put(self, identity: str, rule: str, author: str, at_ns: int) -> StoredBudget:
        """In place of the one of the same identity, if there is one. The same rule again changes nothing."""
        ...

    def take_out(self, number: int, author: str, at_ns: int) -> bool:
        """False if there is no such budget in force."""
        ...

    def grant(self, nonce: str, grant: Grant) -> StoredGrant:
        """Of the same nonce there is one."""
        ...

    def take_back(self, number: int, author: str, at_ns: int) -> bool:
        """False if there is no such grant in force."""
        ...
