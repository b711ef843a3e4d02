"""Entries added up by the price that they were recorded with: what reports split a change of spending by.

Only what has a cost is in them. Nothing here is in the path of a call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costguard.adjustment import Adjustment
from costguard.events import Entry
from costguard.ledger.base import Ledger, is_lost_lease
from costguard.ledger.figures import FACTS, Wanted, Where
from costguard.ledger.sql import SqlLedger
from costguard.pricing.rates import Rates


@dataclass(slots=True)
class PriceSum:
    """What the priced entries of one group, at one price, add up to.

    group:       a value for each name asked for, "provider" and "model" among them
    rates:       None where an entry has a cost without them, as one that was lost
    calls:       those that got their first price by a correction included
    cost:        nano-dollars; `corrections` of it were added later, by a reprice
    *_tokens:    as in `Sum`
    """

    group: Mapping[str, str]
    rates: Rates | None
    calls: int = 0
    cost: int = 0
    corrections: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, counts: Sequence[Any]) -> None:
        for name, count in zip(COUNTS, counts, strict=True):
            setattr(self, name, getattr(self, name) + int(count or 0))


COUNTS = (
    "calls", "cost", "corrections", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "reasoning_tokens",
)  # fmt: skip


def price_sums(
    ledger: Ledger, by: Sequence[str], tags: Where, *, since_ns: int | None = None, until_ns: int | None = None
) -> list[PriceSum]:
    """By these tags and `FACTS`, provider and model, and price. Raises StoreUnavailable."""
    own = getattr(ledger, "price_sums", None)
    if own is not None:
        # Of a wrapper that shows tags otherwise.
        return list(own(by, tags, since_ns=since_ns, until_ns=until_ns))
    names = tuple(dict.fromkeys([*by, "provider", "model"]))
    wanted = Wanted(tags, since_ns, until_ns)
    # What a journal still has is not in the store below.
    before_reading = getattr(ledger, "before_reading", None)
    while (inner := getattr(ledger, "inner", None)) is not None:
        if before_reading is not None:
            before_reading()
        ledger = inner
        before_reading = getattr(ledger, "before_reading", None)
    if isinstance(ledger, SqlLedger):
        return _sql_sums(ledger, names, wanted)
    found: dict[tuple[Any, ...], PriceSum] = {}
    for entry in ledger.entries(tags, since_ns=since_ns, until_ns=until_ns, limit=10**9):
        if entry.nanos is None or is_lost_lease(entry):
            continue
        group = tuple([_value(entry, name) for name in names])
        key = (group, entry.rates.dump() if entry.rates is not None else "")
        if key not in found:
            found[key] = PriceSum(dict(zip(names, group, strict=True)), entry.rates)
        usage = entry.usage
        corrects = isinstance(entry, Adjustment)
        call = entry.covers is not None if isinstance(entry, Adjustment) else entry.attempts > 0
        found[key].add(
            (
                call, entry.nanos, entry.nanos if corrects else 0, usage.input_tokens, usage.output_tokens,
                usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens,
            )
        )  # fmt: skip
    return [one for one in found.values() if any(getattr(one, name) for name in COUNTS)]


def _value(entry: Entry, name: str) -> str:
    return str(getattr(entry, name)) if name in FACTS else entry.tags.value(name)


def _sql_sums(store: SqlLedger, names: tuple[str, ...], wanted: Wanted) -> list[PriceSum]:
    """From the rollups of whole days; from rows where the time begins and ends."""
    from sqlalchemy import select

    from costguard.ledger.names import Names
    from costguard.ledger.price_lines import sources_of
    from costguard.ledger.selection import found_first, one_moment, tables
    from costguard.ledger.sums import keys_of

    prices = tables["costguard_prices"].c
    keys = [*keys_of(names), "price"]
    with store._driver.reading() as connection:
        one_moment(connection)
        wanted = found_first(connection, wanted)
        named = Names(names, wanted, grouped=False)
        lines = connection.execute(named.added(sources_of(connection, keys, wanted), keys, COUNTS)).fetchall()
        named.read(connection)
        numbers = {line[len(keys) - 1] for line in lines}
        texts = dict(connection.execute(select(prices.id, prices.rates).where(prices.id.in_(numbers))).fetchall())
    rates = {number: Rates.load(text) for number, text in texts.items()}
    return [
        PriceSum(dict(zip(names, group, strict=True)), rates.get(line[len(keys) - 1]), *line[len(keys) :])
        for group, line in zip(named.groups(lines), lines, strict=True)
        if any(line[len(keys) :])
    ]
