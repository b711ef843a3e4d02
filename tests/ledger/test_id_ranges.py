"""In SQLite ranges of ids lead from a time to its entries: to all of them, however late they came."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from costguard.ledger import migrate
from costguard.ledger.id_ranges import joined, newest_first
from costguard.ledger.opening import open_ledger
from costguard.ledger.record import EPOCH
from costguard.ledger.rollups import HOUR
from costguard.ledger.rollups_upkeep import audit_rollups
from costguard.ledger.selection import entry, within
from tests.ledger.values import NOW, hold
from tests.ledger.values import entry as entry_of

HOURS = 2
BEGIN = NOW // 1000 // HOUR
INSERT = "INSERT INTO costguard_entries (id, call_id, moment, model_id, tags_id) VALUES (?, randomblob(16), ?, 1, 1)"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new ledger, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "costs.db"
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.open()
    ledger.close()
    return path


moments = st.builds(
    lambda hour, more: (BEGIN + hour) * HOUR + more, st.integers(0, HOURS - 1), st.integers(0, HOUR - 1)
)
changes = st.one_of(
    # Of calls that end in time, that end late, and while thousands of others did.
    st.tuples(st.just("new"), st.sampled_from([1, 1, 1, 2, 200, 3000, 9000]), moments),
    st.tuples(st.just("moved"), st.integers(0, 8), moments),
    st.tuples(st.just("gone"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("newest gone"), st.integers(1, 4), st.just(0)),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
# The range of the second, which was begun longer than it had to be, is in the way of the one that the first needs.
@example(
    given=[("new", 1, BEGIN * HOUR), ("new", 1, (BEGIN + 1) * HOUR), ("moved", 0, (BEGIN + 1) * HOUR)],
    since=BEGIN * HOUR,
    until=(BEGIN + HOURS) * HOUR,
)
@given(given=st.lists(changes, max_size=40), since=moments, until=moments)
def test_every_entry_is_in_one_range_of_its_hour_and_found_by_its_time(
    given: Sequence[tuple[str, int, int]], since: int, until: int, empty: Path, tmp_path: Path
) -> None:
    path = shutil.copy(empty, tmp_path / "costs.db")
    connection = sqlite3.connect(path, isolation_level=None)
    for what, number, at in given:
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM costguard_entries").fetchone()
        if what == "new":
            connection.execute(INSERT, (last + number, at - EPOCH if number % 2 else at))
        elif what == "newest gone":
            connection.execute("DELETE FROM costguard_entries WHERE id > ?", (last - number,))
        else:
            one = "id = (SELECT id FROM costguard_entries ORDER BY id LIMIT 1 OFFSET ?)"
            if what == "gone":
                connection.execute(f"DELETE FROM costguard_entries WHERE {one}", (number,))
            else:
                connection.execute(f"UPDATE costguard_entries SET moment = ? WHERE {one}", (at - EPOCH, number))
    all_of_them = connection.execute("SELECT id, at FROM costguard_entries").fetchall()
    ranges = connection.execute("SELECT hour, first, last FROM costguard_id_ranges").fetchall()
    connection.close()
    for number, at in all_of_them:
        assert sum(hour == at // HOUR and first <= number <= last for hour, first, last in ranges) == 1

    wanted = sorted(((at, number) for number, at in all_of_them if since <= at < until), reverse=True)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as reading:
        found = reading.execute(select(entry.at, entry.id).where(*within(reading, since, until))).fetchall()
        assert sorted(map(tuple, found), reverse=True) == wanted
        in_turn: list[tuple[int, ...]] = []
        for conditions in newest_first(reading, since, until, 2):
            part = reading.execute(select(entry.at, entry.id).where(*conditions)).fetchall()
            in_turn += sorted(map(tuple, part), reverse=True)
        assert in_turn == wanted
    engine.dispose()


ids = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 20)).map(lambda one: (one[0], one[0] + one[1])), max_size=60
)


@given(ids)
def test_ranges_that_are_joined_lose_no_id_and_are_few(ranges: list[tuple[int, int]]) -> None:
    found = joined(ranges)
    assert len(found) <= 20
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
    covered = {number for first, last in found for number in range(first, last + 1)}
    assert covered >= {number for first, last in ranges for number in range(first, last + 1)}


def test_few_entries_change_a_range(empty: Path, tmp_path: Path) -> None:
    path = shutil.copy(empty, tmp_path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executemany(INSERT, [(number, BEGIN * HOUR - EPOCH + number) for number in range(1, 2001)])
    assert connection.execute("SELECT count(*), min(first), max(last) FROM costguard_id_ranges").fetchall() == [
        (1, 1, 2048)
    ]
    connection.close()


def test_a_ledger_of_the_version_before_finds_its_entries_by_their_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    with engine.begin() as connection:
        migrate.upgrade(connection, "0006")
        connection.exec_driver_sql("INSERT INTO costguard_tag_sets (id, digest, tags) VALUES (1, x'00', '{}')")
        connection.exec_driver_sql("INSERT INTO costguard_models VALUES (1, x'00', 'openai', 'gpt-4o', 'chat')")
        # In the order of their ids, but for the last, which came a day late.
        for number, hour in ((1, 0), (2, 1), (3, 24), (9000, 0)):
            connection.exec_driver_sql(
                "INSERT INTO costguard_entries (id, call_id, at, model_id, tags_id, cost) VALUES (?, ?, ?, 1, 1, ?)",
                (number, number.to_bytes(16, "big"), (BEGIN + hour) * HOUR + number, number),
            )
    engine.dispose()
    ledger = open_ledger(url)
    first, next_day = BEGIN * HOUR * 1000, (BEGIN + 24) * HOUR * 1000
    assert [one.nanos for one in ledger.entries({}, since_ns=first, until_ns=next_day)] == [2, 9000, 1]
    assert [one.nanos for one in ledger.entries({}, since_ns=next_day)] == [3]
    assert [one.nanos for one in ledger.entries({}, limit=3)] == [3, 2, 9000]
    ledger.close()
    after = sqlite3.connect(tmp_path / "old.db")
    assert after.execute("SELECT * FROM costguard_id_ranges").fetchall() == [
        (BEGIN, 1, 1), (BEGIN, 9000, 9000), (BEGIN + 1, 2, 2), (BEGIN + 24, 3, 3),
    ]  # fmt: skip
    after.close()


def test_a_ledger_can_go_back_to_the_version_before_with_the_times_of_its_entries(empty: Path, tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    path = shutil.copy(empty, tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute(INSERT, (1, BEGIN * HOUR - EPOCH))
    connection.close()
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as reading:
        config.attributes["connection"] = reading
        command.downgrade(config, "0006")
        assert reading.exec_driver_sql("SELECT id, at FROM costguard_entries").fetchall() == [(1, BEGIN * HOUR)]
    engine.dispose()


def test_what_is_forgotten_leaves_no_range(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    ledger = open_ledger(url)
    ledger.open()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO costguard_tag_sets (id, digest, tags) VALUES (1, x'00', '{}')")
        connection.execute("INSERT INTO costguard_models VALUES (1, x'00', 'openai', 'gpt-4o', 'chat')")
        rows = [(number, (BEGIN + number % 3) * HOUR - EPOCH + 7) for number in range(1, 3002)]
        connection.executemany(INSERT, rows)
    assert ledger.retain(((BEGIN + 1) * HOUR + 5) * 1000) == 1000
    assert connection.execute("SELECT DISTINCT hour FROM costguard_id_ranges").fetchall() == [
        (BEGIN + 1,),
        (BEGIN + 2,),
    ]
    assert ledger.retain(((BEGIN + 1) * HOUR + 8) * 1000) == 1001
    assert connection.execute("SELECT count(*) FROM costguard_entries").fetchone() == (1000,)
    connection.close()
    ledger.close()


@pytest.mark.parametrize("between", ["new", "gone"])
def test_what_is_read_at_once_is_of_one_moment(url: str, between: str) -> None:
    ledger = open_ledger(url)
    ledger.open()
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute(INSERT, (1, 0))
    with ledger._driver.reading() as reading:  # type: ignore[attr-defined]
        count = "SELECT count(*) FROM costguard_entries"
        assert reading.exec_driver_sql(count).scalar() == 1
        with connection:
            connection.execute(*((INSERT, (2, 0)) if between == "new" else ("DELETE FROM costguard_entries", ())))
        assert reading.exec_driver_sql(count).scalar() == 1
    with ledger._driver.reading() as reading:  # type: ignore[attr-defined]
        assert reading.exec_driver_sql(count).scalar() == (2 if between == "new" else 0)
    connection.close()
    ledger.close()


def test_check_finds_entries_that_no_time_leads_to_and_rebuilds_the_way(url: str) -> None:
    ledger = open_ledger(url)
    held = hold()
    ledger.settle(entry_of(held, 5), held)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM costguard_id_ranges")
    connection.close()
    assert ledger.entries({}) == []
    assert not audit_rollups(ledger).ok
    assert audit_rollups(ledger, rebuild=True).ok
    assert [one.call_id for one in ledger.entries({})] == [held.call.id]
    assert audit_rollups(ledger).differences == 0
    ledger.close()


def test_a_page_ends_where_it_is_told_to_wherever_the_one_before_ended(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    made = []
    for number in range(4):
        held = hold(at_ns=NOW + number * HOUR * 1000)
        made.append(entry_of(held, 1))
        ledger.settle(made[-1], held)
    newest = made[-1]
    for until, ids in ((1, []), (2, [0]), (3, [1, 0]), (4, [2, 1, 0])):
        told = ledger.entries({}, before=newest, until_ns=NOW + (until - 1) * HOUR * 1000)
        assert [one.call_id for one in told] == [made[number].call_id for number in ids]
    ledger.close()
