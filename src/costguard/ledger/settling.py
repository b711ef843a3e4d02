"""Settling in a SQL database: any number of entries in one transaction, each balance touched once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from costguard.budgets import Limit
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.balances import Balances
from costguard.ledger.dictionary import Dictionary
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.holds import Holds
from costguard.ledger.keys import charged_keys, read_keys
from costguard.ledger.leased import Leased
from costguard.ledger.moves import Moves
from costguard.ledger.record import COLUMNS, LOST, PENDING, call_key, insert, stored, write_entry
from costguard.ledger.rollups import Rolls
from costguard.ledger.room import ordered

_OPEN_ENDS = ("lost", "pending")

Answer = tuple[Crossing, ...] | None


@lru_cache(maxsize=1024)
def _by_key(limits: tuple[Limit, ...], leases: tuple[str, ...]) -> dict[str, bytes]:
    """Kept, as many calls are held out of the same leases."""
    return {limit.key: call_key(lease) for limit, lease in zip(limits, leases, strict=True)}


class Settlement:
    """An entry and its hold as the statements need them.

    limits:  in the order they are taken; None if nobody knows them
    row:     the entry's, see `COLUMNS`
    amount:  of the hold as its owner knows it, 0 if nobody does
    held_as: the hold's id; None for a call that has none of its own, as it was held out of leases
    leases:  their ids by the keys of their balances
    """

    __slots__ = ("amount", "entry", "held_as", "leases", "limits", "open_end", "row")

    def __init__(self, entry: Entry, hold: Hold | None, row: tuple[Any, ...], limits: Sequence[Limit] | None) -> None:
        self.entry = entry
        self.limits = limits
        self.row = row
        self.open_end = entry.status in _OPEN_ENDS
        self.leases: dict[str, bytes] | None = None
        self.amount = 0 if hold is None else hold.amount
        if hold is not None and hold.leases:
            self.held_as = None
            self.leases = _by_key(hold.limits, hold.leases)
        # A background response is entered under the provider's id, its hold under the call's.
        elif hold is None or hold.call.id == entry.call_id:
            self.held_as = row[0]
        else:
            self.held_as = call_key(hold.call.id)


class Settling:
    def __init__(
        self,
        driver: Driver,
        dictionary: Dictionary,
        holds: Holds,
        balances: Balances,
        rolls: Callable[[Execute], Rolls],
    ) -> None:
        self._dictionary = dictionary
        self._holds = holds
        self._balances = balances
        self._bulk = driver.bulk
        self._packs = driver.packs
        self._rolls = rolls
        self._insert = driver.text(insert(packs=driver.packs))
        names, marks = stored(COLUMNS, packs=driver.packs)
        self._replace = driver.text(
            f"UPDATE costguard_entries SET {', '.join(map(' = '.join, zip(names, marks, strict=True)))} "
            f"WHERE call_id = ? AND status IN ({PENDING}, {LOST})"
        )

    def prepare(self, entry: Entry, hold: Hold | None) -> Settlement:
        limits = None if hold is None else ordered(hold.limits)
        dictionary = self._dictionary
        row = write_entry(
            entry,
            dictionary.model(entry.provider, entry.model, entry.operation),
            dictionary.tags(entry.tags),
            dictionary.price(entry.rates),
            charged_keys(entry, limits or ()) if entry.status in _OPEN_ENDS else None,
            self._packs,
        )
        return Settlement(entry, hold, row, limits)

    def one(self, execute: Execute, settlement: Settlement) -> Answer:
        """The usual case of an entry that is new, with a hold of its own, where a statement costs no round trip."""
        if settlement.limits is None or settlement.held_as is None:
            return self.all(execute, [settlement])[0]
        if execute(self._insert, settlement.row).rowcount != 1:
            return self.all(execute, [settlement])[0]
        answer = self._new(execute, settlement, settlement.limits, settlement.held_as)
        rolls = self._rolls(execute)
        rolls.written(settlement.row)
        self._bulk.roll(execute, rolls)
        return answer

    def _new(self, execute: Execute, settlement: Settlement, limits: Sequence[Limit], held_as: bytes) -> Answer:
        entry = settlement.entry
        if entry.nanos is None:
            # It may get a price later, and counts then: what it counts on has to be known.
            self._balances.make(execute, limits)
        at_ns = entry.at_ns + entry.duration_ns
        amount, plain = settlement.amount, "\n".join([limit.key for limit in limits])
        keys: str | None = plain
        if not self._holds.take_away_known(execute, held_as, amount, plain):
            amount, keys = self._holds.take_away(execute, held_as) or (0, None)
        if keys is None or keys == plain:
            return self._balances.move_each(execute, limits, amount, entry, at_ns)
        moves = Moves()
        for key, part in read_keys(keys, amount).items():
            moves.hold(key, -part)
        _spend(moves, limits, entry, {}, 0)
        passed = self._balances.move(execute, moves)
        return tuple([crossing for _, crossing in passed]) if passed else ()

    def all(self, execute: Execute, settlements: Sequence[Settlement]) -> list[Answer]:
        answers: list[Answer] = []
        rolls = self._rolls(execute)
        for some in _distinct(settlements):
            answers += self._settle(execute, some, rolls)
        self._bulk.roll(execute, rolls)
        return answers

    def _settle(self, execute: Execute, settlements: Sequence[Settlement], rolls: Rolls) -> list[Answer]:
        """Entries of different ids. Locks are taken in one order everywhere: the holds, the entries, the balances."""
        bulk = self._bulk
        wanted = {one.held_as for one in settlements if one.held_as is not None}
        lease_ids = {lease for one in settlements if one.leases for lease in one.leases.values()}
        held = bulk.holds(execute, sorted(wanted | lease_ids)) if wanted or lease_ids else {}
        for one in settlements:
            if one.limits is None and one.held_as in held:
                # Settled by one who does not know the hold, such as a journal after a crash.
                amount, keys = held[one.held_as]
                one.limits = self._balances.limits(execute, read_keys(keys, amount))
                if one.open_end:
                    one.row = (*one.row[:-1], charged_keys(one.entry, one.limits))
        new = bulk.insert(execute, [one.row for one in settlements])
        known = [] if new is None else [one.row[0] for one in settlements if one.row[0] not in new and not one.open_end]
        asked = [*known, *(lease for lease in lease_ids if lease not in held)]
        open_ends = bulk.open_ends(execute, sorted(asked)) if asked else {}

        answers: list[Answer] = [()] * len(settlements)
        moves = Moves()
        leased = Leased({lease: held[lease] for lease in lease_ids if lease in held}, open_ends)
        ended = []
        for place, one in enumerate(settlements):
            charged: dict[str, int] = {}
            call_id = one.row[0]
            if new is not None and call_id not in new:
                before = None if one.open_end else open_ends.get(call_id)
                # The condition is in the UPDATE as well: of two who bring the truth, one replaces.
                if before is None or execute(self._replace, (*one.row, call_id)).rowcount != 1:
                    answers[place] = None
                    continue
                charged = read_keys(before[2] or "", before[1] or 0)
                rolls.gone(before[3:])
            rolls.written(one.row)
            freed = None if one.held_as is None else held.pop(one.held_as, None)
            if freed is not None:
                ended.append(one.held_as)
                for key, amount in read_keys(freed[1], freed[0]).items():
                    moves.hold(key, -amount)
            limits = one.limits or ()
            if charged:
                limits = self._balances.limits(execute, charged, limits)
                _spend(moves, limits, one.entry, charged, place)
            elif one.leases is not None:
                leased.spend(moves, one.leases, limits, one.entry, place)
            else:
                _spend(moves, limits, one.entry, charged, place)
        if ended:
            bulk.delete_holds(execute, ended)  # type: ignore[arg-type]  # ids that were held
        leased.write(execute, bulk, self._holds, moves, rolls)
        unpriced = {limit.key: limit for one in settlements if one.entry.nanos is None for limit in one.limits or ()}
        if unpriced:
            self._balances.make(execute, unpriced.values())
        passed: dict[int, list[Crossing]] = {}
        for place, crossing in self._balances.move(execute, moves):
            passed.setdefault(place, []).append(crossing)
        for place, crossings in passed.items():
            answers[place] = tuple(crossings)
        return answers


def _spend(moves: Moves, limits: Iterable[Limit], entry: Entry, charged: dict[str, int], place: int) -> None:
    """Spend what the entry counts, less what was charged for it already, once on each balance."""
    at_ns = entry.at_ns + entry.duration_ns
    key = None
    for limit in limits:
        if limit.key == key:
            moves.share(limit)
        else:
            key = limit.key
            moves.spend(limit, entry.on(limit) - charged.get(key, 0), at_ns, place)


def _distinct(settlements: Sequence[Settlement]) -> list[Sequence[Settlement]]:
    """Cut where an entry, or a hold, comes for the second time: what it means depends on the first."""
    lots: list[Sequence[Settlement]] = []
    seen: set[bytes | None] = set()
    start = 0
    for place, one in enumerate(settlements):
        call_id, held_as = one.row[0], one.held_as
        if call_id in seen or held_as in seen:
            lots.append(settlements[start:place])
            start = place
            seen.clear()
        seen.add(call_id)
        if held_as is not None:
            seen.add(held_as)
    if start < len(settlements):
        lots.append(settlements[start:])
    return lots
