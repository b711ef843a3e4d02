"""The statements of the balances: what a payer has spent and holds in a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter, itemgetter

from costguard.budgets import Limit
from costguard.events import Crossing, Entry
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.marks import crossed
from costguard.ledger.moves import Moves
from costguard.ledger.outbox import Outbox
from costguard.ledger.rule import limit_columns, read_limit

_PLACE = itemgetter(0)
_BY_KEY = attrgetter("key")
_NEVER = (1 << 63) - 1
_MOST_ABOVE = 10_000


class Balances:
    def __init__(self, driver: Driver, outbox: Outbox) -> None:
        self._outbox = outbox
        self._bulk = driver.bulk
        self._text = driver.text
        self._lock = driver.for_update
        self._know = driver.text(
            "INSERT INTO costguard_balances (key, start, until, payer, budget) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET budget = excluded.budget "
            "WHERE costguard_balances.budget <> excluded.budget"
        )
        self._make = driver.text(
            "INSERT INTO costguard_balances (key, start, until, payer, budget) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO NOTHING"
        )
        self._take = driver.text(
            "UPDATE costguard_balances SET held = held + ? WHERE key = ? AND spent + held + ? <= ?"
        )
        self._move = driver.text(
            "UPDATE costguard_balances SET held = held - ?, spent = spent + ? WHERE key = ? RETURNING spent"
        )
        # Not to be told what is spent takes half as long, and most spending is below the first mark.
        self._move_below = driver.text(
            "UPDATE costguard_balances SET held = held - ?, spent = spent + ? WHERE key = ? AND spent < ?"
        )
        self._above: set[str] = set()
        self._rule = driver.text("SELECT start, until, payer, budget FROM costguard_balances WHERE key = ?")

    def know(self, execute: Execute, limits: Iterable[Limit]) -> None:
        """See that the balance of each limit exists, and carries its rule: the marks of a hold that is lost
        are those of the rule as last seen."""
        for limit in limits:
            execute(self._know, limit_columns(limit))

    def make(self, execute: Execute, limits: Iterable[Limit]) -> None:
        """See that the balance of each limit exists. One that does is not locked, nor changed."""
        for limit in sorted(limits, key=_BY_KEY):
            execute(self._make, limit_columns(limit))

    def take(self, execute: Execute, limit: Limit, amount: int) -> bool:
        """Hold an amount if the limit has room for it."""
        return execute(self._take, (amount, limit.key, amount, limit.most)).rowcount == 1

    def move(self, execute: Execute, moves: Moves) -> list[tuple[int, Crossing]]:
        """Change the balances; the crossings that were new, each with the settlement that made it."""
        changes = moves.by_key()
        if not changes:
            return []
        after = self._bulk.move(execute, changes)
        if len(after) < len(changes):
            missing = [change for change in changes if change[0] not in after and change[0] in moves.limits]
            self.know(execute, [moves.limits[key] for key, _, _ in missing])
            after |= self._bulk.move(execute, missing)
        passed: list[tuple[int, Crossing]] = []
        for key, _, spent in changes:
            if spent:
                passed += moves.crossings(key, after[key])
        if len(passed) > 1:
            passed.sort(key=_PLACE)
        return [(place, crossing) for place, crossing in passed if self._outbox.add(execute, crossing)]

    def move_each(
        self, execute: Execute, limits: Sequence[Limit], freed: int, entry: Entry, at_ns: int
    ) -> tuple[Crossing, ...]:
        """Settle one entry whose hold was the same on all these limits, statement by statement."""
        passed: list[Crossing] = []
        key = None
        after = spent = 0
        above = self._above
        for place, limit in enumerate(limits, 1):
            if limit.key != key:
                key = limit.key
                spent = entry.on(limit)
                if not spent and not freed:
                    continue
                if key not in above and (place == len(limits) or limits[place].key != key):
                    mark = limit.marks[0][0] - spent if spent > 0 and limit.marks else _NEVER
                    if execute(self._move_below, (freed, spent, key, mark)).rowcount == 1:
                        continue
                    if len(above) >= _MOST_ABOVE:
                        above.clear()
                    above.add(key)
                row = execute(self._move, (freed, spent, key)).fetchone()
                if row is None:
                    self.know(execute, (limit,))
                    row = execute(self._move, (freed, spent, key)).fetchone()
                (after,) = row
            if spent > 0 and limit.marks and after >= limit.marks[0][0]:
                passed += crossed(limit, after - spent, after, at_ns)
        return tuple([crossing for crossing in passed if self._outbox.add(execute, crossing)]) if passed else ()

    def read(self, execute: Execute, limits: Sequence[Limit], *, lock: bool = False) -> list[tuple[int, int]]:
        """(spent, held) of each limit."""
        if not limits:
            return []
        keys = sorted({limit.key for limit in limits})
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, spent, held FROM costguard_balances WHERE key IN ({marks}) ORDER BY key"
        rows = execute(self._text(query + self._lock if lock else query), keys).fetchall()
        found = {key: (spent, held) for key, spent, held in rows}
        return [found.get(limit.key, (0, 0)) for limit in limits]

    def limits(self, execute: Execute, keys: Iterable[str], known: Iterable[Limit] = ()) -> list[Limit]:
        """The limits of these keys: the known ones, else as their balances tell them."""
        found: list[Limit] = []
        for key in keys:
            same = [limit for limit in known if limit.key == key]
            row = None if same else execute(self._rule, (key,)).fetchone()
            found += same if row is None else [read_limit(*row)]
        return found
