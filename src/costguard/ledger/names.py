"""From numbers of tag sets and models to the values that are asked for: rows are grouped by numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CTE, BigInteger, Connection, Select, cast, func, select, union_all

from costguard.ledger.figures import FACTS, MOMENTS, Wanted
from costguard.ledger.record import STATUSES
from costguard.ledger.rollups import DAY, HOUR
from costguard.ledger.selection import models, tag_sets, with_tags
from costguard.tags import UNATTRIBUTED

PARTS = ("provider", "model", "operation")


class Names:
    """Of the tag sets (or models) that have the same values of what is asked for, one stands for all.

    grouped: the tag sets are groups, see `costguard.ledger.rollups`
    """

    def __init__(self, by: Sequence[str], wanted: Wanted, *, grouped: bool) -> None:
        self._by = tuple(by)
        self._tags = [name for name in by if name not in FACTS and name not in MOMENTS]
        self._parts = [name for name in by if name in PARTS]
        self._sets = self._models = None
        if self._tags:
            values = [func.coalesce(tag_sets.tags[name].as_string(), UNATTRIBUTED) for name in self._tags]
            # Many tag sets are read through: SQLite would take those an index leads to for a few, and join them with
            # all rows one by one.
            number = tag_sets.id if wanted.sets is not None else tag_sets.id + 0
            chosen = [tag_sets.group_id == tag_sets.id] if grouped else with_tags(wanted, number)
            self._sets = _standing("tag_names", tag_sets.id, values, chosen)
        if self._parts:
            self._models = _standing("model_names", models.id, [models[part] for part in self._parts], [])
        self._places: list[tuple[int, int]] = []
        self._values: list[dict[int, tuple[str, ...]]] = []

    def added(self, sources: Sequence[Select[Any]], keys: Sequence[str], names: Sequence[str]) -> Select[Any]:
        """The rows of all sources, added up by the keys, with what stands for each."""
        rows = (union_all(*sources) if len(sources) > 1 else sources[0]).subquery("rows_of_all")
        source: Any = rows
        groups: list[Any] = []
        for key in keys:
            named = {"tags_id": self._sets, "model_id": self._models}.get(key)
            if named is None:
                groups.append(rows.c[key])
            else:
                source = source.join(named, named.c.id == rows.c[key])
                groups.append(named.c.stands)
        # PostgreSQL adds numbers up to a numeric, which is slow to read.
        counts = [cast(func.sum(rows.c[name]), BigInteger).label(name) for name in names]
        query = select(*groups, *counts).select_from(source)
        return query.group_by(*groups) if groups else query.having(func.count() > 0)

    def read(self, connection: Connection) -> None:
        """What the numbers stand for. After the rows were read: it is never changed, and only grows."""
        place = {"tags_id": 0, "model_id": int(self._sets is not None)}
        after = place["model_id"] + int(self._models is not None)
        moments = [name for name in ("status", *MOMENTS) if name in self._by]
        for name in self._by:
            if name in self._tags:
                self._places.append((place["tags_id"], self._tags.index(name)))
            elif name in self._parts:
                self._places.append((place["model_id"], self._parts.index(name)))
            else:
                self._places.append((after + moments.index(name), -1))
        for named in (self._sets, self._models):
            if named is not None:
                result = connection.execute(select(named).where(named.c.id == named.c.stands))
                self._values.append({line[0]: tuple(line[2:]) for line in result.cursor.fetchall()})
                result.close()

    def words(self) -> list[tuple[int, Mapping[int, str]]]:
        """For each name that is asked for: the place of its number in a line, and what numbers say."""
        return [
            (place, {number: values[part] for number, values in self._values[place].items()})
            if part >= 0
            else (place, _Words(name))
            for name, (place, part) in zip(self._by, self._places, strict=True)
        ]

    def groups(self, lines: Sequence[Sequence[Any]]) -> list[tuple[str, ...]]:
        """The values of each line, in words."""
        columns = [[words[line[place]] for line in lines] for place, words in self.words()]
        return list(zip(*columns, strict=True)) if columns else [()] * len(lines)


class _Words(dict[int, str]):
    """What the numbers of a status, a day or an hour say."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __missing__(self, number: int) -> str:
        found = self[number] = _word(self._name, number)
        return found


def _standing(name: str, number: Any, values: Sequence[Any], chosen: Sequence[Any]) -> CTE:
    """Number, the number that stands for it, and the values."""
    first = func.first_value(number).over(partition_by=values, order_by=number)
    labelled = [value.label(f"value{place}") for place, value in enumerate(values)]
    return select(number.label("id"), first.label("stands"), *labelled).where(*chosen).cte(name)


def _word(name: str, value: Any) -> str:
    if name == "status":
        return STATUSES[value]
    if name == "day":
        return datetime.fromtimestamp(int(value) * DAY // 10**6, UTC).strftime("%Y-%m-%d")
    return datetime.fromtimestamp(int(value) * HOUR // 10**6, UTC).strftime("%Y-%m-%dT%H")
