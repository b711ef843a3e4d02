"""Refused calls, which are no entries, counted by budget and payer: in the process, and written by a thread.

A call adds one to a number. Whoever is killed loses the refusals of its last seconds.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from weakref import WeakSet

from costguard.errors import StoreUnavailable
from costguard.events import Refused
from costguard.ledger.base import Ledger

log = logging.getLogger("costguard")

BUCKET_NS = 300 * 10**9
"""They are counted for each five minutes."""

MOST = 10_000
"""Payers that are counted apart between two writes; those beyond it are counted together."""

_LONGEST = 2000
"""Bytes of what is counted: an index of PostgreSQL takes 2,704, and tags come from users."""

KEPT_NS = 400 * 86400 * 10**9
"""How long counts are kept: a report may compare with the year before."""

_EVERY, _AGAIN, _LINGER = 2.0, 30.0, 20.0
"""Seconds: between two writes, after one that failed, and until the thread ends that has nothing to write."""

_DAY_NS = 86400 * 10**9

_Pairs = tuple[tuple[str, str], ...]
_Refusal = tuple[int, str, _Pairs, _Pairs]

_all: WeakSet[RefusalCounts] = WeakSet()


class RefusalCounts:
    """Of one guard. What is counted is read by `costguard.ledger.alert_state`, under the name "refused"."""

    def __init__(self, ledger: Ledger, *, now_ns: Callable[[], int] = time.time_ns, every: float = _EVERY) -> None:
        self._ledger = ledger
        self._now_ns = now_ns
        self._every = every
        self._tags: tuple[str, ...] = ("feature", "user")
        self._forgot = 0
        self.forked()
        _all.add(self)

    def also(self, names: Iterable[str]) -> None:
        """Count by these tags as well, from now on."""
        self._tags = tuple(sorted({*self._tags, *names}))

    def forked(self) -> None:
        """In a child, whose parent writes what was counted before."""
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counts: dict[_Refusal, int] = {}
        self._more = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, event: Refused) -> None:
        """One refused call. Quick; asks nothing of the store."""
        if event.observed:
            return
        if self._owner != os.getpid():
            # A server in C may fork without running Python's hooks.
            self.forked()
        budget, value = event.standing.budget, event.call.tags.value
        payer = tuple([(name, value(name)) for name in budget.per])
        bucket = self._now_ns() // BUCKET_NS * BUCKET_NS
        key: _Refusal = (bucket, budget.title, payer, tuple([(name, value(name)) for name in self._tags]))
        with self._lock:
            counts = self._counts
            if len(counts) >= MOST and key not in counts:
                key = (bucket, budget.title, tuple([(name, "others") for name in budget.per]), ())
            counts[key] = counts.get(key, 0) + 1
            if self._thread is None:
                self._begin()
        self._more.set()

    def write(self) -> bool:
        """Bring to the store what was counted; what it does not take is kept for the next time: then False."""
        if self._owner != os.getpid():
            self.forked()
        with self._writing:
            with self._lock:
                counts, self._counts = self._counts, {}
            if not counts:
                return True
            try:
                self._write(counts)
            except Exception as error:  # they are counted beside the calls, which go on
                known = isinstance(error, StoreUnavailable)
                log.warning("refusals are not counted in %s yet: %s", self._ledger.url, error, exc_info=not known)
                with self._lock:
                    for key, number in counts.items():
                        if len(self._counts) < 2 * MOST:
                            self._counts[key] = self._counts.get(key, 0) + number
                return False
            return True

    def _write(self, counts: dict[_Refusal, int]) -> None:
        from costguard.ledger.alert_state import Count, alert_state

        state = alert_state(self._ledger)
        state.count(
            [Count("refused", at, _about(budget, payer, tags), n) for (at, budget, payer, tags), n in counts.items()]
        )
        now = self._now_ns()
        if now - self._forgot > _DAY_NS:
            self._forgot = now
            state.forget(now - KEPT_NS)

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="costguard-refusals", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending: whoever closes the guard writes them
            return
        self._thread = thread

    def _run(self) -> None:
        pause = threading.Event()
        while self._more.wait(_LINGER):
            # Those of some seconds in one transaction.
            pause.wait(self._every)
            self._more.clear()
            if not self.write():
                pause.wait(_AGAIN)
                self._more.set()
        with self._lock:
            self._thread = None
            if self._counts:
                self._begin()


def _about(budget: str, payer: _Pairs, tags: _Pairs) -> str:
    text = _plain(budget, dict(payer), dict(tags))
    if len(text.encode()) > _LONGEST:
        text = _plain(budget, _cut(payer), _cut(tags))
    if len(text.encode()) > _LONGEST:
        text = _plain(budget, dict.fromkeys(dict(payer), "others"), {})
    return text


def _plain(budget: str, payer: dict[str, str], tags: dict[str, str]) -> str:
    told = {"budget": budget, "payer": payer, "tags": tags}
    return json.dumps(told, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _cut(pairs: _Pairs) -> dict[str, str]:
    """Long values as their beginning and a digest, by which they stay apart."""
    return {
        name: value if len(value) <= 32 else f"{value[:24]}…{sha256(value.encode()).hexdigest()[:8]}"
        for name, value in pairs
    }


def _after_fork() -> None:
    for counts in list(_all):
        counts.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
