"""What each HTTP request has cost, counted in the process: a hook for apps that ask for it.

No entry names its request, as each would be a tag set of its own. A request is known by the frame that the middleware
opened for it; when it has made no call for a while it is added to counts by route, feature, environment and size, which
a thread brings to the store. Whoever is killed loses the requests of its last seconds. No cost of a call depends on it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from costguard.errors import StoreUnavailable
from costguard.events import Downgraded, Refused, Settled
from costguard.ledger.base import Ledger
from costguard.ledger.buckets import bucket
from costguard.reports.requests import CALLS, COST, NUMBER, TAGS, UNPRICED
from costguard.tags import Frame

log = logging.getLogger("costguard")


HOUR_NS = 3600 * 10**9
MOST_OPEN = 10_000
"""Requests at once: beyond these the one that was quiet the longest is taken for ended."""

_EVERY = 5.0


class _Open:
    __slots__ = ("calls", "cost", "frame", "last_ns", "started_ns", "unpriced")

    def __init__(self, frame: Frame, now_ns: int) -> None:
        self.frame = frame
        self.started_ns = self.last_ns = now_ns
        self.cost = self.calls = self.unpriced = 0


class RequestCosts:
    """Give it to a guard: `Guard(..., hooks=[RequestCosts()])`; read it with `costguard.reports.requests`.

    quiet: seconds without a call after which a request is taken for ended. Calls that it makes later are counted as a
           request of their own

    A guard that is closed, or whose ASGI server shuts down, counts what is left. Where neither happens call
    `write(ended=True)` before the process ends, or lose its last requests.
    """

    def __init__(self, *, quiet: float = 30.0, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._quiet_ns = int(quiet * 10**9)
        self._now_ns = now_ns
        self._ledger: Ledger | None = None
        self.forked()

    def forked(self) -> None:
        """In a child, whose parent counts what it began."""
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._counts: dict[tuple[int, str, str], int] = {}
        self._more = threading.Event()
        self._thread: threading.Thread | None = None

    def attached(self, guard: Any) -> None:
        """A guard took it: its ledger keeps the counts."""
        self._ledger = guard.ledger

    def __call__(self, event: Settled | Refused | Downgraded) -> None:
        if not isinstance(event, Settled) or event.call is None or event.call.frame is None:
            return
        frame = request_of(event.call.frame)
        if frame is None:
            return
        if self._owner != os.getpid():
            self.forked()
        now = self._now_ns()
        with self._lock:
            found = self._open.get(id(frame))
            if found is None:
                found = self._open[id(frame)] = _Open(frame, now)
                if len(self._open) > MOST_OPEN:
                    self._count(self._open.popitem(last=False)[1])
            self._open.move_to_end(id(frame))
            found.last_ns = now
            found.calls += event.entry.attempts > 0
            if event.entry.nanos is None:
                found.unpriced += 1
            else:
                found.cost += event.entry.nanos
            if self._thread is None:
                self._begin()
        self._more.set()

    def closing(self) -> None:
        """The guard is closed: what is open has ended."""
        self.write(ended=True)

    def write(self, *, ended: bool = False) -> bool:
        """Bring the requests that ended to the store, all of them if they have; False: it does not take them now."""
        if self._owner != os.getpid():
            self.forked()
        with self._lock:
            quiet = self._now_ns() - self._quiet_ns
            while self._open:
                oldest = next(iter(self._open.values()))
                if not ended and oldest.last_ns > quiet:
                    break
                self._count(self._open.popitem(last=False)[1])
            counts, self._counts = self._counts, {}
        if not counts or self._ledger is None:
            return True
        from costguard.ledger.alert_state import Count, alert_state

        try:
            alert_state(self._ledger).count([Count(name, at, about, n) for (at, name, about), n in counts.items()])
        except Exception as error:  # they are counted beside the calls, which go on
            known = isinstance(error, StoreUnavailable)
            log.warning("requests are not counted in %s yet: %s", self._ledger.url, error, exc_info=not known)
            with self._lock:
                for key, number in counts.items():
                    if key in self._counts or len(self._counts) < MOST_OPEN:
                        self._counts[key] = self._counts.get(key, 0) + number
            return False
        return True

    def _count(self, one: _Open) -> None:
        tags = one.frame.current()
        about = {"tags": {name: tags.value(name) for name in TAGS}}
        at = one.started_ns // HOUR_NS * HOUR_NS
        of_size = _text({**about, "size": bucket(one.cost)})
        for name, subject, number in (
            (NUMBER, of_size, 1),
            (COST, _text(about), one.cost),
            (CALLS, _text(about), one.calls),
            (UNPRICED, _text(about), one.unpriced),
        ):
            if number:
                self._counts[at, name, subject] = self._counts.get((at, name, subject), 0) + number

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="costguard-requests", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending
            return
        self._thread = thread

    def _run(self) -> None:
        pause = threading.Event()
        while self._more.wait(60.0):
            pause.wait(_EVERY)
            self.write()
            with self._lock:
                if not self._open and not self._counts:
                    self._more.clear()
        with self._lock:
            self._thread = None
            if self._more.is_set():
                self._begin()


def request_of(frame: Frame) -> Frame | None:
    """The outermost frame that a middleware opened; None outside of a request."""
    found: Frame | None = None
    each: Frame | None = frame
    while each is not None:
        if each.block is None and each.route is not None:
            found = each
        each = each.parent
    return found


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
