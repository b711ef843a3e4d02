"""The ledger in steps of five minutes, and its dearest calls: what alert rules look at, in one pass each.

`Ledger.sums` adds up a time for people; these keep the tries of each call, and the steps apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from costguard.adjustment import Adjustment
from costguard.events import Entry
from costguard.ledger.base import LEASE, Ledger, is_lost_lease
from costguard.ledger.sql import SqlLedger
from costguard.tags import UNATTRIBUTED

BEAT_NS = 300 * 10**9
_BEAT = BEAT_NS // 1000

MOST_DEAR = 10_000


@dataclass(slots=True)
class Beat:
    """What calls of one model and one set of tags add up to in the five minutes from `at_ns` on.

    cost:     nano-dollars of the priced ones
    tries:    requests made for them, those that the SDK repeated included
    """

    at_ns: int
    provider: str
    model: str
    tags: Mapping[str, str]
    calls: int
    cost: int
    input_tokens: int
    output_tokens: int
    unpriced_calls: int
    errors: int
    tries: int

    def value(self, name: str) -> str:
        if name == "model":
            return self.model
        return self.provider if name == "provider" else self.tags.get(name, UNATTRIBUTED)


@dataclass(frozen=True, slots=True)
class DearCall:
    """A call that cost so many nano-dollars."""

    call_id: str
    at_ns: int
    provider: str
    model: str
    tags: Mapping[str, str]
    cost: int


def beats(ledger: Ledger, since_ns: int, until_ns: int) -> list[Beat]:
    """All there is in this time, oldest first; charges of lost leases are left out. Raises StoreUnavailable."""
    store = _below(ledger)
    if isinstance(store, SqlLedger):
        return _sql_beats(store, since_ns, until_ns)
    found: dict[tuple[Any, ...], Beat] = {}
    for entry in _entries(store, since_ns, until_ns):
        at = entry.at_ns // 1000 // _BEAT * BEAT_NS
        key = (at, entry.provider, entry.model, entry.tags)
        beat = found.get(key)
        if beat is None:
            tags = dict(entry.tags.items())
            beat = found[key] = Beat(at, entry.provider, entry.model, tags, 0, 0, 0, 0, 0, 0, 0)
        beat.cost += entry.nanos or 0
        if isinstance(entry, Adjustment):
            continue
        beat.calls += entry.attempts > 0
        beat.input_tokens += entry.usage.input_tokens
        beat.output_tokens += entry.usage.output_tokens
        beat.unpriced_calls += entry.nanos is None
        beat.errors += entry.status == "error"
        beat.tries += entry.attempts
    return sorted(found.values(), key=lambda beat: beat.at_ns)


def dear_calls(ledger: Ledger, nanos: int, since_ns: int, until_ns: int) -> list[DearCall]:
    """The calls of this time that cost at least so much, oldest first, `MOST_DEAR` at most. Raises StoreUnavailable."""
    store = _below(ledger)
    if isinstance(store, SqlLedger):
        return _sql_dear(store, nanos, since_ns, until_ns)
    found = [
        DearCall(entry.call_id, entry.at_ns, entry.provider, entry.model, dict(entry.tags.items()), entry.nanos)
        for entry in reversed(_entries(store, since_ns, until_ns))
        if entry.nanos is not None and entry.nanos >= nanos and not isinstance(entry, Adjustment)
    ]
    return found[:MOST_DEAR]


def _entries(ledger: Ledger, since_ns: int, until_ns: int) -> list[Entry]:
    """Newest first."""
    found = ledger.entries({}, since_ns=since_ns, until_ns=until_ns, limit=10**9)
    return [entry for entry in found if not is_lost_lease(entry)]


def _below(ledger: Ledger) -> Ledger:
    while (inner := getattr(ledger, "inner", None)) is not None:
        ledger = inner
    return ledger


def _sql_beats(store: SqlLedger, since_ns: int, until_ns: int) -> list[Beat]:
    from sqlalchemy import case, func, select

    from costguard.ledger.record import NUMBER_OF
    from costguard.ledger.selection import within
    from costguard.ledger.tables import metadata

    entries = metadata.tables["costguard_entries"].c
    call = case((entries.status == NUMBER_OF["adjusted"], 0), (entries.attempts == 0, 0), else_=1)
    adjusted = entries.status == NUMBER_OF["adjusted"]
    at = (entries.at // _BEAT).label("beat")
    query = (
        select(
            at,
            entries.model_id,
            entries.tags_id,
            func.sum(call),
            func.sum(func.coalesce(entries.cost, 0)),
            func.sum(entries.input_tokens),
            func.sum(entries.output_tokens),
            func.sum(case((entries.cost.is_(None), 1), else_=0)),
            func.sum(case((entries.status == NUMBER_OF["error"], 1), else_=0)),
            func.sum(case((adjusted, 0), else_=entries.attempts)),
        )
        .group_by(at, entries.model_id, entries.tags_id)
        .order_by(at)
    )
    with store._driver.reading() as connection:
        lines = connection.execute(query.where(*within(connection, since_ns // 1000, until_ns // 1000))).fetchall()
        models, tags = _named(connection, {line[2] for line in lines})
    found = []
    for beat, model_id, tags_id, *counts in lines:
        provider, model, operation = models[model_id]
        if (provider, operation) != LEASE:
            found.append(
                Beat(int(beat) * BEAT_NS, provider, model, tags[tags_id], *[int(count or 0) for count in counts])
            )
    return found


def _sql_dear(store: SqlLedger, nanos: int, since_ns: int, until_ns: int) -> list[DearCall]:
    from uuid import UUID

    from sqlalchemy import select

    from costguard.ledger.record import NUMBER_OF
    from costguard.ledger.selection import within
    from costguard.ledger.tables import metadata

    tables = metadata.tables
    entries, models = tables["costguard_entries"].c, tables["costguard_models"].c
    sets = tables["costguard_tag_sets"].c
    query = (
        select(entries.call_id, entries.at, models.provider, models.model, models.operation, sets.tags, entries.cost)
        .join_from(tables["costguard_entries"], tables["costguard_models"], models.id == entries.model_id)
        .join(tables["costguard_tag_sets"], sets.id == entries.tags_id)
        .where(
            entries.cost >= nanos,
            entries.status != NUMBER_OF["adjusted"],
        )
        .order_by(entries.at, entries.id)
        .limit(MOST_DEAR)
    )
    with store._driver.reading() as connection:
        lines = connection.execute(query.where(*within(connection, since_ns // 1000, until_ns // 1000))).fetchall()
    return [
        DearCall(str(UUID(bytes=bytes(call_id))), at * 1000, provider, model, tags, int(cost))
        for call_id, at, provider, model, operation, tags, cost in lines
        if (provider, operation) != LEASE
    ]


_FEW = 500


def _named(connection: Any, wanted: set[int]) -> tuple[dict[int, tuple[str, str, str]], dict[int, dict[str, str]]]:
    """The models, and the tag sets of these numbers: there may be very many of those."""
    from sqlalchemy import select

    from costguard.ledger.tables import metadata

    models, sets = metadata.tables["costguard_models"].c, metadata.tables["costguard_tag_sets"].c
    which = select(sets.id, sets.tags)
    if len(wanted) <= _FEW:
        which = which.where(sets.id.in_(sorted(wanted)))
    return (
        {
            number: (provider, model, operation)
            for number, provider, model, operation in connection.execute(
                select(models.id, models.provider, models.model, models.operation)
            )
        },
        dict(connection.execute(which).fetchall()),
    )
