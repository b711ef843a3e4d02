"""The migrations make the tables that the code works with."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect
from sqlmodel import SQLModel

from costguard.ledger import migrate
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import rules, seen, set_budget
from costguard.ledger.tables import metadata
from tests.ledger.postgres import server
from tests.ledger.values import NOW, hold, limit

MIGRATIONS = Path(migrate.__file__).parent / "migrations"


def test_the_migrated_schema_is_the_one_of_the_tables(url: str) -> None:
    open_ledger(url).close()
    with create_engine(url).connect() as connection:
        options = {"version_table": migrate.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_the_migrated_schema_of_postgresql_is_the_one_of_the_tables_but_for_its_partitions() -> None:
    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name == migrate.VERSION_TABLE or name in metadata.tables

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(server().database()))
    with engine.connect() as connection:
        options = {
            "version_table": migrate.VERSION_TABLE, "compare_type": True, "compare_server_default": True,
            "include_name": ours,
        }  # fmt: skip
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_an_app_can_run_the_migrations_on_postgresql_itself() -> None:
    url = server().database("template1")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.begin() as connection:
        migrate.upgrade(connection)
        migrate.upgrade(connection)
    engine.dispose()
    ledger = open_ledger(url)
    assert ledger.entries({}) == []
    ledger.close()


def test_head_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_a_small_balance_is_kept_in_a_table_without_row_ids(url: str) -> None:
    open_ledger(url).close()
    with create_engine(url).connect() as connection:
        sql = dict(connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
    assert "WITHOUT ROWID" in sql["costguard_balances"]
    assert "WITHOUT ROWID" in sql["costguard_holds"]


def test_an_app_can_run_the_migrations_itself(url: str) -> None:
    with create_engine(url).begin() as connection:
        migrate.upgrade(connection)
        migrate.upgrade(connection)
        assert inspect(connection).has_table("costguard_entries")
    assert open_ledger(url).entries({}) == []


OF_BEFORE = (
    'INSERT INTO costguard_tag_sets (id, digest, tags) VALUES (1001, {zero}, \'{{"user": "alice"}}\')',
    "INSERT INTO costguard_models (id, digest, provider, model, operation) "
    "VALUES (1001, {zero}, 'openai', 'gpt-4o', 'chat')",
    "INSERT INTO costguard_entries (id, call_id, at, model_id, tags_id, cost) "
    f"VALUES (1001, {{id}}, {NOW // 1000}, 1001, 1001, 250000000)",
    "INSERT INTO costguard_balances (key, spent, held, start, until, payer, budget) "
    "VALUES ('{key}', 250000000, 0, {start}, {until}, '[[\"user\",\"alice\"]]', "
    '\'{{"limit":"1","window":"day","per":["user"],"where":[],"tz":"UTC","holds":null,'
    '"alerts":["0.5"],"name":""}}\')',
)
"""What a ledger of version 0001 has in it after one call of alice."""


def test_a_ledger_of_the_version_before_is_brought_up_to_date_with_all_that_is_in_it(
    shared_url: str, tmp_path: Path
) -> None:
    postgres = shared_url.startswith("postgresql")
    url = server().database("template1") if postgres else f"sqlite:///{tmp_path}/old.db"
    engine = (
        create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url)) if postgres else create_engine(url)
    )
    alice = limit()
    facts = {
        "zero": "'\\x00'" if postgres else "x'00'", "id": f"'\\x{'01' * 16}'" if postgres else f"x'{'01' * 16}'",
        "key": alice.key, "start": alice.start // 1000, "until": (alice.end or 0) // 1000,
    }  # fmt: skip
    with engine.begin() as connection:
        migrate.upgrade(connection, "0001")
        assert not inspect(connection).has_table("costguard_budgets")
        for statement in OF_BEFORE:
            connection.exec_driver_sql(statement.format(**facts))
    engine.dispose()
    ledger = open_ledger(url)
    assert [(one.cost, dict(one.tags)) for one in ledger.entries({})] == [(Decimal("0.25"), {"user": "alice"})]
    assert ledger.balances([alice]) == [(250_000_000, 0)]
    assert [str(budget) for budget in seen(ledger, now_ns=NOW)] == ["$1.00/day per user alerts at 50%"]
    set_budget(ledger, "$2/day per user", "ann")
    assert [stored.rule for stored in rules(ledger).budgets] == ["$2.00/day per user"]
    assert ledger.reserve(hold(alice, cents=75), NOW) is None
    assert ledger.reserve(hold(alice, cents=1), NOW) is not None
    ledger.close()


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_the_tables_are_prefixed_and_not_in_the_metadata_of_the_app(table: str) -> None:
    assert table.startswith("costguard_")
    assert table not in SQLModel.metadata.tables
