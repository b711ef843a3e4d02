"""Grants: dated top-ups of one payer's limit, with an author and a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from costguard.budgets import Budget, Limit
from costguard.errors import ConfigError
from costguard.tags import Tags
from costguard.units import Unit, at_rest, check_unit, read_amount, show_amount

NEVER = 1 << 63
"""Nanoseconds since 1970 that no clock shows."""

_LATEST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 10**9
"""No calendar of Python's goes on from there."""


@dataclass(frozen=True, slots=True)
class Grant:
    """So much more for one payer of one account, from `at_ns` until `until_ns`.

    account:  `Budget.account`; a `Budget` or its text is taken too. Whom the rules are for makes no difference
    payer:    a value for each tag in the budget's `per`; () or {} for a budget of everyone
    amount:   in `unit`, above zero
    at_ns, until_ns: nanoseconds since 1970. Without an end it holds for the rest of the window it was made in:
              for that day, for the span of a rolling window, for good where the budget is for ever
    author, reason: who gave it, and why

    Raises ConfigError for a payer, an amount or a unit that do not go with the account.
    """

    account: str
    payer: tuple[tuple[str, str], ...]
    amount: Decimal
    unit: Unit = "usd"
    at_ns: int = 0
    until_ns: int | None = None
    author: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        account = _account(self.account)
        _, _, per, _, *unit = json.loads(account)
        check_unit(self.unit)
        counted = unit[0] if unit else "usd"
        if self.unit != counted:
            raise ConfigError(f"a grant in {self.unit} does not go with the account {account}, which is in {counted}")
        given = Tags(self.payer if isinstance(self.payer, Mapping) else dict(self.payer))
        if set(given) != set(per):
            said = ",".join(given) or "nobody"
            raise ConfigError(f"a grant for {said} does not go with an account per {','.join(per) or 'nobody'}")
        amount = read_amount(self.amount, self.unit, what="grant")
        if amount == 0:
            raise ConfigError("a grant of nothing changes nothing; give an amount above zero")
        if self.until_ns is not None and self.until_ns <= self.at_ns:
            raise ConfigError(f"a grant until {self.until_ns} is over when it begins, at {self.at_ns}")
        if self.until_ns is not None and self.until_ns > _LATEST:
            raise ConfigError("a grant ends by 9999-12-31 (UTC); give an earlier end")
        object.__setattr__(self, "account", account)
        object.__setattr__(self, "payer", tuple((name, given.value(name)) for name in per))
        object.__setattr__(self, "amount", amount)

    def __str__(self) -> str:
        who = ",".join(f"{name}={value}" for name, value in self.payer) or "everyone"
        by = f" by {self.author}" if self.author else ""
        return f"{show_amount(self.amount, self.unit)} for {who}{by}" + (f": {self.reason}" if self.reason else "")

    @property
    def most(self) -> int:
        """What it adds to `Limit.most`: an integer of its unit."""
        return at_rest(self.amount, self.unit)

    def in_force(self, limit: Limit) -> tuple[int, int]:
        """From when until when it adds to this limit; nothing if the second is not later than the first."""
        if self.until_ns is not None:
            return self.at_ns, self.until_ns
        span = limit.budget.span
        if span is not None:
            return self.at_ns, self.at_ns + span // timedelta(microseconds=1) * 1000
        if limit.end is None:
            return self.at_ns, NEVER
        return (self.at_ns, limit.end) if limit.start <= self.at_ns else (limit.start, limit.start)


def _account(given: object) -> str:
    if isinstance(given, Budget):
        return given.account
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            window, tz, per, where, *unit = json.loads(given)
        except ValueError:
            raise ConfigError(f"account {given!r} cannot be read; give the budget itself or its text") from None
        budget = Budget("1", window, per=per, where=where, tz=tz, unit=unit[0] if unit else "usd")  # type: ignore[arg-type]
        return budget.account
    return Budget.parse(given).account  # type: ignore[arg-type]  # it refuses what is no text
