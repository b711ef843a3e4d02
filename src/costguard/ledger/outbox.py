"""The statements of the outbox: crossings to tell people, each delivered once."""

from __future__ import annotations

import json

from costguard.ledger.base import Parcel
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.payload import crossing_payload, is_over, settled_before
from costguard.notice import News

WAITING, DELIVERED, GIVEN_UP = 0, 1, 2
"""The values of `outbox.state`."""

_MOST_OF_AN_ERROR = 500

_MOST_FORGOTTEN = 1000
"""Parcels looked at in one transaction, so that it stays a short one."""


class Outbox:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        text = driver.text
        self._add = text(
            "INSERT INTO costguard_outbox (key, payload, created) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
        )
        self._claim = text(
            "UPDATE costguard_outbox SET due = ?, tries = tries + 1 WHERE id IN (SELECT id FROM costguard_outbox "
            f"WHERE state = {WAITING} AND due <= ? ORDER BY id LIMIT ?{driver.skip_locked}) "
            "RETURNING id, key, payload, created, tries, delivered"
        )
        # Claimed anew by another worker, after this one's lease had ended: its word counts, unless the
        # message was delivered, which nobody can undo.
        self._postpone = text(
            "UPDATE costguard_outbox SET due = ?, delivered = ?, error = ? "
            f"WHERE id = ? AND tries = ? AND state = {WAITING}"
        )
        self._finish = text(
            "UPDATE costguard_outbox SET state = ?, finished = ?, delivered = ?, error = ? WHERE id = ? AND state <= ?"
        )
        self._ended = text(
            "SELECT id, payload FROM costguard_outbox "
            f"WHERE state <> {WAITING} AND finished < ? AND id > ? ORDER BY id LIMIT {_MOST_FORGOTTEN}"
        )
        self._forget = text(f"DELETE FROM costguard_outbox WHERE id = ? AND state <> {WAITING}")
        self._undelivered = text(f"SELECT count(*) FROM costguard_outbox WHERE state = {WAITING}")

    def add(self, execute: Execute, crossing: News) -> bool:
        """In the running transaction; False if there ever was one with this key."""
        payload = json.dumps(crossing_payload(crossing), separators=(",", ":"))
        return execute(self._add, (crossing.key, payload, crossing.at_ns // 1000)).rowcount == 1

    def claim(self, now_ns: int, lease_ns: int, most: int) -> list[Parcel]:
        values = ((now_ns + lease_ns) // 1000, now_ns // 1000, most)
        rows = self._driver.transact(lambda execute: execute(self._claim, values).fetchall())
        return [
            Parcel(number, key, json.loads(payload), created * 1000, tries, json.loads(delivered))
            for number, key, payload, created, tries, delivered in sorted(rows)
        ]

    def delivered(self, parcel: Parcel, now_ns: int) -> None:
        self._end(parcel, DELIVERED, now_ns, None, over=GIVEN_UP)

    def give_up(self, parcel: Parcel, now_ns: int, error: str) -> None:
        self._end(parcel, GIVEN_UP, now_ns, error, over=WAITING)

    def _end(self, parcel: Parcel, state: int, now_ns: int, error: str | None, *, over: int) -> None:
        told = json.dumps(parcel.delivered)
        values = (state, now_ns // 1000, told, error and error[:_MOST_OF_AN_ERROR], parcel.id, over)
        self._driver.transact(lambda execute: execute(self._finish, values))

    def postpone(self, parcel: Parcel, until_ns: int, error: str) -> None:
        told = json.dumps(parcel.delivered)
        values = (until_ns // 1000, told, error[:_MOST_OF_AN_ERROR], parcel.id, parcel.tries)
        self._driver.transact(lambda execute: execute(self._postpone, values))

    def forget(self, before_ns: int) -> None:
        """Forget the crossings that were told, or given up, before that month (UTC), and whose windows ended before."""
        before_ns, last = settled_before(before_ns), 0
        while last := self._driver.transact(self._forget_some, before_ns, last):
            pass

    def _forget_some(self, execute: Execute, before_ns: int, last: int) -> int:
        """The id of the last one that was looked at, 0 if there was none after `last`."""
        rows = execute(self._ended, (before_ns // 1000, last)).fetchall()
        for number, payload in rows:
            if is_over(json.loads(payload), before_ns):
                execute(self._forget, (number,))
        return int(rows[-1][0]) if rows else 0

    def undelivered(self) -> int:
        return int(self._driver.read(lambda execute: execute(self._undelivered, ()).fetchone()[0]))
