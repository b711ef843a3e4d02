"""The reads of single entries of a SQL ledger, in SQLAlchemy Core: the same on every database."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, func, select, tuple_

from costguard.events import Entry
from costguard.ledger.figures import Order, Wanted
from costguard.ledger.id_ranges import newest_first
from costguard.ledger.record import COLUMNS, call_key, read_entry
from costguard.ledger.selection import (
    chosen,
    entries_table,
    entry,
    found_first,
    models,
    one_moment,
    tables,
    tag_sets,
    within,
)
from costguard.pricing.rates import Rates
from costguard.tags import Tags

_prices = tables["costguard_prices"].c

_MODEL_PARTS = ("provider", "model", "operation")

_FIRST_LOOK = 1_000
"""Ids that are looked through first where there is no index of times."""

_LEAST = -(1 << 63)
"""Of what costs go by: where none is known it comes last."""


def entries(
    connection: Connection, wanted: Wanted, *, call_id: str | None, limit: int, order: Order, before: Entry | None
) -> list[Entry]:
    by = {"newest": entry.at, "slowest": entry.duration, "dearest": func.coalesce(entry.cost, _LEAST)}[order]
    one_moment(connection)
    wanted = found_first(connection, wanted)
    query = (
        select(
            *(entry[name] for name in (*COLUMNS, "adjusts", "covers")),
            *(models[part].label(f"model_{part}") for part in _MODEL_PARTS),
            tag_sets.tags,
            _prices.rates,
        )
        .join_from(entries_table, tables["costguard_models"], models.id == entry.model_id)
        .join(tables["costguard_tag_sets"], tag_sets.id == entry.tags_id)
        .outerjoin(tables["costguard_prices"], _prices.id == entry.price_id)
        .where(*chosen(wanted, entry))
        .order_by(by.desc(), entry.id.desc())
    )
    if call_id is not None:
        query = query.where(entry.call_id == call_key(call_id))
    if before is not None:
        place = connection.execute(select(entry.id).where(entry.call_id == call_key(before.call_id))).scalar()
        query = query.where(tuple_(by, entry.id) < tuple_(_measure(before, order), place or 0))
    known: dict[int, Tags] = {}
    found: list[Entry] = []
    if connection.dialect.name == "sqlite" and order == "newest" and call_id is None:
        ends = [wanted.until, None if before is None else before.at_ns // 1000 + 1]
        until = min([end for end in ends if end is not None], default=None)
        for part in newest_first(connection, wanted.since, until, max(_FIRST_LOOK, 2 * limit)):
            _read(connection, query.where(*part).limit(limit - len(found)), known, found)
            if len(found) == limit:
                break
    else:
        _read(connection, query.where(*within(connection, wanted.since, wanted.until)).limit(limit), known, found)
    return found


def _read(connection: Connection, query: Select[Any], known: dict[int, Tags], found: list[Entry]) -> None:
    for row in connection.execute(query).mappings():
        number = row["tags_id"]
        if number not in known:
            known[number] = Tags(row["tags"])
        rates = None if row["rates"] is None else _rates(row["rates"])
        answered = (row["model_provider"], row["model_model"], row["model_operation"])
        found.append(read_entry(row, answered, known[number], rates))


def _measure(before: Entry, order: Order) -> int:
    if order == "newest":
        return before.at_ns // 1000
    if order == "slowest":
        return before.duration_ns // 1000
    return _LEAST if before.nanos is None else before.nanos


@lru_cache(maxsize=1000)
def _rates(text: str) -> Rates:
    return Rates.load(text)
