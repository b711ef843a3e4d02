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

from costguard.alerts.alert import Alert, Channel, RetryLater, Undeliverable
from costguard.alerts.price_alert import alert_of
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger, Parcel

_log = logging.getLogger("costguard.alerts")

_SECOND = 1_000_000_000
LEASE_NS = 60 * _SECOND
"""How long a claimed row is ours, for one channel: far above Slack's time-out of 10 s."""

PATIENCE_NS = 24 * 3600 * _SECOND
"""An alert is tried for a day. What is older when first seen is not told: with the first channel of an
app that ran without any, months of old crossings would pour into it."""

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 900.0
_LOOK_AGAIN = 30.0  # rows that other workers claimed or postponed fall due without anyone telling us
_LINGER = 10.0  # an idle thread ends, so that a forgotten guard does not keep one
_UNTOLD = "!"  # before the name of a channel that can never be told: in `parcel.delivered` beside those that were

_outboxes: WeakSet[Outbox] = WeakSet()


class Outbox:
    """Delivers the outbox rows of a ledger to channels, in a daemon thread of its own.

    channels:  callables of one `Alert`, told one after the other; see `Channel`
    now_ns:    wall clock, nanoseconds since 1970
    pause:     seconds before the next try, of the number of tries so far

    Raises ConfigError for a channel that cannot be called, or that is async.
    """

    def __init__(
        self,
        ledger: Ledger,
        channels: Sequence[Channel],
        *,
        now_ns: Callable[[], int] = time.time_ns,
        pause: Callable[[int], float] | None = None,
    ) -> None:
        self._ledger = ledger
        self._channels = _named(channels)
        self._now_ns = now_ns
        self._pause = pause or _pause
        self._closed = False
        self._sent: dict[str, list[str]] = {}
        self._forget_threads()
        _outboxes.add(self)

    def _forget_threads(self) -> None:
        """At the start, and in a forked child: it has the parent's lock, maybe locked, but not its thread."""
        self._owner = os.getpid()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._due: dict[int, int] = {}
        self._paused: dict[str, int] = {}

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
                pause = self._deliver_due()
                failures = 0
            except Exception as error:  # noqa: BLE001  # the store is away or a row is odd: alerts never end a process
                failures += 1
                pause = self._pause(failures)
                _log.warning("alerts in %s cannot be read, next look in %.0f s: %s", self._ledger.url, pause, error)
            with self._condition:
                self._condition.notify_all()
                if not self._wanted and not self._closed:
                    self._condition.wait(_LINGER if pause is None else pause)
                if self._closed or (pause is None and not self._wanted):
                    if self._thread is threading.current_thread():
                        self._thread = None
                    return

    def _deliver_due(self) -> float | None:
        """Tell what is due; return the seconds to the next look, None if nothing is left.

        One row at a time: a lease over twenty slow ones would run out before the last is told.
        """
        lease = LEASE_NS * len(self._channels)
        while not self._closed:
            now = self._now_ns()
            free = min(self._paused.get(name, 0) for name in self._channels)
            if now < free:
                return (free - now) / _SECOND
            parcels = self._ledger.claim(now, lease_ns=lease, most=1)
            if not parcels:
                break
            for parcel in parcels:
                with self._condition:
                    self._due.pop(parcel.id, None)
                self._deliver(parcel, now + lease)
            with self._condition:
                self._condition.notify_all()
        left = self._ledger.undelivered()
        now = self._now_ns()
        with self._condition:
            self._due = {row: due for row, due in self._due.items() if left and due > now}
            pauses = [(due - now) / _SECOND for due in self._due.values()]
        if left:
            return min(_LOOK_AGAIN, *pauses) if pauses else _LOOK_AGAIN
        self._sent.clear()
        return None

    def _deliver(self, parcel: Parcel, leased_until: int) -> None:
        done = self._sent.setdefault(parcel.key, list(parcel.delivered))
        done.extend(name for name in parcel.delivered if name not in done)
        parcel.delivered[:] = done
        now = self._now_ns()
        if now - parcel.created_ns > PATIENCE_NS:
            self._give_up(parcel, f"not told within {PATIENCE_NS // (3600 * _SECOND)} hours")
            return
        alert: Alert | None = None
        errors: list[str] = []
        wait: float | None = None
        for name, channel in self._channels.items():
            if name in done or _UNTOLD + name in done:
                continue
            now = self._now_ns()
            if now >= leased_until:
                # This process was stopped or the machine slept: the row may be another worker's by now.
                return
            if now < self._paused.get(name, 0):
                errors.append(f"{name}: waits, as it was told to")
                wait = max(wait or 0.0, (self._paused[name] - now) / _SECOND)
                continue
            try:
                alert = alert or alert_of(parcel, self._ledger)
                channel(alert)
            except RetryLater as error:
                errors.append(f"{name}: {error}")
                self._paused[name] = now + int(error.seconds * _SECOND)
                wait = max(wait or 0.0, error.seconds)
            except Undeliverable as error:
                errors.append(f"{name}: {error}")
                _log.error("alert %s cannot be told by %s: %s", parcel.key, name, error)
                done.append(_UNTOLD + name)
            except Exception as error:  # noqa: BLE001  # whatever a channel raises, the other ones are told
                errors.append(f"{name}: {type(error).__name__}: {error}")
                wait = max(wait or 0.0, self._pause(parcel.tries))
            else:
                done.append(name)
                if len(self._channels) > 1:
                    # At once: killed here, this channel is still not told twice.
                    parcel.delivered[:] = done
                    self._ledger.postpone(parcel, leased_until, "being delivered")
        parcel.delivered[:] = done
        if wait is not None:
            self._postpone(parcel, wait, "; ".join(errors))
        elif any(name.startswith(_UNTOLD) for name in done):
            self._give_up(parcel, "; ".join(errors) or "a channel could not be told")
        else:
            self._ledger.delivered(parcel, self._now_ns())
            self._sent.pop(parcel.key, None)

    def _postpone(self, parcel: Parcel, seconds: float, error: str) -> None:
        due = self._now_ns() + int(seconds * _SECOND)
        _log.warning("alert %s is not told yet, next try in %.0f s: %s", parcel.key, seconds, error)
        self._ledger.postpone(parcel, due, error)
        with self._condition:
            self._due[parcel.id] = due

    def _give_up(self, parcel: Parcel, error: str) -> None:
        _log.error("alert %s is given up and stays in %s: %s", parcel.key, self._ledger.url, error)
        self._ledger.give_up(parcel, self._now_ns(), error)
        self._sent.pop(parcel.key, None)


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
