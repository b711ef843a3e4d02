"""The statements of the balances: what a payer has spent and holds in a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from costguard.budgets import Limit
from costguard.events import Crossing
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.marks import crossed
from costguard.ledger.outbox import Outbox
from costguard.ledger.rule import limit_columns, read_limit


class Balances:
    def __init__(self, driver: Driver, outbox: Outbox) -> None:
        self._outbox = outbox
        self._text = driver.text
        self._lock = driver.for_update
        self._know = driver.text(
            "INSERT INTO costguard_balances (key, start, until, payer, budget) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET budget = excluded.budget "
            "WHERE costguard_balances.budget <> excluded.budget"
        )
        self._take = driver.text(
            "UPDATE costguard_balances SET held = held + ? WHERE key = ? AND spent + held + ? <= ?"
        )
        self._move = driver.text(
            "UPDATE costguard_balances SET held = held + ?, spent = spent + ? WHERE key = ? RETURNING spent"
        )
        self._rule = driver.text("SELECT start, until, payer, budget FROM costguard_balances WHERE key = ?")

    def know(self, execute: Execute, limits: Iterable[Limit]) -> None:
        """See that the balance of each limit exists, and carries its rule: the marks of a hold that is lost
        are those of the rule as last seen."""
        for limit in limits:
            execute(self._know, limit_columns(limit))

    def take(self, execute: Execute, limit: Limit, amount: int) -> bool:
        """Hold an amount if the limit has room for it."""
        return execute(self._take, (amount, limit.key, amount, limit.most)).rowcount == 1

    def move(
        self, execute: Execute, limits: Sequence[Limit], held: int, spent: int, at_ns: int
    ) -> tuple[Crossing, ...]:
        """Change the balances of these limits, each once; the crossings that were new."""
        if not held and not spent:
            return ()
        passed: list[Crossing] = []
        key = None
        after = 0
        for limit in limits:
            if limit.key != key:
                key = limit.key
                row = execute(self._move, (held, spent, key)).fetchone()
                if row is None:
                    self.know(execute, (limit,))
                    row = execute(self._move, (held, spent, key)).fetchone()
                after = row[0]
            if spent > 0:
                passed += crossed(limit, after - spent, after, at_ns)
        if not passed:
            return ()
        return tuple([crossing for crossing in passed if self._outbox.add(execute, crossing)])

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

    def limits(self, execute: Execute, keys: str, known: Iterable[Limit] = ()) -> list[Limit]:
        """The limits of these keys (see `write_keys`): the known ones, else as their balances tell them."""
        found: list[Limit] = []
        for key in read_keys(keys):
            same = [limit for limit in known if limit.key == key]
            row = None if same else execute(self._rule, (key,)).fetchone()
            found += same if row is None else [read_limit(*row)]
        return found


def write_keys(limits: Iterable[Limit]) -> str:
    """The keys, one on each line: they are JSON, which has no raw newline. Much quicker than JSON of JSON."""
    return "\n".join([limit.key for limit in limits])


def read_keys(text: str) -> list[str]:
    # Not splitlines: a tag's value may hold U+2028 and others that it takes for line ends.
    return list(dict.fromkeys(text.split("\n"))) if text else []
