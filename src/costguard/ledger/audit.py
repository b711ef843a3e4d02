"""Are the books exact? What balances say, against the entries and the holds that they are made of."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from costguard.budgets import Budget, Limit
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.tags import Tags


@dataclass(frozen=True, slots=True)
class Difference:
    """A balance that is not what its rows add up to; amounts in `unit` (nano-dollars for "usd").

    budget, payer: as text; the budget as it was last seen
    spent_entries: what the entries add up to: at least, for a window of which entries were forgotten
    """

    key: str
    payer: str
    budget: str
    unit: str
    spent_recorded: int
    spent_entries: int
    held_recorded: int
    held_rows: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A hold past its expiry: whoever looks next charges it. The owner of a lease that ran on would have extended it.

    amount: nano-dollars; of a lease in the unit of its limit
    """

    call_id: str
    tags: Mapping[str, str]
    keys: tuple[str, ...]
    amount: int
    expires_ns: int
    lease: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found. The balances were corrected if `repaired`.

    balances, holds: how many were looked at
    kept_from_ns:    entries made before this time are forgotten in part or all (see `Ledger.retain`); None: none is.
                     A window that began before it is not told to have spent too much, only too little
    """

    balances: int
    holds: int
    differences: list[Difference]
    expired: list[Expired]
    kept_from_ns: int | None = None
    repaired: bool = False

    @property
    def ok(self) -> bool:
        """The books are exact: now, if they were repaired. A hold past its expiry is no error in them."""
        return self.repaired or not self.differences


@runtime_checkable
class Auditable(Protocol):
    """A store that can look at its own rows."""

    def audit(self, now_ns: int, *, repair: bool) -> Audit: ...


def audit(ledger: Ledger, *, repair: bool = False, now_ns: int | None = None) -> Audit:
    """Compare all balances with the rows, as they are at one moment; with `repair` make them what the rows say.

    What an entry counts on a balance follows from its tags, its time and its status. So a budget that was made in the
    middle of its window, or a call that was let through while the store was away, shows as a difference: the rows
    know of more than the balance, and are right. Calls may go on meanwhile: corrections are added to what they spend.

    Raises ConfigError for a kind of store that has no rows to compare with, StoreUnavailable.
    """
    at = ledger
    while not isinstance(at, Auditable):
        before_reading, inner = getattr(at, "before_reading", None), getattr(at, "inner", None)
        if inner is None:
            raise ConfigError(
                f"the store {ledger.url} cannot be checked: a {type(at).__name__} has no rows to compare with; "
                f"check a SQL store"
            )
        if callable(before_reading):
            before_reading()
        at = inner
    return at.audit(time.time_ns() if now_ns is None else now_ns, repair=repair)


@dataclass(slots=True)
class Books:
    """Rows as an audit adds them up.

    balances:  limit, spent and held by key
    counted:   (money, tokens, calls) of final entries, by window (start, until) and tags; microseconds since 1970
    charged:   what open ends were charged with, by key
    held:      what the holds hold, by key
    kept_from: microseconds; entries before it may be forgotten
    """

    balances: dict[str, tuple[Limit, int, int]] = field(default_factory=dict)
    counted: dict[tuple[int, int | None], list[tuple[Tags, tuple[int, int, int]]]] = field(default_factory=dict)
    charged: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    expired: list[Expired] = field(default_factory=list)
    holds: int = 0
    kept_from: int | None = None

    def charge(self, amounts: Mapping[str, int]) -> None:
        _add(self.charged, amounts)

    def hold(self, amounts: Mapping[str, int]) -> None:
        self.holds += 1
        _add(self.held, amounts)

    def close(self, *, repaired: bool = False) -> Audit:
        kept_from = self.kept_from
        return Audit(
            len(self.balances), self.holds, list(self._differences()), self.expired,
            None if kept_from is None else kept_from * 1000, repaired,
        )  # fmt: skip

    def _differences(self) -> Iterable[Difference]:
        known: dict[tuple[Any, ...], dict[tuple[str, ...], int]] = {}
        for key, (limit, spent, held) in sorted(self.balances.items()):
            window = (limit.start // 1000, None if limit.end is None else limit.end // 1000)
            budget = limit.budget
            account = (window, budget.per, budget.where, limit.unit)
            if account not in known:
                known[account] = _by_payer(budget, self.counted.get(window, ()))
            entries = known[account].get(tuple([value for _, value in limit.payer]), 0) + self.charged.get(key, 0)
            if self.kept_from is not None and window[0] < self.kept_from:
                entries = max(entries, spent)
            rows = self.held.get(key, 0)
            if (spent, held) != (entries, rows):
                payer = ",".join(f"{name}={value}" for name, value in limit.payer) or "everyone"
                yield Difference(key, payer, str(budget), limit.unit, spent, entries, held, rows)


def _by_payer(budget: Budget, counted: Iterable[tuple[Tags, tuple[int, int, int]]]) -> dict[tuple[str, ...], int]:
    place = ("usd", "tokens", "calls").index(budget.unit)
    found: dict[tuple[str, ...], int] = {}
    for tags, counts in counted:
        if budget.counts(tags):
            payer = tuple([tags.value(name) for name in budget.per])
            found[payer] = found.get(payer, 0) + counts[place]
    return found


def _add(sums: dict[str, int], amounts: Mapping[str, int]) -> None:
    for key, amount in amounts.items():
        sums[key] = sums.get(key, 0) + amount
