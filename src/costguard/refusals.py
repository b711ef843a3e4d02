"""A refusal in words: the error that a caller gets, and the one message that people get about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from math import ceil

from costguard.budgets import Limit
from costguard.errors import BudgetExceeded, StoreUnavailable
from costguard.events import Crossing
from costguard.ledger.base import Ledger, Refusal
from costguard.money import from_nanos, show_usd

log = logging.getLogger("costguard")

BUSY_RETRY_AFTER = 2
"""Seconds a client is asked to wait when running calls hold the money that is left."""

_MOST_TOLD = 4096


class Refusals:
    """Thread-safe.

    told: called when there is a new message for people
    """

    def __init__(self, ledger: Ledger, told: Callable[[], None]) -> None:
        self._ledger = ledger
        self._told = told
        self._already_told: set[str] = set()

    def exceeded(self, refusal: Refusal, needed: int, now: int, *, busy: bool = False) -> BudgetExceeded:
        """The error for a refusal.

        needed: what the call wanted to hold, in the limit's unit; 0 when only the door was checked
        """
        limit, spent = refusal.limit, refusal.spent
        standing = limit.standing(spent, refusal.held)
        if limit.budget.window == "call":
            # Asking again for the same does not help, ever.
            retry_after = 0
            message = (
                f"{limit.budget.title}: this call may {_verb(limit)} up to {shown(limit, needed)}, and that is more "
                f"than a single call may; a lower max_tokens lowers that"
            )
        else:
            message = str(standing)
            if busy:
                retry_after = BUSY_RETRY_AFTER
            else:
                retry_after = 0 if limit.end is None else max(1, ceil((limit.end - now) / 10**9))
                self._tell(limit, spent, now)
            if needed and spent < limit.most and limit.unit != "calls":
                message += f"; this call may {_verb(limit)} up to {shown(limit, needed)}"
                message += ", try again when running calls have ended" if busy else ", a lower max_tokens lowers that"
        return BudgetExceeded(
            message,
            standing=standing,
            retry_after=retry_after,
            busy=busy,
            needed=amount_of(limit, needed) if needed else None,
        )

    def _tell(self, limit: Limit, spent: int, now: int) -> None:
        """People hear of the first refusal in a window, unless the spending itself reached the limit:
        then they have heard of that."""
        crossing = Crossing(limit, Decimal(1), spent, now, refused=True)
        if not limit.marks or limit.budget.is_local or spent >= limit.most or crossing.key in self._already_told:
            return
        try:
            if self._ledger.tell(crossing):
                self._told()
        except StoreUnavailable as error:
            log.warning("the alert of a refusal could not be stored: %s", error)
            return
        if len(self._already_told) >= _MOST_TOLD:
            self._already_told.clear()
        self._already_told.add(crossing.key)


def _verb(limit: Limit) -> str:
    return "cost" if limit.unit == "usd" else "take"


def amount_of(limit: Limit, units: int) -> Decimal:
    """An integer of a limit's unit as people count it: USD, tokens, calls."""
    return from_nanos(units) if limit.unit == "usd" else Decimal(units)


def shown(limit: Limit, units: int) -> str:
    return show_usd(from_nanos(units)) if limit.unit == "usd" else f"{units:,} {limit.unit}"
