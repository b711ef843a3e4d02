"""What entries add up to at each price, as statements: of the rollups of whole days, and of rows at the edges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal, select

from costguard.ledger.figures import Wanted
from costguard.ledger.rollups import ADJUSTED, DAY, NO_COST, NO_RATES
from costguard.ledger.selection import chosen, entry, of_calls, tables, within
from costguard.ledger.stretch import cut
from costguard.ledger.sums import each, of_row

_DAYS = tables["costguard_days"].c
_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def sources_of(connection: Connection, keys: Sequence[str], wanted: Wanted) -> list[Select[Any]]:
    """keys: of `costguard.ledger.sums.keys_of`, and "price" """
    stretch = cut(wanted.since, wanted.until, DAY)
    sources: list[Select[Any]] = []
    if stretch.whole is not None:
        times = each(connection, _DAYS.day, stretch.whole, wanted)
        corrections = case((_DAYS.status == ADJUSTED, _DAYS.cost), else_=0)
        # Calls that were priced later are counted as no longer unpriced.
        counts = [_DAYS.calls - _DAYS.unpriced_calls, _DAYS.cost, corrections, *[_DAYS[name] for name in _TOKENS]]
        query = select(*[_DAYS[key].label(key) for key in keys], *_labelled(counts))
        asked = [*times, *chosen(wanted, _DAYS), *of_calls((), wanted, _DAYS), _DAYS.price != NO_COST]
        sources.append(query.where(*asked))
    for sign, since, until in stretch.edges:
        adjusted = entry.status == ADJUSTED
        call = case((entry.covers.is_not(None), 1), (adjusted, 0), (entry.attempts == 0, 0), else_=1)
        cost = func.coalesce(entry.cost, 0)
        counts = [call, cost, case((adjusted, cost), else_=0), *[entry[name] for name in _TOKENS]]
        price = func.coalesce(entry.price_id, literal(NO_RATES)).label("price")
        query = select(*of_row(keys[:-1], grouped=False), price, *_labelled([count * sign for count in counts]))
        asked = [*within(connection, since, until), *chosen(wanted, entry), *of_calls((), wanted, entry)]
        sources.append(query.where(*asked, entry.cost.is_not(None)))
    return sources


def _labelled(counts: Iterable[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [count.label(name) for name, count in zip(("calls", "cost", "corrections", *_TOKENS), counts, strict=True)]
