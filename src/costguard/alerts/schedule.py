"""Looks at the alert rules, in the thread that delivers alerts: each rule at its moments, by one worker of all.

A worker that was late, or all of them away, makes up for an hour at most: what is older is no news.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any
from weakref import WeakMethod, WeakSet

from costguard.alerts.rules import Rule, show_size
from costguard.alerts.rules_alert import Finding, notice_of
from costguard.alerts.rules_look import LOCAL, every_ns, look
from costguard.alerts.rules_view import LedgerView, View
from costguard.alerts.rules_watch import Watch
from costguard.budget_set import BudgetSet
from costguard.errors import StoreUnavailable
from costguard.ledger.alert_state import alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.beats import BEAT_NS
from costguard.notice import Notice

log = logging.getLogger("costguard.alerts")

_SECOND = 10**9

GRACE_NS = 30 * _SECOND
"""After a moment, until it is looked at: entries are on their way from the journals of other workers."""

CATCH_UP_NS = 3600 * _SECOND
"""How far back missed moments are looked at."""

LEASE_NS = 240 * _SECOND
"""How long a rule is one worker's: it is over before the next moment, so that a dead one does not keep it."""

DAY_NS = 86400 * _SECOND
KEPT_NS = 35 * DAY_NS
"""How long counts of refusals are kept."""

_WRITE_EVERY = 5.0

_schedules: WeakSet[Schedule] = WeakSet()


class Schedule:
    """The rules of a guard. `rounds` is called by its outbox; it ends with the guard.

    ledger:  of the guard
    budgets: those that rules of budgets look at
    wake:    wakes the outbox
    now_ns:  wall clock, nanoseconds since 1970
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Sequence[Rule],
        budgets: BudgetSet,
        *,
        wake: Callable[[], None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.rules = tuple(rules)
        self._ledger = ledger
        self._budgets = budgets
        # A method of a guard that is forgotten is not called any more, and the outbox may end its thread.
        self._woken: Callable[[], Callable[[], None] | None] = (
            WeakMethod(wake) if isinstance(wake, MethodType) else lambda: wake
        )
        self._now_ns = now_ns
        self._done: dict[str, int] = {}
        self._asked = 0
        self._said: set[str] = set()
        self._wrote = float("-inf")
        self._forgot = 0
        self.watch = Watch(ledger, self.rules, self._wake, now_ns)
        _schedules.add(self)

    def begin(self) -> None:
        """Have the rules looked at from now on."""
        self._wake()

    def _wake(self) -> None:
        wake = self._woken()
        if wake is not None:
            wake()

    def write(self) -> None:
        """Bring what was counted in this process to the store; raises nothing for a store that is away."""
        self.watch.write()

    def rounds(self) -> float | None:
        """Do what is due; in how many seconds to ask again. None when the guard is gone: then never."""
        if self._woken() is None:
            return None
        if self.watch.waits and time.monotonic() - self._wrote >= _WRITE_EVERY:
            self.watch.write()
            self._wrote = time.monotonic()
        now = self._now_ns()
        tick = (now - GRACE_NS) // BEAT_NS * BEAT_NS
        if self._asked < tick:
            view = LedgerView(self._ledger, self._budgets)
            # The journals first: they fill where the others cannot be asked.
            for rule in sorted(self.rules, key=lambda rule: rule.kind not in LOCAL):
                self._safely(rule, view, now)
            self._forget(now)
            self._asked = tick
        later = (tick + BEAT_NS + GRACE_NS - self._now_ns()) / _SECOND
        return max(1.0, min(later, _WRITE_EVERY) if self.watch.waits else later)

    def _safely(self, rule: Rule, view: View, now_ns: int) -> None:
        try:
            if rule.kind in LOCAL:
                self._look_here(rule, now_ns)
            else:
                self._look(rule, view, now_ns)
        except StoreUnavailable:
            raise
        except Exception as error:  # one rule must not keep back the others
            # Once each: the same is found at every look.
            if rule.text not in self._said:
                self._said.add(rule.text)
                log.exception("alert rule %r cannot be looked at: %s", rule.title, error)
        else:
            self._said.discard(rule.text)

    def _look(self, rule: Rule, view: View, now_ns: int) -> None:
        every = every_ns(rule)
        tick = (now_ns - GRACE_NS) // every * every
        if self._done.get(rule.text, 0) >= tick:
            return
        state = alert_state(self._ledger)
        turn = state.claim(rule.text, tick, now_ns, LEASE_NS)
        if turn is None:
            # Another worker has done it, or is at it.
            return
        since = tick - every if turn.first else turn.done_ns
        memory = turn.memory
        # A digest knows itself what is too late; a model is told of that was new in the last day.
        whole = rule.kind in ("digest", "new model")
        first = tick - every if whole else max(since, tick - CATCH_UP_NS)
        for moment in range(first + every, tick + 1, every):
            begin = max(since, tick - DAY_NS) if whole else moment - every
            for notice in look(rule, view, begin, moment, memory):
                self._ledger.tell(notice)
        if state.finish(turn, tick, memory):
            self._done[rule.text] = tick

    def _look_here(self, rule: Rule, now_ns: int) -> None:
        if rule.kind == "journal":
            notice = journal_filling(rule, journal_bytes(self._ledger), now_ns)
            try:
                if notice is not None:
                    self._ledger.tell(notice)
            except StoreUnavailable:
                # Most likely that is why it fills.
                log.error("%s", notice and notice.facts["text"])

    def _forget(self, now_ns: int) -> None:
        if now_ns - self._forgot > DAY_NS:
            self._forgot = now_ns
            alert_state(self._ledger).forget(now_ns - KEPT_NS)

    def forked(self) -> None:
        """In a child, which has no thread: it takes part in the looks."""
        self.watch.forked()
        self._wake()


def journal_filling(rule: Rule, size: int, now_ns: int) -> Notice | None:
    """The alert of a journal of this host that has more waiting than the rule allows: once a day and host."""
    if size < rule.size:
        return None
    host = socket.gethostname()
    found = Finding(
        {"host": host}, str(now_ns // DAY_NS), f"The journal of {host} fills: {show_size(size)} wait",
        f"{size:,} bytes of entries of one process wait on {host} for the store, over {show_size(rule.size)}: it "
        f"cannot be reached, or is too slow. Nothing is lost as long as the disk takes them.",
        figures={"bytes": size, "host": host},
    )  # fmt: skip
    return notice_of(rule, found, now_ns, found.once or "")


def journal_bytes(ledger: Ledger) -> int:
    """How much waits in the journal of this process; 0 without one."""
    layer: Any = ledger
    while layer is not None:
        if "waiting" in vars(type(layer)):
            return int(layer.waiting[1])
        layer = getattr(layer, "inner", None)
    return 0


def _after_fork() -> None:
    for schedule in list(_schedules):
        schedule.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
