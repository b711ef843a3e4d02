"""What rules need that no entry shows: refusals, and what one HTTP request cost. Counted in the process, written later.

A call adds one to a number; the thread that delivers alerts brings the numbers to the store.
"""

from __future__ import annotations

import json
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
from costguard.ledger.alert_state import BUCKET_NS, Count, alert_state
from costguard.ledger.base import Ledger
from costguard.money import from_nanos, show_usd, to_nanos
from costguard.notice import Notice
from costguard.tags import Frame

log = logging.getLogger("costguard.alerts")

MOST = 10_000
"""Payers whose refusals are counted apart between two writes; those beyond it are counted together."""

_Refusal = tuple[int, str, str, tuple[tuple[str, str], ...]]


class Watch:
    """A hook of the guard: quick, and it asks nothing of the store.

    wake: called when there is something to write, and was nothing before
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
        self._requests = [(to_nanos(rule.amount), rule) for rule in rules if rule.kind == "request"]
        named = [(*rule.per, *[name for name, _ in rule.where]) for rule in rules if rule.kind == "refusals"]
        self._tags = tuple(sorted({"user", "feature", *[name for names in named for name in names]}))
        self._told: deque[Frame] = deque(maxlen=256)
        self.forked()

    def forked(self) -> None:
        """In a child, whose parent writes what was counted before."""
        self._owner = os.getpid()
        self._lock = Lock()
        self._refused: dict[_Refusal, int] = {}
        self._notices: deque[Notice] = deque(maxlen=1000)

    def __call__(self, event: Settled | Refused | Downgraded) -> None:
        if isinstance(event, Settled):
            if self._requests and event.call is not None and event.call.frame is not None:
                self._settled(event.call.frame, event.entry.nanos or 0, event.call.id)
        elif isinstance(event, Refused) and not event.observed:
            self._refuse(event)

    def _refuse(self, event: Refused) -> None:
        standing = event.standing
        bucket = self._now_ns() // BUCKET_NS * BUCKET_NS
        value = event.call.tags.value
        tags = tuple([(name, value(name)) for name in self._tags])
        key: _Refusal = (bucket, standing.budget.title, standing.payer, tags)
        if self._owner != os.getpid():
            self.forked()
        with self._lock:
            first = not self._refused
            if len(self._refused) >= MOST and key not in self._refused:
                key = (bucket, standing.budget.title, "others", ())
            self._refused[key] = self._refused.get(key, 0) + 1
        if first:
            self._wake()

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
            if total >= most > request.cost and rule.covers(dict(request.tags.items())):
                with self._lock:
                    if any(told is request for told in self._told):
                        continue
                    self._told.append(request)
                    tags = dict(request.current().items())
                    self._notices.append(_dear(rule, tags, total, request.calls + 1, call_id, self._now_ns()))
                self._wake()

    @property
    def waits(self) -> bool:
        """Whether there is something to write."""
        return bool(self._refused or self._notices)

    def write(self) -> None:
        """Bring to the store what was counted. What it does not take is kept for the next time."""
        if self._owner != os.getpid():
            self.forked()
        with self._lock:
            refused, self._refused = self._refused, {}
        try:
            while self._notices:
                self._ledger.tell(self._notices[0])
                self._notices.popleft()
            if refused:
                alert_state(self._ledger).count([_count(key, number) for key, number in refused.items()])
        except StoreUnavailable as error:
            with self._lock:
                for key, number in refused.items():
                    self._refused[key] = self._refused.get(key, 0) + number
            log.warning("refusals are not counted in %s yet: %s", self._ledger.url, error)


def _count(key: _Refusal, number: int) -> Count:
    bucket, budget, payer, tags = key
    pairs = [pair.partition("=") for pair in payer.split(",") if "=" in pair]
    about = {"budget": budget, "payer": {name: value for name, _, value in pairs} or {}, "tags": dict(tags)}
    if payer == "others":
        about["payer"] = {"user": "others"}
    return Count("refused", bucket, json.dumps(about, separators=(",", ":"), sort_keys=True), number)


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
