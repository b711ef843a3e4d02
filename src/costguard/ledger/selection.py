"""Which rows of a SQL ledger are asked for, as conditions of SQLAlchemy Core: the same on every database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select

from costguard.ledger.base import LEASE
from costguard.ledger.figures import Wanted
from costguard.ledger.id_ranges import at_times, of_time
from costguard.ledger.record import NUMBER_OF
from costguard.ledger.rollups import COARSE
from costguard.ledger.tables import metadata
from costguard.tags import UNATTRIBUTED

tables = metadata.tables
entries_table = tables["costguard_entries"]
entry = entries_table.c
tag_sets = tables["costguard_tag_sets"].c
models = tables["costguard_models"].c
_tag_values = tables["costguard_tag_values"].c
MOST_SETS = 500
_groups = tables["costguard_tag_sets"].alias("tag_groups").c


def one_moment(connection: Connection) -> None:
    """All that is read in this transaction, which has not begun, is of one moment, the numbers of tag sets included.

    In SQLite these become visible in their order, and what stands for a value stays so.
    """
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ")


def matching(connection: Connection, wanted: Wanted) -> list[ColumnElement[bool]]:
    """On the entries."""
    return [*within(connection, wanted.since, wanted.until), *chosen(wanted, entry)]


def within(connection: Connection, since: int | None, until: int | None) -> list[ColumnElement[bool]]:
    """On the entries: of a time in microseconds since 1970."""
    return [*of_time(connection, since, until), *at_times(since, until)]


def chosen(wanted: Wanted, columns: Any, *, indexed: bool = True) -> list[ColumnElement[bool]]:
    """On rows that name their tag set, or their group, model and status, as entries and rollups do; not on the time."""
    found: list[ColumnElement[bool]] = []
    if wanted.tags:
        number = None if "group_id" in columns else columns.tags_id if indexed else columns.tags_id + 0
        # The tag sets first: there are few of them beside the entries, and an index leads on.
        found += [columns.group_id.in_(groups(wanted))] if number is None else with_tags(wanted, number)
    named = {name: values for name, values in wanted.facts.items() if name != "status"}
    if named:
        asked = select(models.id)
        for name, values in named.items():
            asked = asked.where(models[name].in_(sorted(values)))
        found.append(columns.model_id.in_(asked))
    if "status" in wanted.facts:
        numbers = [NUMBER_OF[value] for value in sorted(wanted.facts["status"]) if value in NUMBER_OF]
        found.append(columns.status.in_(numbers))
    return found


def of_calls(by: Iterable[str], wanted: Wanted, columns: Any) -> list[ColumnElement[bool]]:
    """Not the charges of lost leases, one on each budget: no call cost that. Unless they are asked for."""
    provider, operation = LEASE
    if "operation" in by or operation in wanted.facts.get("operation", ()):
        return []
    leases = select(models.id).where(models.provider == provider, models.operation == operation)
    return [columns.model_id.not_in(leases)]


def groups(wanted: Wanted) -> Select[tuple[int]]:
    """The tag sets that are groups, with these values of the tags in `COARSE`."""
    found = select(_groups.id).where(_groups.group_id == _groups.id)
    for name in wanted.tags:
        if name in COARSE:
            given = _groups.tags[name].as_string()
            among = given.in_(sorted(wanted.tags[name]))
            found = found.where(or_(given.is_(None), among) if UNATTRIBUTED in wanted.tags[name] else among)
    return found


def with_tags(wanted: Wanted, number: ColumnElement[int]) -> list[ColumnElement[bool]]:
    """On the number of a tag set."""
    if wanted.sets is not None:
        return [number.in_(wanted.sets)]
    found: list[ColumnElement[bool]] = []
    if any(name in COARSE for name in wanted.tags):
        found.append(number.in_(select(tag_sets.id).where(tag_sets.group_id.in_(groups(wanted)))))
    for name, values in wanted.tags.items():
        if name in COARSE:
            continue
        named = select(_tag_values.tags_id).where(_tag_values.name == name)
        among = number.in_(named.where(_tag_values.value.in_(sorted(values))))
        found.append(or_(number.not_in(named), among) if UNATTRIBUTED in values else among)
    return found


def found_first(connection: Connection, wanted: Wanted) -> Wanted:
    """The same, with the numbers of the tag sets where these are few: indexes lead from them to the rows."""
    if not any(name not in COARSE and UNATTRIBUTED not in values for name, values in wanted.tags.items()):
        return wanted
    query = select(tag_sets.id).where(*with_tags(wanted, tag_sets.id)).limit(MOST_SETS + 1)
    sets = [number for (number,) in connection.execute(query)]
    return wanted if len(sets) > MOST_SETS else wanted.of_sets(sets)
