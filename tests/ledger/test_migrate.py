"""The migrations make the tables that the code works with."""

from __future__ import annotations

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
from costguard.ledger.tables import metadata
from tests.ledger.postgres import server

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


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_the_tables_are_prefixed_and_not_in_the_metadata_of_the_app(table: str) -> None:
    assert table.startswith("costguard_")
    assert table not in SQLModel.metadata.tables
