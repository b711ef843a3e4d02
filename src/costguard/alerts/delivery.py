"""Tells claimed rows of the outbox to the channels, and keeps in the ledger who was told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from costguard.alerts.alert import Alert, Channel, RetryLater, Undeliverable
from costguard.alerts.folding import FOLD_FROM, Folded
from costguard.alerts.price_alert import alert_of
from costguard.ledger.base import Ledger, Parcel
from costguard.ledger.marking import Wait, mark
from costguard.ledger.mutes import Mute, muted_by, mutes
from costguard.ledger.threads import NOTE, Subject, first_told

_log = logging.getLogger("costguard.alerts")

_SECOND = 1_000_000_000

PATIENCE_NS = 24 * 3600 * _SECOND
"""An alert is tried for a day. What is older when first seen is not told: with the first channel of an
app that ran without any, months of old crossings would pour into it."""

UNTOLD = "!"
"""Before the name of a channel that can never be told: in `parcel.delivered` beside those that were."""


class _Letter:
    """A row on its way: who was told, what went wrong, and the longest time that some channel wants to wait."""

    def __init__(self, parcel: Parcel, done: list[str]) -> None:
        self.parcel = parcel
        self.done = done
        self.errors: list[str] = []
        self.wait: float | None = None
        self.tried: set[str] = set()
        self._alert: Alert | None = None

    def alert(self, ledger: Ledger) -> Alert:
        if self._alert is None:
            self._alert = alert_of(self.parcel, ledger)
        return self._alert

    def brief(self, ledger: Ledger) -> Alert:
        """Without what only a message of its own shows, and what has to be looked for in many entries."""
        return self._alert or alert_of(self.parcel, ledger, tops=False)

    def open_to(self, name: str) -> bool:
        return name not in self.done and UNTOLD + name not in self.done and name not in self.tried

    def later(self, name: str, seconds: float, why: str) -> None:
        self.tried.add(name)
        self.errors.append(f"{name}: {why}")
        self.wait = max(self.wait or 0.0, seconds)


class Delivery:
    """Of one process. `due` is when each row that had to wait is due, by its id; nanoseconds since 1970."""

    def __init__(
        self,
        ledger: Ledger,
        channels: Mapping[str, Channel],
        now_ns: Callable[[], int],
        pause: Callable[[int], float],
    ) -> None:
        self._ledger = ledger
        self._channels = channels
        self._folding = [name for name, channel in channels.items() if getattr(channel, "folds", False)]
        self._now_ns = now_ns
        self._pause = pause
        self._muted: list[Mute] = []
        self._sent: dict[str, list[str]] = {}
        self._first: dict[tuple[str, str, str], str] = {}
        self._leased_until = self._begin_by = 0
        self.due: dict[int, int] = {}
        self.paused: dict[str, int] = {}

    @property
    def folds(self) -> bool:
        return bool(self._folding)

    def prepare(self) -> None:
        """Before anything is claimed: what takes long the first time, such as loading a package."""
        for channel in self._channels.values():
            prepare = getattr(channel, "prepare", None)
            if prepare is not None:
                prepare()

    def forget(self) -> None:
        """Everything is told: who was told of what is in the ledger."""
        self._sent.clear()
        self._first.clear()

    def deliver(self, parcels: Sequence[Parcel], leased_until: int, begin_by: int) -> None:
        """Tell these rows, which are ours until then. What is not told is postponed, or given up.

        begin_by: nothing is told later, so that what was told can be marked while it is ours
        """
        self._leased_until, self._begin_by = leased_until, begin_by
        self._muted = mutes(self._ledger, now_ns=self._now_ns())
        letters = [letter for letter in map(self._letter, parcels) if letter is not None]
        if len(letters) >= FOLD_FROM:
            for name in self._folding:
                self._tell_folded(name, letters)
            over = [letter for letter in letters if not any(map(letter.open_to, self._channels))]
            self._close(over)
            letters = [letter for letter in letters if letter not in over]
        late: list[_Letter] = []
        for letter in letters:
            if self._deliver(letter):
                self._close([letter])
            else:
                late.append(letter)
        now = self._now_ns()
        if late and now < leased_until:
            # Slow channels, or a slow store: whoever claims them next has time for them. Later than that this process
            # was stopped, or the machine slept, and the rows may be another worker's.
            mark(self._ledger, (), [(letter.parcel, now, "not reached in time") for letter in late], now)

    def _letter(self, parcel: Parcel) -> _Letter | None:
        """None for one that is not to be told."""
        done = self._sent.setdefault(parcel.key, list(parcel.delivered))
        done.extend(name for name in parcel.delivered if name not in done)
        parcel.delivered[:] = done
        letter = _Letter(parcel, done)
        if self._now_ns() - parcel.created_ns > PATIENCE_NS:
            self._give_up(letter, f"not told within {PATIENCE_NS // (3600 * _SECOND)} hours")
            return None
        mute = muted_by(self._muted, parcel.payload)
        if mute is not None:
            _log.info("alert %s is not told: %s muted it (%s)", parcel.key, mute.author, mute.what)
            self._end(letter, f"muted by {mute.author}: {mute.what}")
            return None
        return letter

    def _deliver(self, letter: _Letter) -> bool:
        """Tell one row to the channels that lack it; False if there was no time for all of them."""
        open_to = [name for name in self._channels if letter.open_to(name)]
        try:
            # First of all, as it asks the store, which may take its time.
            letter.alert(self._ledger)
        except Exception as error:  # noqa: BLE001  # an odd row must not keep the others back
            for name in open_to:
                self._failed(name, [letter], error)
            return True
        for name in open_to:
            if self._now_ns() >= self._begin_by:
                letter.parcel.delivered[:] = letter.done
                return False
            self._tell(name, letter)
        return True

    def _close(self, letters: Sequence[_Letter]) -> None:
        """Write down how the delivery of these ended, in one transaction."""
        now = self._now_ns()
        told: list[Parcel] = []
        waiting: list[Wait] = []
        for letter in letters:
            parcel = letter.parcel
            parcel.delivered[:] = letter.done
            if letter.wait is not None:
                waiting.append((parcel, now + int(letter.wait * _SECOND), "; ".join(letter.errors)))
            elif any(name.startswith(UNTOLD) for name in letter.done):
                self._give_up(letter, "; ".join(letter.errors) or "a channel could not be told")
            else:
                told.append(parcel)
        mark(self._ledger, told, waiting, now)
        for parcel in told:
            self._sent.pop(parcel.key, None)
        for parcel, due, error in waiting:
            _log.warning("alert %s is not told yet, next try in %.0f s: %s", parcel.key, (due - now) / _SECOND, error)
            self.due[parcel.id] = due

    def _waits(self, name: str, letter: _Letter) -> bool:
        now = self._now_ns()
        if now < self.paused.get(name, 0):
            letter.later(name, (self.paused[name] - now) / _SECOND, "waits, as it was told to")
            return True
        holds_back = getattr(self._channels[name], "holds_back", None)
        if holds_back is not None:
            seconds = holds_back(letter.brief(self._ledger))
            if seconds is not None:
                letter.later(name, seconds, "quiet hours")
                return True
        return False

    def _tell(self, name: str, letter: _Letter) -> None:
        try:
            if self._waits(name, letter):
                return
            note = self._say(name, letter)
        except Exception as error:  # noqa: BLE001  # whatever a channel raises, the other ones are told
            self._failed(name, [letter], error)
        else:
            self._told(name, [letter], note)

    def _tell_folded(self, name: str, letters: Sequence[_Letter]) -> None:
        """One message of all that may be told now, unless these are so few that each gets its own."""
        some: list[_Letter] = []
        for letter in letters:
            if letter.open_to(name):
                try:
                    if not self._waits(name, letter):
                        some.append(letter)
                except Exception as error:  # noqa: BLE001  # as above
                    self._failed(name, [letter], error)
        if len(some) < FOLD_FROM:
            return
        try:
            folded = Folded.of([letter.brief(self._ledger) for letter in some])
            if self._now_ns() >= self._begin_by:
                return
            self._channels[name](folded)
        except Undeliverable as error:
            # It may be this message that is refused: each alert then goes alone.
            _log.warning("%d alerts cannot be told by %s in one message: %s", len(some), name, error)
        except Exception as error:  # noqa: BLE001  # as above
            self._failed(name, some, error)
        else:
            self._told(name, some, None)

    def _say(self, name: str, letter: _Letter) -> str | None:
        """Tell one alert, below the first message of its thread if there is one; what the channel said of it."""
        channel: Any = self._channels[name]
        alert = letter.alert(self._ledger)
        subject = Subject.of(alert.key) if getattr(channel, "threads", False) else None
        if subject is None:
            channel(alert)
            return None
        thread = (name, subject.account, subject.window)
        first = self._first.get(thread) or first_told(self._ledger, alert.key, name)
        if first is not None:
            self._first[thread] = first
            channel.reply(alert, first)
            return None
        word = channel(alert)
        if not isinstance(word, str) or not word:
            return None
        self._first[thread] = word
        return word

    def _told(self, name: str, letters: Sequence[_Letter], note: str | None) -> None:
        for letter in letters:
            letter.done.append(name)
            if note is not None:
                letter.done.append(f"{NOTE}{name} {note}")
            letter.parcel.delivered[:] = letter.done
        if any(letter.open_to(other) for letter in letters for other in self._channels):
            # At once: killed here, this channel is still not told twice.
            until = self._leased_until
            mark(self._ledger, (), [(letter.parcel, until, "being delivered") for letter in letters], self._now_ns())

    def _failed(self, name: str, letters: Sequence[_Letter], error: Exception) -> None:
        if isinstance(error, RetryLater):
            self.paused[name] = self._now_ns() + int(error.seconds * _SECOND)
            for letter in letters:
                letter.later(name, error.seconds, str(error))
        elif isinstance(error, Undeliverable):
            for letter in letters:
                letter.errors.append(f"{name}: {error}")
                letter.done.append(UNTOLD + name)
                _log.error("alert %s cannot be told by %s: %s", letter.parcel.key, name, error)
        else:
            # The same pause for all of them: they were due together, and stay so.
            seconds = self._pause(letters[0].parcel.tries)
            for letter in letters:
                letter.later(name, seconds, f"{type(error).__name__}: {error}")

    def _give_up(self, letter: _Letter, error: str) -> None:
        _log.error("alert %s is given up and stays in %s: %s", letter.parcel.key, self._ledger.url, error)
        self._end(letter, error)

    def _end(self, letter: _Letter, error: str) -> None:
        self._ledger.give_up(letter.parcel, self._now_ns(), error)
        self._sent.pop(letter.parcel.key, None)
