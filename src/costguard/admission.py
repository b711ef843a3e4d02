"""Whether a call may be made: its limits, its hold, one atomic reserve, and what to do when it does not fit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from random import uniform
from typing import Literal

from costguard.budget_set import BudgetSet
from costguard.budgets import Limit
from costguard.call import Call
from costguard.errors import BudgetExceeded, CostGuardError, StoreUnavailable, UnpricedModel
from costguard.events import Crossing, Hold, Refused
from costguard.holds import WINDOW, HoldSizer, kind_of
from costguard.ledger.base import Ledger, Refusal
from costguard.money import from_nanos, show_usd
from costguard.pricing.book import PriceBook, Rates
from costguard.tags import Tags
from costguard.waiting import Waiting

log = logging.getLogger("costguard")

OnUnpriced = Literal["allow", "assume", "refuse"]
OnStoreFailure = Literal["allow", "refuse"]

BUSY_RETRY_AFTER = 2
"""Seconds a client is asked to wait when running calls hold the money that is left."""

_FIRST_DELAY, _LONGEST_DELAY = 0.002, 0.1
_MOST_TOLD = 4096
_ASK_AGAIN = 0.2


class Admission:
    """Admits calls or refuses them. Thread-safe.

    wait:  seconds that a call waits for running calls to settle, when money is left but held
    """

    def __init__(
        self,
        ledger: Ledger,
        book: PriceBook,
        budgets: BudgetSet,
        sizer: HoldSizer,
        *,
        wait: float,
        on_unpriced: OnUnpriced,
        on_store_failure: OnStoreFailure,
        hold_lifetime_ns: int,
        emit: Callable[[Refused], None],
        told: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._budgets = budgets
        self._sizer = sizer
        self._wait = wait
        self._on_unpriced = on_unpriced
        self._on_store_failure = on_store_failure
        self._hold_lifetime_ns = hold_lifetime_ns
        self._emit = emit
        self._told = told
        self._already_told: set[str] = set()
        self._asked: dict[tuple[str, str, str], float] = {}
        self._store_failed = False
        self._waiting = Waiting()

    def begin(self, call: Call, blocking: bool) -> Iterator[float] | None:
        """Take the call's hold. None: it may be made. Otherwise step through the iterator, waiting the
        seconds it yields: it ends when the hold was taken and raises `BudgetExceeded` when it cannot be.

        blocking: to wait holds up the thread
        """
        try:
            limits = self._budgets.limits(call.tags, call.started_ns)
            if not limits:
                return None
            hold = call.hold = Hold(call, limits, 0, call.started_ns + self._hold_lifetime_ns)
            rates = self._book.rates(call.provider, call.model, call.started_ns)
            if rates is None:
                rates = self._without_price(call, limits)
                if rates is None:
                    return None
            sizing = self._sizer.size(call, rates, limits)
            if sizing.cold and self._seed(call, rates):
                sizing = self._sizer.size(call, rates, limits)
            call.sizing = sizing
            if not sizing.bound:
                return None
            hold.amount = sizing.amount
            try:
                refusal = self._ledger.reserve(hold, call.started_ns)
            except StoreUnavailable as error:
                self._store_down(call, error)
                return None
            self._store_failed = False
            return None if refusal is None else self._insist(call, rates, hold, refusal, blocking=blocking)
        except CostGuardError:
            raise
        except Exception:
            # A fault of ours must not cost the app its answer; the cost is recorded all the same.
            log.exception("costguard could not reserve for %s; the call is made without a hold", call.model)
            return None

    def check(self, tags: Tags) -> None:
        """Raise `BudgetExceeded` if a budget of these tags is spent: the check at the door, before any call."""
        now = time.time_ns()
        limits = self._budgets.limits(tags, now)
        if not limits:
            return
        try:
            balances = self._ledger.balances(limits)
        except StoreUnavailable as error:
            if self._on_store_failure == "refuse":
                raise
            log.warning("the budgets could not be checked at the door, the request goes on: %s", error)
            return
        for limit, (spent, held) in zip(limits, balances, strict=True):
            if spent >= limit.most:
                raise self._exceeded(Refusal(limit, spent, held), 0, now)

    def _without_price(self, call: Call, limits: tuple[Limit, ...]) -> Rates | None:
        if self._on_unpriced == "assume":
            dearest = self._book.dearest(call.provider, call.started_ns)
            if dearest is not None:
                return dearest
        elif self._on_unpriced == "allow" and not self._sizer.is_strict(limits):
            return None
        near = self._book.near(call.provider, call.model)
        raise UnpricedModel(
            f"no price is known for {call.provider} model {call.model!r}, and a budget counts this call; "
            f'give one with prices={{"{call.provider}/{call.model}": {{"input": "...", "output": "..."}}}} '
            f"(USD per million tokens)" + (f"; near names: {', '.join(near)}" if near else ""),
            provider=call.provider,
            model=call.model,
        )

    def _seed(self, call: Call, rates: Rates) -> bool:
        """Learn from the ledger what other workers, or this one before a restart, have paid."""
        # Not at every call of a kind that never succeeds, nor at every look of many that wait.
        kind, now = kind_of(call), time.monotonic()
        if self._asked.get(kind, 0.0) > now - _ASK_AGAIN:
            return False
        if len(self._asked) >= _MOST_TOLD:
            self._asked.clear()
        self._asked[kind] = now
        try:
            entries = self._ledger.entries(
                {"feature": call.tags.value("feature")}, provider=call.provider, limit=4 * WINDOW
            )
        except StoreUnavailable as error:
            log.warning("holds could not be learned from the ledger: %s", error)
            return False
        dated = f"{call.model}-"
        extras = [
            entry.nanos - rates.bound(entry.usage.input_tokens, 0)
            for entry in reversed(entries)
            if entry.nanos is not None
            and entry.status == "ok"
            and not entry.estimated
            and (entry.model == call.model or entry.model.startswith(dated))
        ]
        self._sizer.seed(call, extras[-WINDOW:])
        return bool(extras)

    def _insist(
        self, call: Call, rates: Rates, hold: Hold, refusal: Refusal | None, *, blocking: bool
    ) -> Iterator[float]:
        with self._waiting.enter(blocking=blocking) as may_wait:
            try:
                yield from self._try_again(call, rates, hold, refusal, self._wait if may_wait else 0.0)
            except StoreUnavailable as error:
                self._store_down(call, error)

    def _try_again(self, call: Call, rates: Rates, hold: Hold, refusal: Refusal | None, wait: float) -> Iterator[float]:
        deadline = time.monotonic() + wait
        delay = _FIRST_DELAY
        while refusal is not None:
            sizing = call.sizing
            left = refusal.limit.most - refusal.spent
            unbounded = sizing.cold and call.produces_output and call.max_output_tokens is None
            needed = max(1, sizing.input) if unbounded else sizing.floor
            if left < needed:
                raise self._exceeded(refusal, sizing.amount, time.time_ns())
            late = time.monotonic() >= deadline
            # Nothing is known of this kind of call. The first one has the limit to itself if its bound
            # would never fit, and need not leave room for a prior once it has waited or is by itself.
            # The same for the room that a small sample leaves for what was not seen yet.
            if (sizing.cold or sizing.floor < sizing.amount) and (late or not refusal.held):
                hold.amount = sizing.floor
                refusal = self._ledger.reserve(hold, time.time_ns(), alone=unbounded)
                if refusal is None:
                    return
            if late:
                raise self._exceeded(refusal, hold.amount, time.time_ns(), busy=True)
            yield uniform(delay / 2, delay) * self._waiting.share
            delay = min(delay * 2, _LONGEST_DELAY)
            if sizing.cold and (self._sizer.knows(call) or self._seed(call, rates)):
                sizing = call.sizing = self._sizer.size(call, rates, hold.limits)
            hold.amount = sizing.amount
            refusal = self._ledger.reserve(hold, time.time_ns())

    def _exceeded(self, refusal: Refusal, needed: int, now: int, *, busy: bool = False) -> BudgetExceeded:
        limit = refusal.limit
        standing = limit.standing(refusal.spent, refusal.held)
        if busy:
            retry_after = BUSY_RETRY_AFTER
        else:
            retry_after = 0 if limit.end is None else max(1, ceil((limit.end - now) / 10**9))
            self._tell(limit, refusal.spent, now)
        message = str(standing)
        if needed and refusal.spent < limit.most:
            message += f"; this call may cost up to {show_usd(from_nanos(needed))}"
            message += ", try again when running calls have ended" if busy else ", a lower max_tokens lowers that"
        return BudgetExceeded(
            message,
            standing=standing,
            retry_after=retry_after,
            busy=busy,
            needed=from_nanos(needed) if needed else None,
        )

    def not_made(self, call: Call, error: BaseException) -> None:
        """A call is not made, because of this. Hooks hear of a refusal; an interrupted call gives its hold back."""
        if isinstance(error, BudgetExceeded):
            self._emit(Refused(call, error.standing, error.busy, error.needed or Decimal(0)))  # type: ignore[arg-type]
        elif call.hold is not None and not isinstance(error, CostGuardError):
            try:
                self._ledger.release(call.hold)
            except StoreUnavailable as fault:
                log.warning("the hold of a call that was not made stays until it expires: %s", fault)

    def _tell(self, limit: Limit, spent: int, now: int) -> None:
        """People hear of the first refusal in a window, unless the spending itself reached the limit:
        then they have heard of that."""
        crossing = Crossing(limit, Decimal(1), spent, now, refused=True)
        if not limit.marks or spent >= limit.most or crossing.key in self._already_told:
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

    def _store_down(self, call: Call, error: StoreUnavailable) -> None:
        if self._on_store_failure == "refuse":
            raise error
        if not self._store_failed:
            self._store_failed = True
            log.error(
                "calls are let through without a hold, their costs are counted later: %s (since %s)",
                error,
                datetime.now(UTC).isoformat(timespec="seconds"),
            )
