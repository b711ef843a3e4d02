"""Tells claimed rows of the outbox to the channels, and keeps in the ledger who was told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from costguard.alerts.alert import Alert, Channel, RetryLater, Undeliverable
from costguard.alerts.folding import FOLD_FROM, Folded
from costguard.alerts.letter import Letter, told_by
from costguard.alerts.links import Links
from costguard.errors import StoreUnavailable
from costguard.ledger.alert_state import alert_state
from costguard.ledger.base import Ledger, Parcel
from costguard.ledger.marking import Wait, mark
from costguard.ledger.mutes import Mute, muted_by, mutes
from costguard.ledger.parcels import MUTED, UNTOLD
from costguard.ledger.threads import NOTE, Subject, first_told

_log = logging.getLogger("costguard.alerts")

_SECOND = 1_000_000_000

Outcome = Literal["told", "retried", "given up"]

QUIET = "quiet hours"

PATIENCE_NS = 96 * 3600 * _SECOND
"""An alert is tried for four days, longer than a weekend without workers. What is older when first seen is not told:
with the first channel of an app that ran without any, months of old crossings would pour into it."""


class Delivery:
    """Of one process.

    due:    when each row that had to wait is due, by its id; nanoseconds since 1970
    paused: until when a channel that was told too much is left alone, by its name
    held_back: until when, of the rows that nobody failed to tell: their channels hold them back, as it is night
    tally:  how many alerts each channel has told, has not told yet (each try) and can never tell
    """

    def __init__(
        self,
        ledger: Ledger,
        channels: Mapping[str, Channel],
        now_ns: Callable[[], int],
        pause: Callable[[int], float],
        links: Links | None = None,
    ) -> None:
        self._links = links
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
        self.held_back: dict[int, int] = {}
        self.tally: dict[tuple[str, Outcome], int] = {}

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
        self.held_back.clear()
        self._first.clear()

    def deliver(self, parcels: Sequence[Parcel], leased_until: int, begin_by: int) -> None:
        """Tell these rows, which are ours until then. What is not told is postponed, or given up.

        begin_by: nothing is told later, so that what was told can be marked while it is ours
        """
        self._leased_until, self._begin_by = leased_until, begin_by
        now = self._now_ns()
        self._muted = mutes(self._ledger, now_ns=now)
        # What another worker was told counts here, too.
        for name, until in alert_state(self._ledger).pauses(now).items():
            self.paused[name] = max(until, self.paused.get(name, 0))
        letters = [letter for letter in map(self._letter, parcels) if letter is not None]
        if len(letters) >= FOLD_FROM:
            for name in self._folding:
                self._tell_folded(name, letters)
            over = [letter for letter in letters if not any(map(letter.open_to, self._channels))]
            self._close(over)
            letters = [letter for letter in letters if letter not in over]
        late: list[Letter] = []
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

    def _letter(self, parcel: Parcel) -> Letter | None:
        """None for one that is not to be told."""
        told = told_by(parcel)
        # Who was told is never forgotten. Who can never be told only the row says: somebody may have it tried again.
        done = [name for name in self._sent.get(parcel.key, ()) if not name.startswith(UNTOLD)]
        done.extend(name for name in told if name not in done)
        self._sent[parcel.key] = done
        letter = Letter(parcel, done, self._links)
        letter.write()
        if self._now_ns() - parcel.created_ns > PATIENCE_NS:
            self._give_up(letter, f"not told within {PATIENCE_NS // (3600 * _SECOND)} hours")
            return None
        mute = muted_by(self._muted, parcel.payload)
        if mute is not None:
            _log.info("alert %s is not told: %s muted it (%s)", parcel.key, mute.author, mute.what)
            self._end(letter, f"{MUTED}{mute.author}: {mute.what}")
            return None
        return letter

    def _deliver(self, letter: Letter) -> bool:
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
                letter.write()
                return False
            self._tell(name, letter)
        return True

    def _close(self, letters: Sequence[Letter]) -> None:
        """Write down how the delivery of these ended, in one transaction."""
        now = self._now_ns()
        told: list[Parcel] = []
        waiting: list[Wait] = []
        for letter in letters:
            parcel = letter.parcel
            due = letter.close()
            if due is not None:
                waiting.append((parcel, due, "; ".join(letter.errors)))
            elif any(name.startswith(UNTOLD) for name in letter.done):
                self._give_up(letter, "; ".join(letter.errors) or "a channel could not be told")
            else:
                told.append(parcel)
        mark(self._ledger, told, waiting, now)
        for parcel in told:
            self._sent.pop(parcel.key, None)
        asleep = {one.parcel.id for one in letters if one.tried and one.tried <= one.held_back}
        self.held_back |= {parcel.id: due for parcel, due, _ in waiting if parcel.id in asleep}
        for parcel, due, error in waiting:
            self.due[parcel.id] = due
            if parcel.id in asleep:
                _log.info("alert %s is told after quiet hours", parcel.key)
                continue
            _log.warning("alert %s is not told yet, next try in %.0f s: %s", parcel.key, (due - now) / _SECOND, error)

    def _waits(self, name: str, letter: Letter) -> bool:
        now = self._now_ns()
        until = max(letter.waits.pop(name, 0), self.paused.get(name, 0))
        if now < until:
            letter.later(name, until, "waits, as it was told to")
        holds_back = getattr(self._channels[name], "holds_back", None)
        seconds = None if holds_back is None else holds_back(letter.brief(self._ledger))
        if seconds is not None:
            # From the whole second on: all that wait for one moment are due together, and come as one message.
            due = now // _SECOND * _SECOND + int(seconds * _SECOND)
            letter.later(name, max(until, due), QUIET)
            letter.held_back.add(name)
        return now < until or seconds is not None

    def _tell(self, name: str, letter: Letter) -> None:
        try:
            if self._waits(name, letter):
                return
            note = self._say(name, letter)
        except Exception as error:  # noqa: BLE001  # whatever a channel raises, the other ones are told
            self._failed(name, [letter], error)
        else:
            self._told(name, [letter], note)

    def _tell_folded(self, name: str, letters: Sequence[Letter]) -> None:
        """One message of all that may be told now, unless these are so few that each gets its own."""
        some: list[Letter] = []
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
            folded: Alert = Folded.of([letter.brief(self._ledger) for letter in some])
            if self._links is not None:
                folded = self._links.onto(folded)
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

    def _say(self, name: str, letter: Letter) -> str | None:
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

    def _told(self, name: str, letters: Sequence[Letter], note: str | None) -> None:
        self._count(name, "told", letters)
        for letter in letters:
            letter.done.append(name)
            if note is not None:
                letter.done.append(f"{NOTE}{name} {note}")
            letter.write()
        if any(letter.open_to(other) for letter in letters for other in self._channels):
            # At once: killed here, this channel is still not told twice.
            until = self._leased_until
            mark(self._ledger, (), [(letter.parcel, until, "being delivered") for letter in letters], self._now_ns())

    def _failed(self, name: str, letters: Sequence[Letter], error: Exception) -> None:
        now = self._now_ns()
        if isinstance(error, RetryLater):
            due = self.paused[name] = now + int(error.seconds * _SECOND)
            for letter in letters:
                letter.later(name, due, str(error))
            self._count(name, "retried", letters)
            try:
                alert_state(self._ledger).pause(name, due)
            except StoreUnavailable as away:
                _log.warning("only this process knows that %s wants to wait: %s", name, away)
        elif isinstance(error, Undeliverable):
            self._count(name, "given up", letters)
            for letter in letters:
                letter.errors.append(f"{name}: {error}")
                letter.done.append(UNTOLD + name)
                _log.error("alert %s cannot be told by %s: %s", letter.parcel.key, name, error)
        else:
            self._count(name, "retried", letters)
            # The same pause for all of them: they were due together, and stay so.
            due = now + int(self._pause(letters[0].parcel.tries) * _SECOND)
            for letter in letters:
                letter.later(name, due, f"{type(error).__name__}: {error}")

    def _count(self, name: str, outcome: Outcome, letters: Sequence[Letter]) -> None:
        self.tally[name, outcome] = self.tally.get((name, outcome), 0) + len(letters)

    def _give_up(self, letter: Letter, error: str) -> None:
        _log.error("alert %s is given up and stays in %s: %s", letter.parcel.key, self._ledger.url, error)
        for name in self._channels:
            if letter.open_to(name):
                self._count(name, "given up", [letter])
        self._end(letter, error)

    def _end(self, letter: Letter, error: str) -> None:
        self._ledger.give_up(letter.parcel, self._now_ns(), error)
        self._sent.pop(letter.parcel.key, None)
