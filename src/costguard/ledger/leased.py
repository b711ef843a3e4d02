"""The leases that a batch of calls draws from: what they have left, or what is left of their charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costguard.budgets import Limit
from costguard.events import Entry
from costguard.ledger.driver import Bulk, Execute, OpenEnd
from costguard.ledger.holds import Holds
from costguard.ledger.keys import read_keys
from costguard.ledger.moves import Moves
from costguard.ledger.record import LOST
from costguard.ledger.rollups import Rolls


class Leased:
    """rows:      amount and keys of the leases that are there, by id
    open_ends: status, cost and keys of entries, among them those of the leases that were charged as lost
    """

    def __init__(
        self,
        rows: Mapping[bytes, tuple[int, str]],
        open_ends: Mapping[bytes, OpenEnd],
    ) -> None:
        self._rows = rows
        self._left = {lease: amount for lease, (amount, _) in rows.items()}
        self._open_ends = open_ends
        self._charges: dict[bytes, int] = {}

    def spend(
        self, moves: Moves, leases: Mapping[str, bytes], limits: Sequence[Limit], entry: Entry, place: int
    ) -> None:
        """Draw what the entry counts on each balance, and spend what was not charged already, as the lease was lost."""
        at_ns = entry.at_ns + entry.duration_ns
        left = self._left
        key = None
        for limit in limits:
            if limit.key == key:
                moves.share(limit)
                continue
            key = limit.key
            cost = entry.on(limit)
            lease = leases[key]
            has = left.get(lease)
            if has is None:
                cost -= self._lower(lease, cost)
            else:
                left[lease] = has - cost if cost < has else 0
            moves.spend(limit, cost, at_ns, place)

    def _lower(self, lease: bytes, cost: int) -> int:
        """How much of this cost the charge for a lost lease has paid already."""
        status, amount, keys, *_ = self._open_ends.get(lease, (0, 0, None))
        if status != LOST:
            return 0
        charge = self._charges.get(lease)
        if charge is None:
            charge = sum(read_keys(keys or "", amount or 0).values())
        drawn = min(charge, cost)
        self._charges[lease] = charge - drawn
        return drawn

    def write(self, execute: Execute, bulk: Bulk, holds: Holds, moves: Moves, rolls: Rolls) -> None:
        """The rows as they are now, and what their balances hold."""
        draws = {lease: amount - self._left[lease] for lease, (amount, _) in self._rows.items()}
        draws = {lease: drawn for lease, drawn in draws.items() if drawn}
        if draws:
            bulk.draw(execute, draws)
            for lease, drawn in draws.items():
                moves.hold(self._rows[lease][1], -drawn)
        for lease, charge in self._charges.items():
            _, amount, keys, *_ = self._open_ends[lease]
            holds.lower(execute, lease, charge, keys or "", rolls, money=amount is not None)
