"""Do the rollups say what the entries add up to? Looked at a day at a time, and made so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.months import lock
from costguard.ledger.rollups import DAY
from costguard.ledger.rollups_sql import KEYS, LENGTH, OUT_OF_RANGE, VALUES, forget_empty, of_day, one_row

Progress = Callable[[int], None]
"""Hears how many days have been looked at."""

_REBUILD = 3  # of the advisory locks, see `costguard.ledger.months.lock`


@dataclass(frozen=True, slots=True)
class RollupAudit:
    """days: that were looked at. differences: lines of rollups that did not say what the entries add up to, in
    `differing_days` of them, and in SQLite entries that no time leads to. They were corrected if `rebuilt`."""

    days: int
    differences: int
    differing_days: int
    rebuilt: bool = False

    @property
    def ok(self) -> bool:
        return self.rebuilt or not self.differences


@runtime_checkable
class RolledUp(Protocol):
    """A store that keeps rollups."""

    def audit_rollups(self, *, rebuild: bool, progress: Progress | None = None) -> RollupAudit: ...


def audit_rollups(ledger: Ledger, *, rebuild: bool = False, progress: Progress | None = None) -> RollupAudit:
    """Compare all rollups with the entries, a day at a time, each as it is at one moment; with `rebuild` make them
    what the entries say. Calls may go on meanwhile: what is wrong is wrong by as much when they have moved on.

    A store without rollups has none that differ. Raises ConfigError if those are to be rebuilt, StoreUnavailable.
    """
    at = ledger
    while not isinstance(at, RolledUp):
        before_reading, inner = getattr(at, "before_reading", None), getattr(at, "inner", None)
        if inner is None:
            if rebuild:
                raise ConfigError(f"the store {ledger.url} keeps no rollups to rebuild; give a SQL store")
            return RollupAudit(0, 0, 0)
        if callable(before_reading):
            before_reading()
        at = inner
    return at.audit_rollups(rebuild=rebuild, progress=progress)


class SqlRollups:
    """group_of: gives a tag set its group, in a transaction"""

    def __init__(self, driver: Driver, group_of: Callable[[Execute, int], int]) -> None:
        self._driver = driver
        self._group_of = group_of
        self._postgres = bool(driver.for_update)
        self._change = {table: driver.text(one_row(table)) for table in KEYS}

    def audit(self, *, rebuild: bool, progress: Progress | None) -> RollupAudit:
        if rebuild:
            self._driver.transact(self._group)
        differences = 0 if self._postgres else self._out_of_range(rebuild=rebuild)
        days = list(self._days())
        differing = 0
        for done, day in enumerate(days, 1):
            found = self._count(day)
            if found and rebuild:
                found = self._driver.transact(self._correct, day)
            differences += found
            differing += found > 0
            if progress is not None:
                progress(done)
        if rebuild and differing:
            self._driver.transact(forget_empty, (days[-1] + 1) * DAY)
        return RollupAudit(len(days), differences, differing, rebuild)

    def _group(self, execute: Execute) -> None:
        """Tag sets of workers that knew of no groups."""
        for (tags_id,) in execute("SELECT id FROM costguard_tag_sets WHERE group_id IS NULL", ()).fetchall():
            self._group_of(execute, tags_id)

    def _out_of_range(self, *, rebuild: bool) -> int:
        """Entries that no time leads to, as somebody has changed what triggers keep; see `tables_ranges.IdRange`."""
        if rebuild:
            # A change of nothing is one for the triggers.
            mend = f"UPDATE costguard_entries AS e SET moment = moment WHERE {OUT_OF_RANGE}"
            return self._driver.transact(lambda execute: execute(mend, ()).rowcount)
        with self._driver.reading() as connection:
            count = connection.exec_driver_sql(
                f"SELECT count(*) FROM costguard_entries e WHERE {OUT_OF_RANGE}"
            ).scalar()
        return int(count or 0)

    def _days(self) -> Iterator[int]:
        """Those that have entries, or rollups."""
        with self._driver.reading() as connection:
            day: int | None = 0
            while day is not None:
                least = [
                    f"SELECT min(at) / {DAY} FROM costguard_entries WHERE at >= {day * DAY}" if self._postgres
                    else f"SELECT min(hour) / 24 FROM costguard_id_ranges WHERE hour >= {day * 24}"
                ]  # fmt: skip
                for table, keys in KEYS.items():
                    parts = DAY // LENGTH[table]
                    least.append(
                        f"SELECT min({keys[0]}) / {parts} FROM costguard_{table} WHERE {keys[0]} >= {day * parts}"
                    )
                firsts = connection.exec_driver_sql(" UNION ALL ".join(least)).fetchall()
                day = min([first for (first,) in firsts if first is not None], default=None)
                if day is not None:
                    yield day
                    day += 1

    def _count(self, day: int) -> int:
        with self._driver.reading() as connection:
            return sum(len(connection.exec_driver_sql(self._lacking(table, day)).fetchall()) for table in KEYS)

    def _lacking(self, table: str, day: int) -> str:
        """A SELECT of what has to be added to the rows of a table so that they say what the entries of a day say."""
        keys, values = KEYS[table], VALUES[table]
        parts = DAY // LENGTH[table]
        said = (
            f"SELECT {', '.join(keys)}, {', '.join([f'-{value}' for value in values])} FROM costguard_{table} "
            f"WHERE {keys[0]} >= {day * parts} AND {keys[0]} < {(day + 1) * parts}"
        )
        true = of_day(table, day, sqlite=not self._postgres)
        names = [f"k{place}" for place in range(len(keys))]
        grouped = ", ".join(names)
        sums = ", ".join([f"CAST(sum({value}) AS bigint)" for value in values])
        wrong = " OR ".join([f"sum({value}) <> 0" for value in values])
        return (
            f"WITH told ({', '.join((*names, *values))}) AS (SELECT * FROM ({true}) counted UNION ALL {said}) "
            f"SELECT {grouped}, {sums} FROM told GROUP BY {grouped} HAVING {wrong} ORDER BY {grouped}"
        )

    def _correct(self, execute: Execute, day: int) -> int:
        if self._postgres:
            # One rebuild at a time: two would both add what is lacking.
            execute(lock(_REBUILD), ())
        count = 0
        for table in KEYS:
            lines = execute(self._lacking(table, day), ()).fetchall()
            for line in lines:
                execute(self._change[table], line)
            count += len(lines)
        return count
