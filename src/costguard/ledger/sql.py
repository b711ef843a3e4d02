"""The ledger in a SQL database: prepared statements with the condition inside, in short transactions.

Written once for every database; what differs between them is a `Driver`. Reads for people go through
SQLAlchemy (`queries`), which is loaded at the first of them: the verbs of a call do without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from costguard.adjustment import Adjustment
from costguard.budgets import Budget, Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.balances import Balances
from costguard.ledger.base import Lease, Parcel, Refusal
from costguard.ledger.deeds import Adjusted, Deed
from costguard.ledger.dictionary import MOST, Dictionary
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.figures import Order, Percentiles, Sum, Wanted, Where
from costguard.ledger.holds import Holds
from costguard.ledger.keys import held_keys
from costguard.ledger.moves import Moves
from costguard.ledger.outbox import Outbox
from costguard.ledger.record import call_key
from costguard.ledger.rollups import Rolls
from costguard.ledger.room import accounts, amounts, lower, ordered, reached, room
from costguard.ledger.settling import Settling
from costguard.ledger.sql_adjusting import Adjusting
from costguard.ledger.told import Told
from costguard.notice import News

if TYPE_CHECKING:
    from costguard.ledger.audit import Audit
    from costguard.ledger.rollups_upkeep import Progress, RollupAudit


class SqlLedger:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._dictionary = Dictionary(driver)
        self._outbox = Outbox(driver)
        self._balances = Balances(driver, self._outbox)
        self._holds = Holds(driver, self._balances, self._rolls)
        self._known: dict[str, Budget] = {}
        self.told = Told()
        self._settling = Settling(driver, self._dictionary, self._holds, self._balances, self._rolls)
        self._adjusting = Adjusting(driver, self._dictionary, self._balances, self._outbox, self._rolls)

    def _rolls(self, execute: Execute) -> Rolls:
        return Rolls(partial(self._dictionary.group_of, execute))

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
            held_keys(hold, limits),
        ]
        if not self._reserve_at_once(hold, row, limits, unknown):
            found = self._driver.transact(self._reserve_or_refuse, hold, row, limits, alone=False)
            if isinstance(found, Refusal):
                lost = self._driver.read(self._holds.expired, now_ns, on=limits)
                if lost:
                    self._charge(lost, now_ns)
                if lost or alone:
                    found = self._driver.transact(self._reserve_or_refuse, hold, row, limits, alone=alone)
            if isinstance(found, Refusal):
                return found
            lower(hold, found)
        if unknown:
            if len(known) > MOST:
                known.clear()
            known.update([(limit.key, limit.budget) for limit in unknown])
        return None

    def _reserve_at_once(self, hold: Hold, row: Sequence[Any], limits: list[Limit], unknown: list[Limit]) -> bool:
        shortcut = self._driver.shortcut
        if shortcut is not None:
            return shortcut.reserve(row, limits, unknown)
        try:
            self._driver.transact(self._reserve, hold, row, limits, unknown)
        except _NoRoomError:
            return False
        return True

    def _reserve(
        self, execute: Execute, hold: Hold, row: Sequence[Any], limits: list[Limit], unknown: list[Limit]
    ) -> None:
        if not self._holds.add(execute, row):
            return
        if unknown:
            self._balances.know(execute, unknown)
        for limit in limits:
            if not self._balances.take(execute, limit, hold.on(limit)):
                raise _NoRoomError

    def _reserve_or_refuse(
        self, execute: Execute, hold: Hold, row: list[Any], limits: list[Limit], *, alone: bool
    ) -> dict[str, int] | Refusal:
        """The same where there seemed to be no room: the locks first, then the decision."""
        wanted = amounts(hold)
        if self._holds.exists(execute, row[0]):
            return wanted
        self._balances.know(execute, limits)
        balances = self._balances.read(execute, limits, lock=True)
        standings = [(limit, *balance) for limit, balance in zip(limits, balances, strict=True)]
        found = room(standings, wanted, alone=alone)
        if not isinstance(found, Refusal):
            taken = copy(hold)
            lower(taken, found)
            row = [row[0], taken.amount, *row[2:-1], held_keys(taken, limits)]
            if self._holds.add(execute, row):
                moves = Moves()
                for limit in limits:
                    moves.hold(limit.key, taken.on(limit))
                self._balances.move(execute, moves)
        return found

    def local(self, hold: Hold) -> bool:
        return self._driver.shortcut is None

    def extend(self, hold_ids: Sequence[str], expires_ns: int) -> set[str]:
        ids = {call_key(hold_id): hold_id for hold_id in hold_ids}
        if not ids:
            return set()
        found = self._driver.transact(self._driver.bulk.extend, sorted(ids), expires_ns // 1000)
        return {ids[hold_id] for hold_id in found}

    def shrink(self, lease: Lease, by: int) -> int:
        return self._driver.transact_once(self._holds.shrink, call_key(lease.call.id), by)

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        settlement = self._settling.prepare(entry, hold)
        shortcut = self._driver.shortcut
        if shortcut is None:
            return self._driver.transact(self._settling.one, settlement)
        held_as = settlement.held_as
        usual = entry.nanos is not None
        if usual and held_as is not None:
            rolls = Rolls(self._dictionary.known_group)
            rolls.written(settlement.row)
            if shortcut.settle(settlement.row, held_as, entry, settlement.limits, rolls):
                return ()
        return self._driver.transact(self._settling.all, [settlement])[0]

    def settle_all(self, settlements: Sequence[tuple[Entry, Hold | None]]) -> list[tuple[Crossing, ...] | None]:
        if not settlements:
            return []
        self._driver.bulk.look_ahead(max([entry.at_ns for entry, _ in settlements]) // 1000)
        prepare = self._settling.prepare
        return self._driver.transact(self._settling.all, [prepare(entry, hold) for entry, hold in settlements])

    def adjust(self, adjustments: Sequence[Adjustment], deed: Deed, budgets: Sequence[Budget] = ()) -> Adjusted:
        return self._adjusting.adjust(adjustments, deed, budgets)

    def deeds(self, *, most: int = 100) -> list[Deed]:
        return self._adjusting.deeds(most)

    def release(self, hold: Hold) -> bool:
        return self._driver.transact(self._holds.give_back, call_key(hold.call.id))

    def tell(self, crossing: News) -> bool:
        return self._driver.transact(self._outbox.add, crossing)

    def expire(self, now_ns: int) -> list[Entry]:
        charged: list[Entry] = []
        while lost := self._driver.read(self._holds.expired, now_ns):
            charged += self._charge(lost, now_ns)
        return charged

    def _charge(self, lost: Sequence[Sequence[Any]], now_ns: int) -> list[Entry]:
        charged = self._driver.transact(self._holds.charge, lost, now_ns)
        if self._holds.crossed:
            self._holds.crossed = False
            self.told()
        return charged

    def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
        return self._driver.read(self._balances.read, limits)

    def reached(self, limits: Sequence[Limit]) -> Refusal | None:
        return reached(limits, self.balances(limits))

    def entries(
        self,
        tags: Where,
        *,
        model: str | None = None,
        provider: str | None = None,
        call_id: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        limit: int = 1000,
        order: Order = "newest",
        before: Entry | None = None,
    ) -> list[Entry]:
        from costguard.ledger import queries

        given = {name: value for name, value in (("model", model), ("provider", provider)) if value is not None}
        wanted = Wanted(tags, since_ns, until_ns, given)
        with self._driver.reading() as connection:
            return queries.entries(connection, wanted, call_id=call_id, limit=limit, order=order, before=before)

    def spent(self, tags: Where, *, since_ns: int | None = None, until_ns: int | None = None) -> int:
        from costguard.ledger import sums

        with self._driver.reading() as connection:
            return sums.spent(connection, Wanted(tags, since_ns, until_ns))

    def sums(
        self,
        by: Sequence[str],
        tags: Where,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Sum]:
        from costguard.ledger import sums

        with self._driver.reading() as connection:
            return sums.sums(connection, by, Wanted(tags, since_ns, until_ns))

    def percentiles(
        self,
        by: Sequence[str],
        tags: Where,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> list[Percentiles]:
        from costguard.ledger import percentiles

        with self._driver.reading() as connection:
            return percentiles.percentiles(connection, by, Wanted(tags, since_ns, until_ns))

    def audit(self, now_ns: int, *, repair: bool) -> Audit:
        """See `costguard.ledger.audit.audit`."""
        from costguard.ledger.sql_audit import SqlAudit

        return SqlAudit(self._driver).audit(now_ns, repair=repair)

    def audit_rollups(self, *, rebuild: bool, progress: Progress | None = None) -> RollupAudit:
        """See `costguard.ledger.rollups_upkeep.audit_rollups`."""
        from costguard.ledger.rollups_upkeep import SqlRollups

        return SqlRollups(self._driver, self._dictionary.group_of).audit(rebuild=rebuild, progress=progress)

    def retain(self, before_ns: int) -> int:
        count = self._driver.retain(before_ns // 1000, self._rolls)
        self._outbox.forget(before_ns)
        return count

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
