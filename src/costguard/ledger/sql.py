"""The ledger in a SQL database: prepared statements with the condition inside, in short transactions.

Written once for every database; what differs between them is a `Driver`. Reads for people go through
SQLAlchemy (`queries`), which is loaded at the first of them: the verbs of a call do without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costguard.budgets import Budget, Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.balances import Balances, write_keys
from costguard.ledger.base import Parcel, Refusal, Sum
from costguard.ledger.dictionary import MOST, Dictionary
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.holds import Holds
from costguard.ledger.outbox import Outbox
from costguard.ledger.record import COLUMNS, INSERT, LOST, PENDING, call_key, write_entry
from costguard.ledger.room import accounts, ordered, room

_OPEN_ENDS = ("lost", "pending")


class SqlLedger:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._dictionary = Dictionary(driver)
        self._outbox = Outbox(driver)
        self._balances = Balances(driver, self._outbox)
        self._holds = Holds(driver, self._balances)
        self._known: dict[str, Budget] = {}
        self._insert = driver.text(INSERT)
        self._replace = driver.text(
            f"UPDATE costguard_entries SET {', '.join(f'{name} = ?' for name in COLUMNS)} "
            f"WHERE call_id = ? AND status IN ({PENDING}, {LOST})"
        )
        self._charged = driver.text(
            f"SELECT cost, keys FROM costguard_entries WHERE call_id = ? AND status IN ({PENDING}, {LOST})"
            + driver.for_update
        )

    @property
    def url(self) -> str:
        return self._driver.url

    def open(self) -> None:
        self._driver.open()

    def close(self) -> None:
        self._driver.close()
        # The next one to open may find another database in its place.
        self._dictionary.forget()
        self._known.clear()

    def reserve(self, hold: Hold, now_ns: int, *, alone: bool = False) -> Refusal | None:
        limits = accounts(ordered(hold.limits))
        known = self._known
        unknown = [limit for limit in limits if known.get(limit.key) is not limit.budget]
        call = hold.call
        row = [
            call_key(call.id),
            hold.amount,
            hold.expires_ns // 1000,
            call.started_ns // 1000,
            self._dictionary.model(call.provider, call.model, call.operation),
            self._dictionary.tags(call.tags),
            int(call.streamed),
            write_keys(limits),
        ]
        if not self._reserve_at_once(row, limits, unknown):
            found = self._driver.transact(self._reserve_or_refuse, row, limits, alone=False)
            if isinstance(found, Refusal):
                lost = self._driver.read(self._holds.expired, now_ns, on=limits)
                if lost:
                    self._driver.transact(self._holds.charge, lost, now_ns)
                if lost or alone:
                    found = self._driver.transact(self._reserve_or_refuse, row, limits, alone=alone)
            if isinstance(found, Refusal):
                return found
            hold.amount = found
        if unknown:
            if len(known) > MOST:
                known.clear()
            known.update([(limit.key, limit.budget) for limit in unknown])
        return None

    def _reserve_at_once(self, row: Sequence[Any], limits: list[Limit], unknown: list[Limit]) -> bool:
        shortcut = self._driver.shortcut
        if shortcut is not None:
            return shortcut.reserve(row, limits, unknown)
        try:
            self._driver.transact(self._reserve, row, limits, unknown)
        except _NoRoomError:
            return False
        return True

    def _reserve(self, execute: Execute, row: Sequence[Any], limits: list[Limit], unknown: list[Limit]) -> None:
        if not self._holds.add(execute, row):
            return
        if unknown:
            self._balances.know(execute, unknown)
        for limit in limits:
            if not self._balances.take(execute, limit, row[1]):
                raise _NoRoomError

    def _reserve_or_refuse(
        self, execute: Execute, row: list[Any], limits: list[Limit], *, alone: bool
    ) -> int | Refusal:
        """The same where there seemed to be no room: the locks first, then the decision."""
        known = self._holds.amount(execute, row[0])
        if known is not None:
            return known
        self._balances.know(execute, limits)
        balances = self._balances.read(execute, limits, lock=True)
        standings = [(limit, *balance) for limit, balance in zip(limits, balances, strict=True)]
        found = room(standings, row[1], alone=alone)
        if not isinstance(found, Refusal) and self._holds.add(execute, [row[0], found, *row[2:]]):
            self._balances.move(execute, limits, found, 0, 0)
        return found

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        limits = None if hold is None else ordered(hold.limits)
        row = write_entry(
            entry,
            self._dictionary.model(entry.provider, entry.model, entry.operation),
            self._dictionary.tags(entry.tags),
            self._dictionary.price(entry.rates),
            write_keys(limits or ()) if entry.status in _OPEN_ENDS else None,
        )
        # A background response is entered under the provider's id, its hold under the call's.
        held_as = row[0] if hold is None or hold.call.id == entry.call_id else call_key(hold.call.id)
        shortcut = self._driver.shortcut
        if shortcut is not None and shortcut.settle(row, held_as, limits):
            return ()
        return self._driver.transact(self._settle, entry, limits, row, held_as)

    def _settle(
        self, execute: Execute, entry: Entry, limits: Sequence[Limit] | None, row: tuple[Any, ...], held_as: bytes
    ) -> tuple[Crossing, ...] | None:
        call_id = row[0]
        cost = entry.nanos or 0
        charged = None
        if execute(self._insert, row).rowcount != 1:
            if entry.status in _OPEN_ENDS:
                return None
            charged = execute(self._charged, (call_id,)).fetchone()
            # The condition is in the UPDATE as well: of two who bring the truth, one replaces.
            if charged is None or execute(self._replace, (*row, call_id)).rowcount != 1:
                return None
        freed = self._holds.take_away(execute, held_as)
        if charged is not None and charged[1]:
            cost -= charged[0] or 0
            limits = self._balances.limits(execute, charged[1], limits or ())
        elif limits is None and freed is not None:
            # Settled by one who does not know the hold, such as a journal after a crash.
            limits = self._balances.limits(execute, freed[1])
            if entry.status in _OPEN_ENDS:
                execute(self._replace, (*row[:-1], freed[1], call_id))
        return self._balances.move(
            execute, limits or (), -freed[0] if freed else 0, cost, entry.at_ns + entry.duration_ns
        )

    def release(self, hold: Hold) -> bool:
        return self._driver.transact(self._release, call_key(hold.call.id), ordered(hold.limits))

    def _release(self, execute: Execute, call_id: bytes, limits: Sequence[Limit]) -> bool:
        freed = self._holds.take_away(execute, call_id)
        if freed is None:
            return False
        self._balances.move(execute, limits, -freed[0], 0, 0)
        return True

    def tell(self, crossing: Crossing) -> bool:
        return self._driver.transact(self._outbox.add, crossing)

    def expire(self, now_ns: int) -> list[Entry]:
        charged: list[Entry] = []
        while lost := self._driver.read(self._holds.expired, now_ns):
            charged += self._driver.transact(self._holds.charge, lost, now_ns)
        return charged

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        return self._driver.read(self._balances.read, limits)

    def entries(
        self,
        tags: Mapping[str, str],
        *,
        model: str | None = None,
        provider: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
    ) -> list[Entry]:
        from costguard.ledger import queries

        with self._driver.reading() as connection:
            return queries.entries(
                connection, tags, model=model, provider=provider, since_ns=since_ns, until_ns=until_ns, limit=limit
            )

    def spent(self, tags: Mapping[str, str], *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        from costguard.ledger import queries

        with self._driver.reading() as connection:
            return queries.spent(connection, tags, since_ns, until_ns)

    def sums(
        self,
        by: Sequence[str],
        tags: Mapping[str, str],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        from costguard.ledger import queries

        with self._driver.reading() as connection:
            return queries.sums(connection, by, tags, since_ns, until_ns)

    def retain(self, before_ns: int) -> int:
        return self._driver.retain(before_ns // 1000)

    def claim(self, now_ns: int, *, lease_ns: int, most: int = 20) -> list[Parcel]:
        return self._outbox.claim(now_ns, lease_ns, most)

    def delivered(self, parcel: Parcel, now_ns: int) -> None:
        self._outbox.delivered(parcel, now_ns)

    def postpone(self, parcel: Parcel, until_ns: int, error: str) -> None:
        self._outbox.postpone(parcel, until_ns, error)

    def give_up(self, parcel: Parcel, now_ns: int, error: str) -> None:
        self._outbox.give_up(parcel, now_ns, error)

    def undelivered(self) -> int:
        return self._outbox.undelivered()


class _NoRoomError(Exception):
    """Takes a transaction back; another one finds out why, and charges what expired."""
