"""Whether a call may be made: its limits, its hold, one atomic reserve, and what to do when it does not fit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Literal, TypeVar

from costguard.attempt import Attempt
from costguard.budget_set import BudgetSet
from costguard.budgets import Limit
from costguard.call import Call, Particulars
from costguard.errors import BudgetExceeded, CostGuardError, StoreUnavailable, UnpricedModel
from costguard.events import Hold, Refused
from costguard.holds import HoldSizer
from costguard.ledger.base import Ledger
from costguard.ledger.lost import note_of, taken_back
from costguard.offload import Errand, Offload
from costguard.pricing.book import PriceBook, Rates
from costguard.readings import Readings
from costguard.refusals import Refusals
from costguard.seeding import Seeding
from costguard.tags import UNATTRIBUTED, Tags
from costguard.terms import STOP_TAG, Terms
from costguard.waiting import Waiting

log = logging.getLogger("costguard")

OnUnpriced = Literal["allow", "assume", "refuse"]
OnStoreFailure = Literal["allow", "refuse"]

ELSEWHERE: Iterator[float] = iter(())
"""What `begin` gives on an event loop where the next step would wait for a network: nothing was done yet."""

_VISITOR = Call("costguard", "door")
_MOST_KEPT = 4096
_NOT_PLAIN = ("tokens", "calls")

T = TypeVar("T")


class Admission:
    """Admits calls or refuses them. Thread-safe.

    settings: `wait`, `observe`, `fit`, `fit_floor` and `stop_at_limit` of the guard
    """

    def __init__(
        self,
        ledger: Ledger,
        book: PriceBook,
        budgets: BudgetSet,
        sizer: HoldSizer,
        *,
        tokens: HoldSizer,
        offload: Offload,
        on_unpriced: OnUnpriced,
        on_store_failure: OnStoreFailure,
        hold_lifetime_ns: int,
        emit: Callable[[Any], None],
        told: Callable[[], None],
        settings: dict[str, Any],
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._budgets = budgets
        self._sizer = sizer
        self._offload = offload
        self._on_unpriced = on_unpriced
        self._on_store_failure = on_store_failure
        self._hold_lifetime_ns = hold_lifetime_ns
        self._emit = emit
        self._seed = Seeding(ledger, sizer).seed
        self._plain: dict[int, tuple[Limit, ...]] = {}
        self._store_failed = False
        self._readings = Readings(ledger)
        self._refusals = Refusals(ledger, told)
        self._terms = Terms(
            ledger, book, sizer, tokens, self._readings, self._refusals, Waiting(), emit,
            self._seed, self._store_down, **settings,
        )  # fmt: skip
        self._never_plain = self._terms.observe or self._terms.fit or self._terms.stop_at_limit

    @property
    def near(self) -> bool:
        """The store needs no network: async code asks it where it is."""
        return self._readings.near

    def begin(self, call: Call, blocking: bool, here: bool = True) -> Iterator[float] | None:
        """Take the call's hold. None: it may be made. Otherwise step through the iterator, waiting the
        seconds it yields: it ends when the hold was taken and raises `BudgetExceeded` when it cannot be.

        blocking: to wait holds up the thread
        here:     not blocking, this is the thread of an event loop: `ELSEWHERE` is answered instead of waiting
            for a network; then begin anew, in another thread
        """
        try:
            limits = self._budgets.limits(call.tags, call.started_ns)
            far = not blocking and here and not self._readings.near
            stops = call.streamed and call.tags.value(STOP_TAG) != UNATTRIBUTED
            if stops or self._plain.get(id(limits)) is not limits:
                windows = self._budgets.local_limits(call.tags, call.started_ns)
                if not limits and not windows and not self._terms.stop_at_limit:
                    return None
                if stops or not self._is_plain(limits, windows):
                    return ELSEWHERE if far else self._begin(call, limits, windows, blocking=blocking)
            hold = call.hold = Hold(call, limits, 0, call.started_ns + self._hold_lifetime_ns)
            rates = self._book.rates(call.provider, call.model, call.started_ns, call.context)
            if rates is None:
                rates = self._without_price(call, limits)
                if rates is None:
                    return None
            sizing = self._sizer.size(call, rates, limits)
            if sizing.cold and sizing.bound:
                if far:
                    return ELSEWHERE
                if self._seed(call, rates):
                    sizing = self._sizer.size(call, rates, limits)
            call.sizing = sizing
            if not sizing.bound:
                return None
            hold.amount = sizing.amount
            if far and not self._ledger.local(hold):
                return ELSEWHERE
            try:
                refusal = self._ledger.reserve(hold, call.started_ns)
            except StoreUnavailable as error:
                self._store_down(call, error)
                return None
            self._store_failed = False
            if refusal is None:
                return None
            return Attempt(self._terms, call, hold, rates).again(refusal, blocking=blocking)
        except CostGuardError:
            raise
        except Exception:
            # A fault of ours must not cost the app its answer; the cost is recorded all the same.
            log.exception("costguard could not reserve for %s; the call is made without a hold", call.model)
            return None

    def _is_plain(self, limits: tuple[Limit, ...], windows: tuple[Limit, ...]) -> bool:
        """Whether these limits need nothing but a hold in USD: found out once for each tuple of them."""
        if self._never_plain or windows or not limits:
            return False
        for limit in limits:
            if limit.unit in _NOT_PLAIN or limit.actions or limit.before or limit.observe or not limit.refuses:
                return False
        if len(self._plain) >= _MOST_KEPT:
            self._plain.clear()
        # Kept, so that no other tuple gets its id.
        self._plain[id(limits)] = limits
        return True

    def _begin(
        self, call: Call, limits: tuple[Limit, ...], windows: tuple[Limit, ...], *, blocking: bool
    ) -> Iterator[float] | None:
        hold = call.hold = Hold(call, limits, 0, call.started_ns + self._hold_lifetime_ns)
        if not (call.input_tokens or call.produces_output):
            return None  # a poll: what it asks for was held when it was ordered
        rates = self._book.rates(call.provider, call.model, call.started_ns, call.context)
        if rates is None:
            rates = self._without_price(call, (*limits, *windows))
        try:
            delays = Attempt(self._terms, call, hold, rates, windows).begin(blocking)
        except StoreUnavailable as error:
            self._store_down(call, error)
            return None
        self._store_failed = False
        return delays

    async def elsewhere(self, call: Call, delays: Iterator[float]) -> None:
        """Go on with `begin` in other threads. A task that is cancelled meanwhile leaves no hold behind."""
        from anyio import sleep

        errand = Errand(self._offload)
        try:
            steps: Iterator[float] | None = delays
            if delays is ELSEWHERE:
                steps = await errand.do(partial(self.begin, call, False, False))
            while steps is not None:
                delay = await errand.do(partial(next, steps, None))
                if delay is None:
                    return
                await sleep(delay)
        except CostGuardError as error:
            self.not_made(call, error)
            raise
        except BaseException as error:
            errand.afterwards(partial(self.not_made, call, error))
            raise

    def check(self, tags: Tags) -> None:
        """Raise `BudgetExceeded` if a budget of these tags is spent: the check at the door, before any call."""
        now = time.time_ns()
        limits = self._budgets.limits(tags, now)
        if not limits:
            return
        try:
            refusal = self._ledger.reached(self._refusing(limits, now))
        except StoreUnavailable as error:
            if self._on_store_failure == "refuse":
                raise
            log.warning("the budgets could not be checked at the door, the request goes on: %s", error)
            return
        if refusal is not None:
            raise self._refusals.exceeded(refusal, 0, now)

    async def check_async(self, tags: Tags) -> None:
        """`check` for async code: it waits for no network on the event loop."""
        limits = self._budgets.limits(tags, time.time_ns())
        if not limits:
            return
        if self._plain.get(id(limits)) is limits and self._ledger.local(Hold(_VISITOR, limits, 1, 0, 1)):
            # Enough for any call is leased, so that nothing is asked.
            self.check(tags)
        else:
            await self.off_loop(partial(self.check, tags))

    async def off_loop(self, step: Callable[[], T]) -> T:
        """Ask the store, in another thread where it is over a network."""
        return step() if self._readings.near else await Errand(self._offload).do(step)

    def _refusing(self, limits: tuple[Limit, ...], now: int) -> tuple[Limit, ...]:
        """Those that may refuse, as they are now."""
        if self._plain.get(id(limits)) is limits:
            return limits
        return tuple(
            [
                limit.over(self._readings.before(limit, now)) if limit.before else limit
                for limit in limits
                if limit.refuses and not limit.observe and not self._terms.observe
            ]
        )

    def counted(self, limits: tuple[Limit, ...], now: int) -> list[Limit]:
        """These limits with what the earlier buckets of rolling windows used."""
        return [limit.over(self._readings.before(limit, now)) if limit.before else limit for limit in limits]

    def _without_price(self, call: Call, limits: tuple[Limit, ...]) -> Rates | None:
        if self._on_unpriced == "assume":
            dearest = self._book.dearest(call.provider, call.started_ns)
            if dearest is not None:
                return dearest
        elif self._terms.observe or (
            self._on_unpriced == "allow"
            and not self._sizer.is_strict(tuple([limit for limit in limits if not limit.observe]))
        ):
            return None
        near = self._book.near(call.provider, call.model)
        raise UnpricedModel(
            f"no price is known for {call.provider} model {call.model!r}, and a budget counts this call; "
            f'give one with prices={{"{call.provider}/{call.model}": {{"input": "...", "output": "..."}}}} '
            f"(USD per million tokens)" + (f"; near names: {', '.join(near)}" if near else ""),
            provider=call.provider,
            model=call.model,
        )

    def not_made(self, call: Call, error: BaseException) -> None:
        """A call is not made, because of this. Hooks hear of a refusal; an interrupted call gives its hold back."""
        call.knobs = None
        if isinstance(error, BudgetExceeded):
            self._emit(Refused(call, error.standing, error.busy, error.needed or Decimal(0)))  # type: ignore[arg-type]
            return
        if call.particulars is not None and call.particulars.local is not None:
            call.particulars.local.release()
        if call.hold is not None and not isinstance(error, CostGuardError):
            try:
                if call.particulars is not None and call.particulars.noted:
                    self._ledger.settle(taken_back(call, "it was interrupted before it was sent"), call.hold)
                    return
                self._ledger.release(call.hold)
            except StoreUnavailable as fault:
                log.warning("the hold of a call that was not made stays until it expires: %s", fault)

    def _store_down(self, call: Call, error: StoreUnavailable) -> None:
        if self._on_store_failure == "refuse":
            raise error
        hold: Hold | None = call.hold
        if hold is not None:
            note = getattr(self._ledger, "note", None)
            if note is not None and hold.limits and note(note_of(hold), hold):
                if call.particulars is None:
                    call.particulars = Particulars()
                call.particulars.noted = True
            hold.amount = 0
        if not self._store_failed:
            self._store_failed = True
            log.error(
                "calls are let through without a hold, their costs are counted later: %s (since %s)",
                error,
                datetime.now(UTC).isoformat(timespec="seconds"),
            )
