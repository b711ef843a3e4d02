"""What a call really cost: priced, made into one entry, settled in the ledger, told to the hooks."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Literal
from uuid import UUID, uuid5
from weakref import WeakSet

from costguard.call import Call, Particulars
from costguard.errors import StoreUnavailable
from costguard.events import Entry, Hold, Hook, Outcome, Settled
from costguard.holds import HoldSizer
from costguard.ledger.base import Ledger
from costguard.ledger.lost import taken_back
from costguard.notices import Notices
from costguard.overshoot import Overshoot
from costguard.pricing.book import PriceBook, Rates
from costguard.pricing.flat import flat
from costguard.pricing.naming import is_profile_of
from costguard.pricing.reported import reported_rates
from costguard.pricing.usage import NO_USAGE, Usage

log = logging.getLogger("costguard")

MOST_WAITING = 100_000
"""Entries kept in memory while the store cannot be reached. Past it they go to the log, whole."""

_OF_ALL_MODELS = ("batch", "inference_geo")
"""What makes each model that answered in one request cheaper or dearer; a service tier is that of one."""

_RETRY_NS = 1_000_000_000
_BACKGROUND = UUID("6f1c7f0e-6f0b-4c5e-9a64-6d0d8a3b8f11")
_BESIDE = UUID("c2b54f6e-0a3d-4d0a-8f53-9d5c6b1f7a22")


_recorders: WeakSet[Recorder] = WeakSet()


class Recorder:
    """Settles calls. Never raises into one; an entry that the store cannot take waits and is tried again."""

    def __init__(
        self,
        ledger: Ledger,
        book: PriceBook,
        sizer: HoldSizer,
        *,
        on_unpriced: Literal["allow", "assume", "refuse"],
        hooks: Sequence[Hook],
        emit: Callable[[Settled], None],
        tokens: HoldSizer,
        overshoot: Overshoot,
        notices: Notices,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._sizer = sizer
        self._on_unpriced = on_unpriced
        self._hooks = hooks
        self._emit = emit
        self._tokens = tokens
        self._overshoot = overshoot
        self._notices = notices
        self._waiting: deque[tuple[Entry, Hold | None, Call | None]] = deque()
        self._retry_at = 0
        self.forked()
        _recorders.add(self)

    def forked(self) -> None:
        """In a child process, where the thread that may have held the lock is not."""
        # Re-entrant: a hook that is told of an entry may flush, or make a call that is settled.
        self._writing = RLock()

    def record(self, call: Call, outcome: Outcome) -> None:
        """Settle one call."""
        entry = self._entry(call, outcome)
        hold: Hold | None = call.hold
        new = self._settle(entry, hold, call)
        particulars = call.particulars
        if new and particulars is not None:
            self._particular(call, particulars, entry)
        if particulars is not None and particulars.noted and entry.call_id != call.id:
            self._settle(taken_back(call, f"its entry is {entry.call_id}"), hold)
        # Where nothing was held, the store could not be asked, or nothing is counted.
        if hold is not None and entry.nanos is not None and entry.nanos > hold.amount > 0 and new:
            self._overshoot.add(entry, hold)
        if new and call.frame is not None:
            call.frame.add(entry.nanos)
        if new and not outcome.estimated and outcome.status == "ok" and entry.nanos is not None:
            self._sizer.learn(call, entry.nanos)
        for number, (model, usage) in enumerate(outcome.extra):
            # Billed at another model's price: an entry of its own, under the same limits. Its id follows
            # from the first's, so that settling again, or reading a background response again, adds nothing.
            context = tuple([fact for fact in outcome.context if fact[0] in _OF_ALL_MODELS])
            beside = Outcome(outcome.status, usage, model=model, context=context, ended_ns=outcome.ended_ns)
            if outcome.reported is not None:
                # What the provider says is the sum.
                beside.reported = 0
            second = self._entry(call, beside)
            second.call_id = str(uuid5(_BESIDE, f"{entry.call_id}/{number}"))
            # The same call: budgets in calls count it once.
            second.attempts = 0
            if particulars is not None and particulars.local is not None and new:
                particulars.local.settle(second)
            its_hold: Hold | None = None
            if hold is not None:
                its_hold = Hold(call, hold.limits, 0, 0)
                its_hold.leases = hold.leases
            if self._settle(second, its_hold) and call.frame is not None:
                call.frame.add(second.nanos)

    def _particular(self, call: Call, particulars: Particulars, entry: Entry) -> None:
        if particulars.local is not None:
            particulars.local.settle(entry)
        if particulars.tokens is not None and entry.status == "ok" and not entry.estimated:
            self._tokens.learn(call, entry.usage.input_tokens + entry.usage.output_tokens, particulars.tokens)

    def _entry(self, call: Call, outcome: Outcome) -> Entry:
        usage, estimated = outcome.usage, outcome.estimated
        model = outcome.model or call.model
        if call.provider == "bedrock" and model != call.model and is_profile_of(call.model, model):
            model = call.model
        rates: Rates | None = None
        reason: str | None = None
        nanos: int | None = 0
        if not outcome.billable:
            usage = usage or NO_USAGE
        else:
            if usage is None:
                estimated = True
                expected = call.sizing.expected_output_tokens if call.sizing else call.max_output_tokens or 0
                usage = Usage.of({"input": call.input_tokens, "output": expected})
            rates = self._book.rates(call.provider, model, call.started_ns, outcome.context)
            if rates is None:
                rates = self._other_rates(call, model, outcome.context)
            if outcome.summed and rates is not None:
                rates = flat(rates)
            if outcome.reported is not None:
                nanos, rates = outcome.reported, reported_rates(call.provider, model, rates)
            elif rates is None:
                nanos, reason = None, self._unpriced(call, model)
                rates = self._book.without(call.provider, model, outcome.context)
            else:
                if self._on_unpriced == "assume" and rates.source.startswith("assumed"):
                    self._notices.unpriced(call.provider, model, assumed=True)
                nanos = rates.nanos(usage)
                missing = rates.missing(usage)
                if missing:
                    reason = f"no price for {', '.join(missing)}"
                    self._notices.partial(call.provider, model, missing)
                    # A usage of which not one bucket has a rate has no cost: that is not the same as $0.
                    if not rates.priced_any(usage):
                        nanos = None
        if call.particulars is not None and call.particulars.note:
            reason = f"{reason}; {call.particulars.note}" if reason else call.particulars.note
        ended = outcome.ended_ns or time.time_ns()
        return Entry(
            # A background response is asked for once and read any number of times, by anyone: it is
            # known by the provider's id, so that every reading settles the same entry.
            call.id if not outcome.by_response else str(uuid5(_BACKGROUND, f"{call.provider}/{outcome.response_id}")),
            call.started_ns,
            call.provider,
            model,
            call.operation,
            nanos,
            usage,
            rates,
            outcome.status,
            estimated,
            call.streamed,
            call.attempts or 1,
            call.tags,
            call.hold.amount if call.hold is not None else 0,
            max(0, ended - call.started_ns),
            outcome.response_id,
            reason,
        )

    def _other_rates(self, call: Call, model: str, context: tuple[tuple[str, str], ...]) -> Rates | None:
        rates: Rates | None = None
        if model != call.model:
            rates = self._book.rates(call.provider, call.model, call.started_ns, context)
        if rates is None and self._on_unpriced == "assume":
            rates = self._book.dearest(call.provider, call.started_ns)
        return rates

    def _unpriced(self, call: Call, model: str) -> str:
        self._notices.unpriced(call.provider, model)
        return f"no price is known for {call.provider} model {model!r}"

    def _settle(self, entry: Entry, hold: Hold | None, call: Call | None = None) -> bool:
        if self._waiting and time.monotonic_ns() >= self._retry_at:
            self.retry()
        try:
            crossings = self._ledger.settle(entry, hold)
        except StoreUnavailable as error:
            # Hooks hear of it when it is recorded.
            self._keep(entry, hold, call, error)
            return True
        if crossings is None:
            return False
        if crossings or self._hooks:
            self._emit(Settled(entry, crossings, call))
        return True

    def _keep(self, entry: Entry, hold: Hold | None, call: Call | None, error: StoreUnavailable) -> None:
        if len(self._waiting) >= MOST_WAITING:
            log.critical("the store is down and %d entries wait; this one is only here: %r", MOST_WAITING, entry)
            return
        if not self._waiting:
            log.error("entries wait in memory until the store can be written: %s", error)
        self._retry_at = time.monotonic_ns() + _RETRY_NS
        self._waiting.append((entry, hold, call))

    @property
    def waiting(self) -> int:
        """Entries in memory, as the store cannot be written."""
        return len(self._waiting)

    def retry(self, wait: float = 0.0) -> int:
        """Write what waits; return how many entries still wait. Raises nothing: the store's error is logged.

        wait: seconds, for another thread that is at it. A call does not: the store may take long to say no.
        """
        if not self._writing.acquire(timeout=wait):
            return len(self._waiting)
        try:
            self._retry_at = time.monotonic_ns() + _RETRY_NS
            while self._waiting:
                entry, hold, call = self._waiting[0]
                try:
                    crossings = self._ledger.settle(entry, hold)
                except StoreUnavailable as error:
                    log.error("%d entries still wait for the store: %s", len(self._waiting), error)
                    break
                except Exception:
                    # One that no store takes must not keep back the others, nor the call that came upon it.
                    log.critical("the store does not take this entry, it is only here: %r", entry, exc_info=True)
                    crossings = None
                self._waiting.popleft()
                if crossings is not None:
                    self._emit(Settled(entry, crossings, call))
        finally:
            self._writing.release()
        return len(self._waiting)


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
