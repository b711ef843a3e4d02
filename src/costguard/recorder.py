"""What a call really cost: priced, made into one entry, settled in the ledger, told to the hooks."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Literal
from uuid import UUID, uuid5

from costguard.call import Call, new_call_id
from costguard.errors import StoreUnavailable
from costguard.events import Entry, Hold, Hook, Outcome, Settled
from costguard.holds import HoldSizer
from costguard.ledger.base import Ledger
from costguard.pricing.book import PriceBook, Rates
from costguard.pricing.usage import NO_USAGE, Usage

log = logging.getLogger("costguard")

MOST_WAITING = 100_000
"""Entries kept in memory while the store cannot be reached. Past it they go to the log, whole."""

_RETRY_NS = 1_000_000_000
_BACKGROUND = UUID("6f1c7f0e-6f0b-4c5e-9a64-6d0d8a3b8f11")


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
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._sizer = sizer
        self._on_unpriced = on_unpriced
        self._hooks = hooks
        self._emit = emit
        self._waiting: deque[tuple[Entry, Hold | None]] = deque()
        self._lock = Lock()
        self._retry_at = 0
        self._warned: set[tuple[str, str]] = set()

    def record(self, call: Call, outcome: Outcome) -> None:
        """Settle one call."""
        entry = self._entry(call, outcome)
        hold: Hold | None = call.hold
        new = self._settle(entry, hold)
        if new and call.frame is not None:
            call.frame.add(entry.nanos)
        if new and not outcome.estimated and outcome.status == "ok" and entry.nanos is not None:
            self._sizer.learn(call, entry.nanos)
        for model, usage in outcome.extra:
            # Billed at another model's price: an entry of its own, under the same limits.
            beside = Outcome(outcome.status, usage, model=model, ended_ns=outcome.ended_ns)
            second = self._entry(call, beside)
            second.call_id = new_call_id(call.started_ns)
            if self._settle(second, None if hold is None else Hold(call, hold.limits, 0, 0)) and call.frame is not None:
                call.frame.add(second.nanos)

    def _entry(self, call: Call, outcome: Outcome) -> Entry:
        usage, estimated = outcome.usage, outcome.estimated
        model = outcome.model or call.model
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
            rates = self._rates(call, model, outcome.context)
            if rates is None:
                nanos, reason = None, self._unpriced(call, model)
            else:
                nanos = rates.nanos(usage)
                missing = rates.missing(usage)
                if missing:
                    reason = f"no price for {', '.join(missing)}"
                    # A usage of which not one bucket has a rate has no cost: that is not the same as $0.
                    if not rates.priced_any(usage):
                        nanos = None
        ended = outcome.ended_ns or time.time_ns()
        return Entry(
            # A background response is asked for once and read any number of times, by anyone: it is
            # known by the provider's id, so that every reading settles the same entry.
            call.id if not outcome.by_response else str(uuid5(_BACKGROUND, f"{call.provider}/{outcome.response_id}")),
            call.started_ns,
            call.provider,
            model,
            call.operation,
            nanos=nanos,
            usage=usage,
            rates=rates,
            status=outcome.status,
            estimated=estimated,
            streamed=call.streamed,
            attempts=call.attempts or 1,
            tags=call.tags,
            held_nanos=call.hold.amount if call.hold is not None else 0,
            duration_ns=max(0, ended - call.started_ns),
            response_id=outcome.response_id,
            reason=reason,
        )

    def _rates(self, call: Call, model: str, context: tuple[tuple[str, str], ...]) -> Rates | None:
        rates = self._book.rates(call.provider, model, call.started_ns, context)
        if rates is None and model != call.model:
            rates = self._book.rates(call.provider, call.model, call.started_ns, context)
        if rates is None and self._on_unpriced == "assume":
            rates = self._book.dearest(call.provider, call.started_ns)
        return rates

    def _unpriced(self, call: Call, model: str) -> str:
        if (call.provider, model) not in self._warned and len(self._warned) < 1000:
            self._warned.add((call.provider, model))
            near = self._book.near(call.provider, model)
            log.warning(
                "no price is known for %s model %r: its calls are recorded without a cost and count for no budget; "
                "give one with Guard(prices=...)%s",
                call.provider,
                model,
                f"; near names: {', '.join(near)}" if near else "",
            )
        return f"no price is known for {call.provider} model {model!r}"

    def _settle(self, entry: Entry, hold: Hold | None) -> bool:
        if self._waiting and time.monotonic_ns() >= self._retry_at:
            self.retry()
        try:
            crossings = self._ledger.settle(entry, hold)
        except StoreUnavailable as error:
            self._keep(entry, hold, error)
            crossings = ()
        if crossings is None:
            return False
        if crossings or self._hooks:
            self._emit(Settled(entry, crossings))
        return True

    def _keep(self, entry: Entry, hold: Hold | None, error: StoreUnavailable) -> None:
        with self._lock:
            first = not self._waiting
            self._retry_at = time.monotonic_ns() + _RETRY_NS
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((entry, hold))
                if first:
                    log.error("entries wait in memory until the store can be written: %s", error)
                return
        log.critical("the store is down and %d entries wait; this one is only here: %r", MOST_WAITING, entry)

    def retry(self) -> int:
        """Write what waits; return how many entries still wait. Raises nothing: the store's error is logged."""
        with self._lock:
            self._retry_at = time.monotonic_ns() + _RETRY_NS
            while self._waiting:
                entry, hold = self._waiting[0]
                try:
                    crossings = self._ledger.settle(entry, hold)
                except StoreUnavailable as error:
                    log.error("%d entries still wait for the store: %s", len(self._waiting), error)
                    break
                self._waiting.popleft()
                if crossings:
                    self._emit(Settled(entry, crossings))
            return len(self._waiting)
