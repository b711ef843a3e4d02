"""What repeats from entry to entry, stored once: the numbers of tag sets, models and prices."""

from __future__ import annotations

import json
from collections.abc import Hashable
from hashlib import blake2b

from costguard.ledger.driver import Driver, Execute
from costguard.ledger.record import clean
from costguard.pricing.rates import Rates
from costguard.tags import Tags

MOST = 10_000
"""Numbers remembered of each kind. Rows are never deleted or changed, so that a number stays right."""


class Dictionary:
    """Numbers are found or made in a short transaction of their own, at the first use in a process."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._numbers: dict[Hashable, int] = {}
        self._prices: dict[int, tuple[Rates, int]] = {}

    def tags(self, tags: Tags) -> int:
        return self._numbers.get(tags) or self._look_up(
            tags, "tag_sets", {"tags": json.dumps(dict(tags), separators=(",", ":"), ensure_ascii=False)}
        )

    def model(self, provider: str, model: str, operation: str) -> int:
        name = (provider, model, operation)
        return self._numbers.get(name) or self._look_up(
            name, "models", {"provider": clean(provider), "model": clean(model), "operation": clean(operation)}
        )

    def price(self, rates: Rates | None) -> int | None:
        if rates is None:
            return None
        # By identity: a price book hands out the same object call after call, and to hash one by
        # value costs more than everything else here. Kept with its number, so that its id stays its own.
        known = self._prices.get(id(rates))
        if known is None:
            if len(self._prices) >= MOST:
                self._prices.clear()
            text = rates.dump()
            number = self._numbers.get(text) or self._look_up(text, "prices", {"rates": text})
            known = self._prices[id(rates)] = (rates, number)
        return known[1]

    def _look_up(self, name: Hashable, table: str, values: dict[str, str | None]) -> int:
        number = self._driver.transact(self._find_or_add, table, values)
        if len(self._numbers) >= MOST:
            self._numbers.clear()
        self._numbers[name] = number
        return number

    def _find_or_add(self, execute: Execute, table: str, values: dict[str, str | None]) -> int:
        text = self._driver.text
        digest = blake2b(json.dumps(list(values.values())).encode(), digest_size=16).digest()
        find = text(f"SELECT id FROM costguard_{table} WHERE digest = ?")
        row = execute(find, (digest,)).fetchone()
        if row is None:
            marks = ", ".join("?" * (len(values) + 1))
            execute(
                text(
                    f"INSERT INTO costguard_{table} (digest, {', '.join(values)}) VALUES ({marks}) "
                    "ON CONFLICT (digest) DO NOTHING"
                ),
                (digest, *values.values()),
            )
            row = execute(find, (digest,)).fetchone()
        return int(row[0])

    def forget(self) -> None:
        self._numbers.clear()
        self._prices.clear()
