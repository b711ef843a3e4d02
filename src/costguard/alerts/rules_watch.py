"""What one HTTP request cost, which no entry shows: seen in the process it happens in, and told later.

A call compares two numbers; the thread that delivers alerts brings what there is to tell to the store.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from costguard.alerts.rules import Rule
from costguard.alerts.rules_alert import Finding, notice_of, usd, who
from costguard.errors import StoreUnavailable
from costguard.events import Downgraded, Refused, Settled
from costguard.ledger.base import Ledger
from costguard.money import from_nanos, show_usd, to_nanos
from costguard.notice import Notice
from costguard.tags import Frame

log = logging.getLogger("costguard.alerts")


class Watch:
    """A hook of the guard: quick, and it asks nothing of the store.

    wake: called when there is something to write
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Sequence[Rule],
        wake: Callable[[], None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._ledger = ledger
        self._wake = wake
        self._now_ns = now_ns
        self._told: deque[tuple[Frame, Rule]] = deque(maxlen=256)
        self.forked()
        self.look_for(rules)

    def look_for(self, rules: Sequence[Rule]) -> None:
        """These are the rules from now on."""
        self._requests = [(to_nanos(rule.amount), rule) for rule in rules if rule.kind == "request"]

    def forked(self) -> None:
        """In a child, whose parent tells what was found before."""
        self._owner = os.getpid()
        self._lock = Lock()
        self._writing = Lock()
        self._notices: deque[Notice] = deque(maxlen=1000)

    def __call__(self, event: Settled | Refused | Downgraded) -> None:
        if self._requests and isinstance(event, Settled) and event.call is not None and event.call.frame is not None:
            self._settled(event.call.frame, event.entry.nanos or 0, event.call.id)

    def _settled(self, frame: Frame, nanos: int, call_id: str) -> None:
        request: Frame | None = None
        each: Frame | None = frame
        while each is not None:
            # The outermost that no `tagged` block opened: the HTTP request.
            request, each = each if each.block is None else request, each.parent
        if request is None:
            return
        # It does not have this call's cost yet.
        total = request.cost + nanos
        for most, rule in self._requests:
            if total >= most and rule.covers(dict(request.tags.items())):
                self._passed(rule, request, total, call_id)

    def _passed(self, rule: Rule, request: Frame, total: int, call_id: str) -> None:
        if self._owner != os.getpid():
            self.forked()
        with self._lock:
            if any(told is request and of is rule for told, of in self._told):
                return
            self._told.append((request, rule))
            tags = dict(request.current().items())
            self._notices.append(_dear(rule, tags, total, request.calls + 1, call_id, self._now_ns()))
        self._wake()

    @property
    def waits(self) -> bool:
        """Whether there is something to write."""
        return bool(self._notices)

    def write(self) -> None:
        """Bring to the store what was found. What it does not take is kept for the next time."""
        if self._owner != os.getpid():
            self.forked()
        # The outbox's thread and one that flushes may come at once: what one has told the other must not take away.
        with self._writing:
            while self._notices:
                notice = self._notices.popleft()
                try:
                    self._ledger.tell(notice)
                except BaseException as error:
                    self._notices.appendleft(notice)
                    if not isinstance(error, StoreUnavailable):
                        raise
                    log.warning("dear requests are not told of in %s yet: %s", self._ledger.url, error)
                    return


def _dear(  # noqa: PLR0917 - one request, told
    rule: Rule, tags: dict[str, str], nanos: int, calls: int, call_id: str, now_ns: int
) -> Notice:
    cost = show_usd(from_nanos(nanos))
    route = tags.get("route", "a route that is not known")
    found = Finding(
        tags, call_id, f"One request to {route} has cost {cost}",
        f"One request to {route}, for {who(tags)}, has cost {cost} with {calls:,} calls so far, over "
        f"{show_usd(rule.amount)}; its last call is {call_id}.",
        spent=usd(nanos), figures={"calls": calls, "call_id": call_id},
    )  # fmt: skip
    return notice_of(rule, found, now_ns, call_id)
