"""Tells each crossing once, off the request, and tries again until somebody has it.

The rows are in the ledger: they were written in the transaction that crossed the threshold, and a
claim there keeps other workers away. So deliveries survive restarts, and any number of processes share them.
A library for retries (tenacity, stamina) repeats a function inside one process and forgets with it; the pause
here has to outlive the process and to be seen by others, so it is a column of the row.

What cannot be promised by anyone: a channel that took a message and then did not say so (a time-out after
sending, a kill -9 between the answer and its record) is told again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from random import uniform
from weakref import WeakSet

from costguard.alerts.alert import Channel
from costguard.alerts.delivery import Delivery, Outcome
from costguard.alerts.folding import MOST_FOLDED
from costguard.alerts.links import Links
from costguard.alerts.price_alert import alert_of
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger, Parcel
from costguard.notice import Notice

_log = logging.getLogger("costguard.alerts")

_SECOND = 1_000_000_000
LEASE_NS = 60 * _SECOND
"""How long a claimed row is ours, for one channel: far above Slack's time-out of 10 s."""

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 900.0
_LOOK_AGAIN = 30.0  # rows that other workers claimed or postponed fall due without anyone telling us
_LINGER = 10.0  # an idle thread ends, so that a forgotten guard does not keep one

_outboxes: WeakSet[Outbox] = WeakSet()


