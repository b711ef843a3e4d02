"""Looks at the alert rules, in the thread that delivers alerts: each rule at its moments, by one worker of all.

A worker that was late, or all of them away, makes up for it: for an hour of what goes on for a time, as what is older
is no news, and for three days of what is so of a window, a call or a model.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from json import dumps
from os import PathLike
from types import MethodType
from typing import Any
from weakref import WeakMethod, WeakSet

from costguard.alerts.rules import Rule, read_rules, show_size
from costguard.alerts.rules_alert import Finding, notice_of
from costguard.alerts.rules_file import RulesFile
from costguard.alerts.rules_look import LOCAL, MISSED_NS, OF_BUDGETS, every_ns, look, missed
from costguard.alerts.rules_view import LedgerView, View
from costguard.alerts.rules_watch import Watch
from costguard.budget_set import BudgetSet
from costguard.errors import StoreUnavailable
from costguard.ledger.alert_state import alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.beats import BEAT_NS
from costguard.ledger.refusal_counts import RefusalCounts
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

POLL = 60.0
"""Seconds between two rounds: what others put into the outbox without telling us (a command, a worker without
channels) is told so much later at most, and a changed file of rules is read."""

_schedules: WeakSet[Schedule] = WeakSet()


class Schedule:
    """The rules of a guard. `rounds` is called by its outbox; it ends with the guard.

    ledger:   of the guard
    rules:    of the app; those of `file` are added
    budgets:  those that rules of budgets look at
    wake:     wakes the outbox
    file:     a TOML file with a table [alerts]
    refusals: counts the refused calls, by the tags that rules name, too
    now_ns:   wall clock, nanoseconds since 1970

    Raises ConfigError for a rule of the file that cannot be read.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Sequence[Rule],
        budgets: BudgetSet,
        *,
        wake: Callable[[], None],
        file: str | PathLike[str] | None = None,
        refusals: RefusalCounts | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._of_app = tuple(rules)
        self._file = None if file is None else RulesFile(file)
        self._ledger = ledger
        self._budgets = budgets
        self._refusals = refusals
        # A method of a guard that is forgotten is not called any more, and the outbox may end its thread.
        self._woken: Callable[[], Callable[[], None] | None] = (
            WeakMethod(wake) if isinstance(wake, MethodType) else lambda: wake
        )
        self._now_ns = now_ns
        self._done: dict[str, int] = {}
        self._asked = 0
        self._said: set[str] = set()
        self.shout: Callable[[Notice], None] | None = None
        self.watch = Watch(ledger, (), self._wake, now_ns)
        self._take(() if self._file is None else self._file.read())
        _schedules.add(self)

    def _take(self, of_file: Sequence[Rule]) -> None:
        self.rules = read_rules([*self._of_app, *of_file])
        self.watch.look_for(self.rules)
        if self._refusals is not None:
            named = [(*rule.per, *[name for name, _ in rule.where]) for rule in self.rules if rule.kind == "refusals"]
            self._refusals.also([name for names in named for name in names])

    def begin(self) -> None:
        """Have the rules looked at from now on."""
        self._wake()

    def _wake(self) -> None:
        wake = self._woken()
        if wake is not None:
            wake()

    def write(self) -> None:
        """Bring what was found in this process to the store; raises nothing for a store that is away."""
        self.watch.write()

    def rounds(self) -> float | None:
        """Do what is due; in how many seconds to ask again. None when the guard is gone: then never."""
        if self._woken() is None:
            return None
        found = None if self._file is None else self._file.changed()
        if found is not None:
            self._take(found)
        if self.watch.waits:
            self.watch.write()
        now = self._now_ns()
        tick = (now - GRACE_NS) // BEAT_NS * BEAT_NS
        if self._asked < tick or found is not None:
            view = LedgerView(self._ledger, self._budgets)
            # The journals first: they fill where the others cannot be asked.
            for rule in sorted(self.rules, key=lambda rule: rule.kind not in LOCAL):
                self._safely(rule, view, now)
            self._asked = tick
        later = (tick + BEAT_NS + GRACE_NS - self._now_ns()) / _SECOND
        return max(1.0, min(later, POLL))

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
        name = self._name(rule)
        if self._done.get(name, 0) >= tick:
            return
        state = alert_state(self._ledger)
        turn = state.claim(name, tick, now_ns, LEASE_NS)
        if turn is None:
            # Another worker has done it, or is at it.
            return
        since = max(tick - every if turn.first else turn.done_ns, tick - MISSED_NS)
        memory = turn.memory
        # These know themselves what fell due since.
        whole = rule.kind in ("digest", "new model")
        first = tick - every if whole else max(since, tick - CATCH_UP_NS)
        begin = since
        for moment in [*missed(rule, since, first), *range(first + every, tick + 1, every)]:
            for notice in look(rule, view, begin, moment, memory):
                self._ledger.tell(notice)
            begin = moment
        if state.finish(turn, tick, memory):
            self._done[name] = tick

    def _name(self, rule: Rule) -> str:
        """What a look is claimed by. Guards that share a store may have budgets of their own: each looks at its own,
        and what two of them find is told once all the same."""
        if rule.kind not in OF_BUDGETS:
            return rule.text
        accounts = sorted({budget.account for budget in self._budgets if not budget.is_local})
        return f"{rule.text} of {sha256(dumps(accounts).encode()).hexdigest()[:16]}"

    def _look_here(self, rule: Rule, now_ns: int) -> None:
        if rule.kind != "journal":
            return
        notice = journal_filling(rule, journal_bytes(self._ledger), now_ns)
        if notice is None or notice.key in self._said:
            return
        try:
            self._ledger.tell(notice)
        except StoreUnavailable:
            # Most likely that is why it fills: the channels are told without an outbox, by each process that sees it.
            log.error("%s", notice.facts["text"])
            if self.shout is not None:
                self.shout(notice)
        self._said.add(notice.key)

    def forked(self) -> None:
        """In a child, which has no thread: it takes part in the looks, if there are rules."""
        self.watch.forked()
        if self.rules:
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
