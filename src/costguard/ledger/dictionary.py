"""What repeats from entry to entry, stored once: the numbers of tag sets, models and prices."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from hashlib import blake2b

from costguard.ledger.driver import Driver, Execute
from costguard.ledger.record import clean
from costguard.ledger.rollups import COARSE
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
        self._groups: dict[int, int] = {}

    def tags(self, tags: Tags) -> int:
        return self._numbers.get(tags) or self._look_up_tags(tags)

    def _look_up_tags(self, tags: Tags) -> int:
        number, group_id = self._driver.transact(self._find_or_add_tags, tags)
        if len(self._numbers) >= MOST:
            self._numbers.clear()
        self._keep_group(number, group_id)
        self._numbers[tags] = number
        return number

    def group_of(self, execute: Execute, tags_id: int) -> int:
        """The id of the tag set that has those of the tags that are in `COARSE`; asked for in a transaction."""
        return self._groups.get(tags_id) or self._look_up_group(execute, tags_id)

    def known_group(self, tags_id: int) -> int:
        """The same outside of one."""
        return self._groups.get(tags_id) or self._driver.transact(self._look_up_group, tags_id)

    def _look_up_group(self, execute: Execute, tags_id: int) -> int:
        find = self._driver.text("SELECT tags, group_id FROM costguard_tag_sets WHERE id = ?")
        found, group_id = execute(find, (tags_id,)).fetchone()
        if group_id is None:
            # Not kept: should the transaction be taken back, another tag set may get the number of a new group.
            return self._set_group(execute, tags_id, json.loads(found) if isinstance(found, str) else found)
        self._keep_group(tags_id, group_id)
        return int(group_id)

    def _keep_group(self, tags_id: int, group_id: int) -> None:
        if len(self._groups) >= MOST:
            self._groups.clear()
        self._groups[tags_id] = group_id

    def _find_or_add_tags(self, execute: Execute, tags: Mapping[str, str]) -> tuple[int, int]:
        """The ids of a tag set and of its group."""
        canonical = json.dumps(dict(tags), separators=(",", ":"), ensure_ascii=False)
        number = self._find_or_add(execute, "tag_sets", {"tags": canonical})
        find = self._driver.text("SELECT group_id FROM costguard_tag_sets WHERE id = ?")
        (group_id,) = execute(find, (number,)).fetchone()
        return number, self._set_group(execute, number, tags) if group_id is None else group_id

    def _set_group(self, execute: Execute, tags_id: int, tags: Mapping[str, str]) -> int:
        coarse = {name: tags[name] for name in COARSE if name in tags}
        text = self._driver.text
        group_id = tags_id
        if len(coarse) < len(tags):
            group_id, _ = self._find_or_add_tags(execute, coarse)
            insert = text(
                "INSERT INTO costguard_tag_values (name, value, tags_id) VALUES (?, ?, ?) "
                "ON CONFLICT (name, value, tags_id) DO NOTHING"
            )
            for name, value in sorted(tags.items()):
                if name not in coarse:
                    execute(insert, (name, value, tags_id))
        execute(text("UPDATE costguard_tag_sets SET group_id = ? WHERE id = ?"), (group_id, tags_id))
        return group_id

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
        self._groups.clear()