class Outbox:
    """Delivers the outbox rows of a ledger to channels, in a daemon thread of its own.

    channels:  callables of one `Alert`, told one after the other; see `Channel`
    now_ns:    wall clock, nanoseconds since 1970
    pause:     seconds before the next try, of the number of tries so far
    lease_ns:  how long a claimed row is ours, for one channel
    rounds:    what else is done in this thread before each look, such as the scheduled rules; it answers in how many
               seconds it is to be asked again, None: not by itself. With it the thread lives as long as the outbox
    dashboard: its address, for links in messages; None: no links

    Raises ConfigError for a channel that cannot be called, or that is async.
    """

    def __init__(
        self,
        ledger: Ledger,
        channels: Sequence[Channel],
        *,
        now_ns: Callable[[], int] = time.time_ns,
        pause: Callable[[int], float] | None = None,
        lease_ns: int = LEASE_NS,
        rounds: Callable[[], float | None] | None = None,
        dashboard: str | None = None,
    ) -> None:
        self._links = None if dashboard is None else Links(dashboard)
        self._ledger = ledger
        self._channels = _named(channels)
        self._now_ns = now_ns
        self._pause = pause or _pause
        self._lease_ns = lease_ns * max(1, len(self._channels))
        self._rounds = rounds
        self._closed = False
        self._forget_threads()
        _outboxes.add(self)

    def _forget_threads(self) -> None:
        """At the start, and in a forked child: it has the parent's lock, maybe locked, but not its thread."""
        self._owner = os.getpid()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._delivery = Delivery(self._ledger, self._channels, self._now_ns, self._pause, self._links)
        self._due: dict[int, int] = {}

    def wake(self) -> None:
        """Say that there may be something to tell. Quick, never raises, starts the thread when needed."""
        if not self._channels:
            return
        if self._owner != os.getpid():
            # A server in C may fork without running Python's hooks.
            self._forget_threads()
        with self._condition:
            if self._closed:
                return
            self._wanted = True
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="costguard-outbox", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads, or the interpreter is going down
                    _log.warning("alerts wait in %s: no thread to tell them (%s)", self._ledger.url, error)
                    return
                self._thread = thread
            self._condition.notify_all()

    def flush(self, timeout: float) -> int:
        """Deliver what can be delivered within `timeout` seconds; return how many alerts are left.

        Returns early when everything left waits for a retry that is due later than that.
        Raises StoreUnavailable if the ledger cannot say.
        """
        if not self._channels:
            return 0
        deadline = time.monotonic() + timeout
        deadline_ns = self._now_ns() + int(timeout * _SECOND)
        self.wake()
        while True:
            left = self._ledger.undelivered()
            remaining = deadline - time.monotonic()
            if not left or remaining <= 0 or self._closed:
                return left
            with self._condition:
                later = sum(due > deadline_ns for due in self._due.values())
                if not self._wanted and later >= left:
                    return left
                # Woken by our own thread; other processes deliver without telling us.
                self._condition.wait(min(remaining, 0.1))

    @property
    def held_back(self) -> int:
        """How many alerts of this process wait for nothing but the end of quiet hours."""
        now = self._now_ns()
        return sum(due > now for due in tuple(self._delivery.held_back.values()))

    @property
    def tally(self) -> dict[tuple[str, Outcome], int]:
        """What became of the alerts that this process told, by channel and outcome; counted from its start on.

        told: the channel took it. retried: a try that failed, and is made again. given up: it will never be told.
        """
        return dict(self._delivery.tally)

    def shout(self, notice: Notice) -> None:
        """Tell the channels of something now, each once, where the store is away and nothing can be kept in it."""
        parcel = Parcel(0, notice.key, notice.payload, notice.at_ns, 1)
        alert = alert_of(parcel, self._ledger, tops=False)
        for name, channel in self._channels.items():
            try:
                channel(alert if self._links is None else self._links.onto(alert))
            except Exception as error:  # noqa: BLE001  # the other channels are told
                _log.warning("alert %s is not told by %s: %s", notice.key, name, error)

    def open(self) -> None:
        """Deliver again after `close`. Idempotent; a new outbox is open."""
        if self._closed:
            with self._condition:
                self._closed = False
            self.wake()

    def close(self, timeout: float = 1.0) -> None:
        """Stop the thread after the delivery it is at. What is not told stays in the ledger. Idempotent."""
        with self._condition:
            self._closed = True
            thread, self._thread = self._thread, None
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while True:
            with self._condition:
                self._wanted = False
            try:
                pause = self._look()
                failures = 0
            except Exception as error:  # noqa: BLE001  # the store is away or a row is odd: alerts never end a process
                failures += 1
                pause = self._pause(failures)
                _log.warning("alerts in %s cannot be read, next look in %.0f s: %s", self._ledger.url, pause, error)
            with self._condition:
                self._condition.notify_all()
                if self._goes_on and not self._wanted:
                    self._condition.wait(_LINGER if pause is None else pause)
                if not self._goes_on:
                    return
                if pause is None and not self._wanted:
                    self._thread = None
                    return

    @property
    def _goes_on(self) -> bool:
        """This thread is the one that delivers: not where a channel kept it while the outbox was closed, and opened."""
        return not self._closed and self._thread is threading.current_thread()

    def _look(self) -> float | None:
        """Do the rounds, and tell what is due; return the seconds to the next look, None if nothing is left."""
        again: float | None = None
        if self._rounds is not None:
            try:
                again = self._rounds()
            except Exception as error:  # noqa: BLE001  # what is in the outbox is told, whatever happens to rules
                again = _LOOK_AGAIN
                _log.warning("alert rules cannot be looked at, next look in %.0f s: %s", again, error)
        pause = self._deliver_due()
        return pause if again is None else min(again, pause or again)

    def _deliver_due(self) -> float | None:
        """Tell what is due; return the seconds to the next look, None if nothing is left.

        Only where a channel folds are many rows claimed at once: a lease over twenty slow messages would run out
        before the last is told.
        """
        delivery = self._delivery
        most = MOST_FOLDED if delivery.folds else 1
        if not self._ledger.undelivered():
            # A look, which holds up no writer: most of the time there is nothing.
            delivery.forget()
            with self._condition:
                self._due.clear()
            return None
        delivery.prepare()
        while self._goes_on:
            now = self._now_ns()
            free = min(delivery.paused.get(name, 0) for name in self._channels)
            if now < free:
                return (free - now) / _SECOND
            parcels = self._ledger.claim(now, lease_ns=self._lease_ns, most=most)
            if not parcels:
                break
            with self._condition:
                for parcel in parcels:
                    self._due.pop(parcel.id, None)
                    delivery.held_back.pop(parcel.id, None)
            delivery.due.clear()
            delivery.deliver(parcels, now + self._lease_ns, now + self._lease_ns // 2)
            with self._condition:
                self._due.update(delivery.due)
                self._condition.notify_all()
        left = self._ledger.undelivered()
        now = self._now_ns()
        with self._condition:
            self._due = {row: due for row, due in self._due.items() if left and due > now}
            pauses = [(due - now) / _SECOND for due in self._due.values()]
        if left:
            return min(_LOOK_AGAIN, *pauses) if pauses else _LOOK_AGAIN
        delivery.forget()
        return None


def _pause(tries: int) -> float:
    """Seconds before the next try: doubling, with jitter, so that many workers do not come back at once."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries - 1, 20)) * uniform(0.75, 1.25)


def _named(channels: Sequence[Channel]) -> dict[str, Channel]:
    """Channels by names of their own: with the same name for two, the second would never be told."""
    named: dict[str, Channel] = {}
    for channel in channels:
        if not callable(channel):
            raise ConfigError(
                f"alert channel {str(channel)[:24]!r} is a {type(channel).__name__}, not a callable of an Alert; "
                f"for Slack write alerts=[slack(webhook_url)]"
            )
        if iscoroutinefunction(channel) or iscoroutinefunction(getattr(channel, "__call__", None)):  # noqa: B004
            raise ConfigError(f"alert channel {channel!r} is async; it runs in a thread of its own: write a plain def")
        base = str(getattr(channel, "name", "") or getattr(channel, "__qualname__", "") or type(channel).__qualname__)
        name, number = base, 2
        while name in named:
            name, number = f"{base}#{number}", number + 1
        named[name] = channel
    return named


def _after_fork() -> None:
    for outbox in list(_outboxes):
        outbox._forget_threads()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
