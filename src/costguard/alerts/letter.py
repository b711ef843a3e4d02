"""A row of the outbox on its way to the channels."""

from __future__ import annotations

from collections.abc import Sequence

from costguard.alerts.alert import Alert
from costguard.alerts.links import Links
from costguard.alerts.price_alert import alert_of
from costguard.ledger.base import Ledger, Parcel
from costguard.ledger.parcels import UNTOLD

WAITS = "~"
"""Before the name of a channel that is not to be told before a time: "~name microseconds since 1970", in
`parcel.delivered` beside those that were told. So one that waits long keeps no other back, in any worker."""


class Letter:
    """Who was told, what went wrong, and until when (nanoseconds since 1970) which channels wait; `held_back` are
    those of them that hold it back themselves."""

    def __init__(self, parcel: Parcel, done: list[str], links: Links | None) -> None:
        self.parcel = parcel
        self.done = done
        self.errors: list[str] = []
        self.waits = {name: int(due) * 1000 for name, due in _waiting(parcel.delivered)}
        self.tried: set[str] = set()
        self.held_back: set[str] = set()
        self._links = links
        self._alert: Alert | None = None

    def alert(self, ledger: Ledger) -> Alert:
        if self._alert is None:
            self._alert = self._linked(alert_of(self.parcel, ledger))
        return self._alert

    def brief(self, ledger: Ledger) -> Alert:
        """Without what only a message of its own shows, and what has to be looked for in many entries."""
        return self._alert or self._linked(alert_of(self.parcel, ledger, tops=False))

    def _linked(self, alert: Alert) -> Alert:
        return alert if self._links is None else self._links.onto(alert, self.parcel.id)

    def open_to(self, name: str) -> bool:
        return name not in self.done and UNTOLD + name not in self.done and name not in self.tried

    def later(self, name: str, due_ns: int, why: str) -> None:
        if name not in self.tried:
            self.errors.append(f"{name}: {why}")
        self.tried.add(name)
        self.waits[name] = due_ns

    def write(self) -> None:
        """What is known of its channels, into the row."""
        self.parcel.delivered[:] = [*self.done, *[f"{WAITS}{name} {due // 1000}" for name, due in self.waits.items()]]

    def close(self) -> int | None:
        """The same at the end of a delivery; when it is due again, None if no channel waits."""
        # Not those of channels that are no more.
        waits = {name: due for name, due in self.waits.items() if name in self.tried}
        due = min(waits.values(), default=None)
        # Those that wait the shortest need no mark: the row is not claimed earlier.
        self.waits = {name: until for name, until in waits.items() if until != due}
        self.write()
        return due


def told_by(parcel: Parcel) -> list[str]:
    """What is written in a row of its channels, without until when they wait."""
    return [told for told in parcel.delivered if not told.startswith(WAITS)]


def _waiting(delivered: Sequence[str]) -> list[list[str]]:
    return [told.removeprefix(WAITS).rsplit(" ", 1) for told in delivered if told.startswith(WAITS)]
