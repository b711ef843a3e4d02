"""The schema, brought up to date when a ledger opens.

An app that wants to decide when calls `costguard.ledger.migrate.upgrade(connection)` itself, with a connection
that is in a transaction, for example at the end of `run_migrations_online()` in the `env.py` of its own Alembic.
costguard's revisions are counted in the table `costguard_version`, apart from the app's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from costguard.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0007"
"""The revision this version of costguard works with."""

VERSION_TABLE = "costguard_version"

# Alembic keeps the running migration in module globals.
_alembic = Lock()


def version(execute: Callable[[str], Any], store: str) -> str | None:
    """The revision of an SQLite file, None if it has no ledger yet. Without Alembic, which takes 0.3 s to import.

    Raises ConfigError if a newer costguard has been there.
    """
    try:
        row = execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return None
    return known(None if row is None else str(row[0]), store)


def known(found: str | None, store: str) -> str | None:
    """The revision as it was found, or ConfigError if a newer costguard has been there."""
    if found is not None and found > HEAD:
        raise ConfigError(
            f"the ledger {store} has schema {found}, and this costguard knows {HEAD} at most; upgrade costguard"
        )
    return found


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the schema up to `HEAD`, or to an earlier revision, in the transaction that `connection` is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _alembic:
        command.upgrade(config, revision)
