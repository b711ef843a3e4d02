"""One call's way to its hold, where that takes more than one step: limits with actions, rolling ones, those of a
call or a request, tokens and calls; and waiting, shrinking or fitting after a first refusal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import uniform

from costguard.budgets import Limit
from costguard.call import Call, Particulars
from costguard.errors import StoreUnavailable
from costguard.events import Hold, Refused
from costguard.fitting import affordable, fitted
from costguard.holds import Sizing, token_rates
from costguard.ledger.base import Refusal
from costguard.local_limits import LocalHold, lift, request_of, take
from costguard.pricing.book import Rates
from costguard.refusals import amount_of
from costguard.soft_actions import SoftActions, acting
from costguard.terms import STOP_TAG, Terms

_FIRST_DELAY, _LONGEST_DELAY = 0.002, 0.1


class Attempt:
    """Used by one thread at a time.

    limits:  those in the ledger, in key order
    windows: those on the call itself and on its request
    rates:   None for a model without a price that is let through: its cost counts on no limit in USD
    """

    def __init__(
        self, terms: Terms, call: Call, hold: Hold, rates: Rates | None, windows: tuple[Limit, ...] = ()
    ) -> None:
        self._terms = terms
        self._call = call
        self._hold = hold
        self._rates = rates
        self._counted = self._held = hold.limits
        self._ceilings = tuple([limit for limit in windows if limit.budget.window == "call"])
        self._frame = request_of(call.frame)
        self._request: tuple[Limit, ...] = ()
        if self._frame is not None:
            self._request = tuple([limit for limit in windows if limit.budget.window == "request"])
        self._all = (*hold.limits, *self._ceilings, *self._request)
        self._lifted: set[str] = set()
        self._fits = terms.fit
        self._given = call.max_output_tokens
        self._fitted = 0
        self._looked_again = False

    def begin(self, blocking: bool) -> Iterator[float] | None:
        """As `Admission.begin`, for a call that is not plain."""
        call, terms = self._call, self._terms
        prior, now = terms.readings.before, call.started_ns
        self._counted = tuple([limit.over(prior(limit, now)) if limit.before else limit for limit in self._counted])
        self._size()
        free = self._rates is None or not call.sizing.bound
        self._lifted = {limit.key for limit in self._all if not limit.refuses or (free and limit.unit == "usd")}
        self._arrange()
        standings = acting(self._counted, (*self._ceilings, *self._request), self._frame, terms.readings.now)
        if standings:
            self._act(standings)
        refusal = self._take(now)
        if refusal is not None:
            return self.again(refusal, blocking=blocking)
        self._taken()
        return None

    def again(self, refusal: Refusal | None, *, blocking: bool) -> Iterator[float]:
        """Go on after a refusal: yields the seconds to wait until the next step, ends when the hold was taken,
        raises BudgetExceeded when it cannot be."""
        with self._terms.waiting.enter(blocking=blocking) as may_wait:
            try:
                yield from self._try_again(refusal, self._terms.wait if may_wait else 0.0)
            except StoreUnavailable as error:
                self._terms.store_down(self._call, error)
        self._taken()

    def _try_again(self, refusal: Refusal | None, wait: float) -> Iterator[float]:
        terms, call, hold = self._terms, self._call, self._hold
        deadline = time.monotonic() + wait
        delay = _FIRST_DELAY
        while refusal is not None:
            limit = refusal.limit
            sizing = self._sizing(limit)
            left = limit.most - refusal.spent
            if (limit.actions and self._act([refusal])) or (self._fits and self._fit(limit, left - refusal.held)):
                refusal = self._take(time.time_ns())
                continue
            observed = terms.observe or limit.observe
            if limit in self._ceilings or left < self._least(limit):
                if observed:
                    refusal = self._observe(refusal, busy=False)
                    continue
                if not self._looked_again and sizing is not None and sizing.cold:
                    # What it would be refused for is a bound: the ledger may know by now what such calls cost.
                    self._looked_again = True
                    self._size(seeding=True)
                    refusal = self._take(time.time_ns())
                    continue
                raise terms.refusals.exceeded(refusal, self._wanted(limit), time.time_ns())
            late, at_once = time.monotonic() >= deadline, observed or not refusal.held
            # Nothing is known of this kind of call. The first one has the limit to itself if its bound
            # would never fit, and need not leave room for a prior once it has waited or is by itself.
            # The same for the room that a small sample leaves for what was not seen yet.
            if sizing is not None and (sizing.cold or sizing.floor < sizing.amount) and (late or at_once):
                self._shrink()
                refusal = self._take(time.time_ns(), alone=self._unbounded(sizing))
                if refusal is None:
                    return
            if terms.observe or refusal.limit.observe:
                refusal = self._observe(refusal, busy=True)
                continue
            if late:
                raise terms.refusals.exceeded(refusal, hold.on(refusal.limit), time.time_ns(), busy=True)
            yield uniform(delay / 2, delay) * terms.waiting.share
            delay = min(delay * 2, _LONGEST_DELAY)
            call.max_output_tokens, self._fitted = self._given, 0
            self._size()
            refusal = self._take(time.time_ns())

    def _act(self, standings: list[Refusal]) -> bool:
        """Do what budgets want where they stand; says whether the call needs less now."""
        actions = SoftActions(self._terms, self._call, standings, self._hold)
        rates = actions.downgrade(self._rates)
        if rates is not None:
            self._rates = rates
            self._size()
        changed = rates is not None
        for limit, room in actions.rooms():
            self._fits = True
            changed = self._fit(limit, room) or changed
        return changed

    # --- how much ---

    def _size(self, *, seeding: bool = False) -> None:
        """Size the hold anew: in USD, and in tokens if a limit counts them.

        seeding: ask the ledger, even if it was asked a moment ago
        """
        terms, call, hold, rates = self._terms, self._call, self._hold, self._rates
        if rates is not None:
            limits = tuple([limit for limit in self._all if limit.unit == "usd"])
            sizing = terms.sizer.size(call, rates, limits)
            if sizing.cold and terms.seed(call, rates, seeding):
                sizing = terms.sizer.size(call, rates, limits)
            call.sizing = sizing
            hold.amount = sizing.amount if sizing.bound else 0
        counting = tuple([limit for limit in self._all if limit.unit == "tokens"])
        if counting:
            window = rates.context_window if rates is not None else None
            sizing = self._particulars().tokens = terms.tokens.size(call, token_rates(window), counting)
            hold.tokens = sizing.amount if sizing.bound else 0

    def _sizing(self, limit: Limit) -> Sizing | None:
        if limit.unit == "tokens":
            return self._tokens()
        return self._call.sizing if limit.unit == "usd" else None

    def _unbounded(self, sizing: Sizing) -> bool:
        """Nobody said how long the answer may be, and nothing is known of such calls."""
        return sizing.cold and self._call.produces_output and self._call.max_output_tokens is None

    def _needs(self, limit: Limit) -> int:
        """What the call needs of a limit as it is, in the limit's unit."""
        sizing = self._sizing(limit)
        if sizing is None:
            return self._hold.on(limit)
        return max(1, sizing.input) if self._unbounded(sizing) else sizing.floor

    def _alone(self, limit: Limit) -> int:
        """What a ceiling on this one call is compared with: its bound, where an answer can be asked to keep to it."""
        sizing = self._sizing(limit)
        bound = self._fits and sizing is not None and self._floor() is not None and self._unbounded(sizing)
        return sizing.bound if sizing is not None and bound else self._needs(limit)

    def _least(self, limit: Limit) -> int:
        """What it would need with the shortest answer that may be asked for."""
        floor, rates = self._floor(), token_rates(None) if limit.unit == "tokens" else self._rates
        needs = self._needs(limit)
        if not self._fits or floor is None or rates is None or limit.unit == "calls":
            return needs
        return min(needs, rates.bound(self._call.input_tokens, floor))

    def _wanted(self, limit: Limit) -> int:
        sizing = self._sizing(limit)
        return self._hold.on(limit) if sizing is None else sizing.amount

    def _shrink(self) -> None:
        sizing, tokens = self._call.sizing, self._tokens()
        if sizing is not None and self._rates is not None:
            self._hold.amount = sizing.floor
        if tokens is not None:
            self._hold.tokens = tokens.floor

    def _tokens(self) -> Sizing | None:
        particulars = self._call.particulars
        return None if particulars is None else particulars.tokens

    # --- fitting ---

    def _floor(self) -> int | None:
        """The least output to ask for, over all choices; None where this API takes no ceiling."""
        call = self._call
        if call.knobs is None or not call.produces_output or not call.knobs.takes_ceiling:
            return None
        floor: int = (self._terms.fit_floor + call.knobs.least) * call.knobs.choices
        return floor

    def _fit(self, limit: Limit, room: int) -> bool:
        """Lower the call's ceiling on its output to what `room` pays for; says whether the hold is smaller now."""
        call, hold = self._call, self._hold
        floor = self._floor()
        if floor is None or call.knobs is None or limit.unit == "calls":
            return False
        rates = token_rates(None) if limit.unit == "tokens" else self._rates
        sizing = self._sizing(limit)
        if rates is None or sizing is None:
            return False
        tokens = fitted(
            call.model,
            affordable(rates, call.input_tokens, room),
            floor=floor,
            share=self._given is None and limit not in self._ceilings,
            ceiling=sizing.ceiling,
        )
        if not tokens:
            return False
        before, choices = hold.on(limit), call.knobs.choices
        self._fitted = tokens // choices
        call.max_output_tokens = self._fitted * choices
        self._size()
        self._shrink()
        return hold.on(limit) < before

    # --- taking ---

    def _arrange(self) -> None:
        self._held = tuple([lift(limit) if limit.key in self._lifted else limit for limit in self._counted])

    def _take(self, now: int, *, alone: bool = False) -> Refusal | None:
        """Hold on all limits, or on none and say which refused."""
        hold = self._hold
        for limit in self._ceilings:
            if limit.key not in self._lifted and self._alone(limit) > limit.most:
                return Refusal(limit, 0, 0)
        local: LocalHold | None = None
        if self._request and self._frame is not None:
            limits = [lift(limit) if limit.key in self._lifted else limit for limit in self._request]
            found = take(self._frame, limits, hold, alone=alone)
            if isinstance(found, Refusal):
                return found
            local = self._particulars().local = found
        if not self._held:
            return None
        hold.limits = self._held
        try:
            refusal = self._terms.ledger.reserve(hold, now, alone=alone)
        finally:
            # What it is settled on: with the true limits, for the marks that people are told at.
            hold.limits = self._counted
        if local is not None:
            if refusal is None:
                local.resize(hold)
            else:
                local.release()
        return refusal

    def _taken(self) -> None:
        """The call will be made: alter the request as was found, and say how far its stream may go."""
        call, hold, terms = self._call, self._hold, self._terms
        if self._fitted and call.knobs is not None and call.knobs.lower(self._fitted):
            self._particulars().add(f"fitted to {self._fitted} output tokens")
        sizing = call.sizing
        if not call.streamed or sizing is None or self._rates is None or not hold.amount:
            return
        wanted = terms.stop_at_limit or call.tags.value(STOP_TAG).lower() in ("true", "1", "yes")
        # Where the hold covers the caller's own ceiling, the provider keeps to that.
        if wanted and (call.max_output_tokens is None or hold.amount < sizing.bound):
            self._particulars().stop = max(1, affordable(self._rates, call.input_tokens, hold.amount))

    def _observe(self, refusal: Refusal, *, busy: bool) -> Refusal | None:
        """Say what would have been refused, and try again without that limit."""
        limit = refusal.limit
        standing = limit.standing(refusal.spent, refusal.held)
        self._terms.emit(Refused(self._call, standing, busy, amount_of(limit, self._wanted(limit)), observed=True))
        self._particulars().add(f"observed, not refused: {standing}")
        self._lifted.add(limit.key)
        self._arrange()
        return self._take(time.time_ns())

    def _particulars(self) -> Particulars:
        if self._call.particulars is None:
            self._call.particulars = Particulars()
        return self._call.particulars
