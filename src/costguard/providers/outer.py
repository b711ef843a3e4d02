"""Calls of a library that calls SDKs itself: asked about once, at the outermost, and metered at the innermost.

LiteLLM retries, falls back and wraps errors. A refusal that rises below it is taken for a network error and asked
again, so the policy is asked before it; what the request costs is only seen below it, at the seam of the SDK that
makes it. A context variable links the two: it survives `asyncio` tasks and the copied contexts of LiteLLM's threads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from costguard.call import Call, Particulars
from costguard.events import Hold, Outcome
from costguard.providers.flight import Flight
from costguard.providers.policy import Policy

log = logging.getLogger("costguard.providers")

Waiter = Callable[[], Awaitable[None]]

_ANSWERED = frozenset(("ok", "closed", "cancelled", "pending"))


class Outer:
    """One outer call, and the policy of the calls inside it: it reserves nothing for them, and collects their ends.

    It is settled when its function has returned and the last call inside has ended, a stream with its body. The one
    that answered gives it provider, model and usage; those that failed are its attempts, as an SDK's own retries are.
    What else answered inside (a loop of tools), or failed and told its usage, is an entry of its own beside it,
    under the same limits.

    asked:  the provider that is asked, where its host may be anyone's; "" where that says nothing
    learn:  told the provider and the model that answered, where nothing else was asked
    watch:  what looks at a stream that was made inside, until a call inside is seen
    """

    def __init__(self, flight: Flight, learn: Callable[[str, str], None] | None) -> None:
        self.flight = flight
        self.policy: Policy = flight.policy
        self.call: Call = flight.call
        self.asked = ""
        self.learn = learn
        self._lock = Lock()
        self._ended: list[tuple[Call, Outcome]] = []
        self._open = 0
        self._settled = False
        self.runs = False
        self.watch: Any = None

    # --- the policy of the calls inside ---

    def reserve(self, call: Call) -> None:
        call.tags, call.frame, call.particulars = self.call.tags, self.call.frame, self.call.particulars
        if self.asked and call.provider == "openai":
            # What the openai SDK calls the provider of a host that it does not know.
            call.provider = self.asked
        with self._lock:
            self._open += 1

    async def reserve_async(self, call: Call) -> None:
        self.reserve(call)

    def settle(self, call: Call, outcome: Outcome) -> None:
        if self._end(call, outcome):
            self._tell(is_async=False)

    def settling(self, call: Call, outcome: Outcome) -> Waiter | None:
        return self._tell(is_async=True) if self._end(call, outcome) else None

    # --- the outer call ---

    @contextmanager
    def running(self) -> Iterator[None]:
        """Calls that begin meanwhile, in this context or a copy of it, are inside."""
        self.runs = True
        try:
            with self.entered():
                yield
        finally:
            self.runs = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """For a context that is no copy."""
        before = _running.get()
        _running.set(self)
        try:
            yield
        finally:
            # Not by a token: that can only be done in the context where it was made.
            _running.set(before)

    @property
    def seen(self) -> bool:
        """Whether any call began inside."""
        return bool(self._open or self._ended)

    def returned(self, *, is_async: bool) -> Waiter | None:
        """The function has returned or raised: settle, unless something inside still goes on."""
        with self._lock:
            ready = self._ended and not (self._open or self._settled or self.runs)
            self._settled = self._settled or bool(ready)
        return self._tell(is_async=is_async) if ready else None

    def free(self, *, is_async: bool) -> Waiter | None:
        """It was answered without any provider, as from a cache."""
        return self._settle(self.call, Outcome("ok", None, billable=False), is_async=is_async)

    def _end(self, call: Call, outcome: Outcome) -> bool:
        with self._lock:
            self._open -= 1
            if self._settled:
                late = True
            else:
                late = False
                self._ended.append((call, outcome))
                self._settled = not (self._open or self.runs)
                ready = self._settled
        if late:
            # A copy of its context outlived it.
            self.policy.settle(self._beside(call), outcome)
            return False
        return ready

    def _tell(self, *, is_async: bool) -> Waiter | None:
        ended = self._ended
        main = next((each for each in reversed(ended) if each[1].status in _ANSWERED), ended[-1])
        inner, outcome = main
        call = self.call
        call.provider, call.model, call.operation = inner.provider, inner.model, inner.operation
        call.attempts = sum(each.attempts for each, _ in ended) or 1
        if self.learn is not None and len(ended) == 1:
            self.learn(inner.provider, inner.model)
        call.particulars = call.particulars or inner.particulars
        unsure = sum(each is not main and each[1].billable and not _is_billed(each[1]) for each in ended)
        if unsure:
            call.particulars = call.particulars or Particulars()
            call.particulars.add(f"{unsure} of its attempts got no answer and may be billed too")
        waiter = self._settle(call, outcome, is_async=is_async)
        beside = [each for each in ended if each is not main and _is_billed(each[1])]
        return _all([waiter, *(self._settle(self._beside(each), how, is_async=is_async) for each, how in beside)])

    def _beside(self, inner: Call) -> Call:
        hold: Hold | None = self.call.hold
        if hold is not None:
            inner.hold = Hold(inner, hold.limits, 0, 0)
            inner.hold.leases = hold.leases
        return inner

    def _settle(self, call: Call, outcome: Outcome, *, is_async: bool) -> Waiter | None:
        try:
            if is_async:
                return self.policy.settling(call, outcome)
            self.policy.settle(call, outcome)
        except Exception:
            log.exception("costguard could not settle call %s to %s", call.id, call.model)
        return None


_running: ContextVar[Outer | None] = ContextVar("costguard_outer", default=None)


def outermost(policy: Policy | None) -> Policy | None:
    """Who is asked about a call that begins now: the outer call it is inside of, else `policy`."""
    outer = _running.get()
    return policy if outer is None or not outer.runs else outer


def running() -> Outer | None:
    """The outer call that this context is inside of."""
    outer = _running.get()
    return outer if outer is not None and outer.runs else None


def _is_billed(outcome: Outcome) -> bool:
    return outcome.billable and (outcome.status in _ANSWERED or not outcome.estimated)


def _all(waiters: list[Waiter | None]) -> Waiter | None:
    waiting = [each for each in waiters if each is not None]
    if len(waiting) < 2:
        return waiting[0] if waiting else None

    async def wait() -> None:
        for each in waiting:
            await each()

    return wait
