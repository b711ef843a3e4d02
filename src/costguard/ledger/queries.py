"""The reads of a SQL ledger, in SQLAlchemy Core: the same on every database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from costguard.events import Entry
from costguard.ledger.base import LEASE, Sum
from costguard.ledger.record import COLUMNS, NUMBER_OF, STATUSES, read_entry
from costguard.ledger.tables import metadata
from costguard.ledger.totals import Totals
from costguard.pricing.rates import Rates
from costguard.tags import UNATTRIBUTED, Tags

_tables = metadata.tables
_entries = _tables["costguard_entries"].c
_tag_sets = _tables["costguard_tag_sets"].c
_models = _tables["costguard_models"].c
_prices = _tables["costguard_prices"].c

_DAY = 86_400_000_000
_MODEL_PARTS = ("provider", "model", "operation")


def entries(
    connection: Connection,
    tags: Mapping[str, str],
    *,
    model: str | None,
    provider: str | None,
    since_ns: int | None,
    until_ns: int | None,
    limit: int,
) -> list[Entry]:
    query = (
        select(
            *(_entries[name] for name in (*COLUMNS, "adjusts", "covers")),
            *(_models[part].label(f"model_{part}") for part in _MODEL_PARTS),
            _tag_sets.tags,
            _prices.rates,
        )
        .join_from(_tables["costguard_entries"], _tables["costguard_models"], _models.id == _entries.model_id)
        .join(_tables["costguard_tag_sets"], _tag_sets.id == _entries.tags_id)
        .outerjoin(_tables["costguard_prices"], _prices.id == _entries.price_id)
        .where(*_matching(tags, since_ns, until_ns))
        .order_by(_entries.at.desc(), _entries.id.desc())
        .limit(limit)
    )
    if model is not None:
        query = query.where(_models.model == model)
    if provider is not None:
        query = query.where(_models.provider == provider)
    known: dict[int, Tags] = {}
    found = []
    for row in connection.execute(query).mappings():
        number = row["tags_id"]
        if number not in known:
            known[number] = Tags(row["tags"])
        rates = None if row["rates"] is None else _rates(row["rates"])
        answered = (row["model_provider"], row["model_model"], row["model_operation"])
        found.append(read_entry(row, answered, known[number], rates))
    return found


def spent(connection: Connection, tags: Mapping[str, str], since_ns: int | None, until_ns: int | None) -> int:
    query = select(func.sum(_entries.cost)).where(*_matching(tags, since_ns, until_ns), _of_calls())
    return int(connection.execute(query).scalar() or 0)


def sums(
    connection: Connection, by: Sequence[str], tags: Mapping[str, str], since_ns: int | None, until_ns: int | None
) -> list[Sum]:
    """Added up by the database as far as numbers go, and by tag values here: they are inside the tag sets."""
    columns: dict[str, ColumnElement[Any]] = {}
    if any(name not in (*_MODEL_PARTS, "status", "day") for name in by):
        columns["tags_id"] = _entries.tags_id
    if any(name in _MODEL_PARTS for name in by):
        columns["model_id"] = _entries.model_id
    if "status" in by:
        columns["status"] = _entries.status
    if "day" in by:
        columns["day"] = (_entries.at // _DAY).label("day")
    query = select(*columns.values(), *_counts()).where(*_matching(tags, since_ns, until_ns))
    if "operation" not in by:
        query = query.where(_of_calls())
    query = query.group_by(*columns.values()) if columns else query.having(func.count() > 0)
    lines = connection.execute(query).fetchall()
    tag_sets = _named(connection, "costguard_tag_sets", "tags_id" in columns)
    models = _named(connection, "costguard_models", "model_id" in columns)
    totals = Totals(by)
    for line in lines:
        found = dict(zip(columns, line, strict=False))
        values = []
        for name in by:
            if name in _MODEL_PARTS:
                value = models[found["model_id"]][name]
            elif name == "status":
                value = STATUSES[found["status"]]
            elif name == "day":
                value = (date(1970, 1, 1) + timedelta(days=int(found["day"]))).isoformat()
            else:
                value = tag_sets[found["tags_id"]]["tags"].get(name, UNATTRIBUTED)
            values.append(value)
        totals.add(tuple(values), [int(count or 0) for count in line[len(columns) :]])
    return totals.sums()


def _counts() -> list[ColumnElement[Any]]:
    """In the order of `totals.COUNTS`."""
    unpriced = _entries.cost.is_(None)
    tokens = _entries.input_tokens + _entries.output_tokens
    # What was billed beside a call, at another model's price, is no call either.
    call = case((_entries.status == NUMBER_OF["adjusted"], 0), (_entries.attempts == 0, 0), else_=1)
    return [
        func.sum(call),
        func.sum(_entries.cost),
        func.sum(_entries.input_tokens),
        func.sum(_entries.output_tokens),
        func.sum(_entries.cache_read_tokens),
        # An adjustment that gave a call its first price takes it from those without one.
        func.sum(case((unpriced, 1), (_entries.covers.is_not(None), -1), else_=0)),
        func.sum(case((unpriced, tokens), else_=-func.coalesce(_entries.covers, 0))),
        func.sum(_entries.estimated * call),
        func.sum(case((_entries.estimated == 1, _entries.cost), else_=0)),
        func.sum(case((_entries.status == NUMBER_OF["error"], 1), else_=0)),
        func.sum(_entries.duration) * 1000,
    ]


def _matching(tags: Mapping[str, str], since_ns: int | None, until_ns: int | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if since_ns is not None:
        found.append(_entries.at >= since_ns // 1000)
    if until_ns is not None:
        found.append(_entries.at < until_ns // 1000)
    if tags:
        # The tag sets first: there are few of them beside the entries, and an index leads on.
        found.append(_entries.tags_id.in_(_with_tags(tags)))
    return found


def _of_calls() -> ColumnElement[bool]:
    """Not the charges of lost leases, one on each budget: no call cost that."""
    provider, operation = LEASE
    leases = select(_models.id).where(_models.provider == provider, _models.operation == operation)
    return _entries.model_id.not_in(leases)


def _with_tags(tags: Mapping[str, str]) -> Select[tuple[int]]:
    chosen = select(_tag_sets.id)
    for name, value in tags.items():
        given = _tag_sets.tags[name].as_string()
        chosen = chosen.where(given.is_(None) | (given == value) if value == UNATTRIBUTED else given == value)
    return chosen


def _named(connection: Connection, table: str, wanted: bool) -> dict[int, Any]:
    if not wanted:
        return {}
    return {row["id"]: row for row in connection.execute(select(_tables[table])).mappings()}


@lru_cache(maxsize=1000)
def _rates(text: str) -> Rates:
    return Rates.load(text)
