"""The schema of a store as it is, looked at without opening a ledger, which would bring it up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote, urlsplit

from costguard.errors import ConfigError, StoreUnavailable
from costguard.ledger import migrate
from costguard.ledger.sqlite_errors import translate

_PATIENCE = 10.0
"""Seconds that it waits for who has locked the file."""


def require_current(url: str) -> None:
    """Raise ConfigError where the store has no ledger yet, or one of an older or newer schema than `migrate.HEAD`.

    Who only reads must not change the tables under workers of an older version. A store of a kind that has no
    schema passes, as does a URL that `open_ledger` is going to refuse.
    """
    scheme = url.partition("://")[0]
    if scheme in ("sqlite", "sqlite+pysqlite"):
        shown = url.partition("?")[0]
        found = _of_sqlite(url, shown)
    elif scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        shown, found = _of_postgres(url)
    else:
        return
    if found is None:
        raise ConfigError(f"store {shown} has no ledger in it yet; check the name, or make one: costguard migrate")
    if found != migrate.HEAD:
        raise ConfigError(
            f"store {shown} has schema {found}, and this costguard reads {migrate.HEAD}; bring it up to date: "
            f"costguard migrate"
        )


def _of_sqlite(url: str, shown: str) -> str | None:
    parts = urlsplit(url)
    path = parts.path.removeprefix("/")
    if parts.netloc or path in ("", ":memory:"):
        return migrate.HEAD
    file = Path(path)
    if file.is_dir():
        raise ConfigError(f"store {url!r}: {str(file.absolute())!r} is a directory; give the path of a file in it")
    if not file.is_file():
        raise ConfigError(
            f"store {url!r}: there is no file {str(file.absolute())!r}; check the path, or make it: costguard migrate"
        )
    try:
        # Not mode=ro: that cannot read a file in WAL mode whose last writer has cleaned up behind itself.
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=rw", uri=True, timeout=_PATIENCE)
        try:
            connection.execute("PRAGMA query_only = ON")
            return migrate.version(connection.execute, shown)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        translate(error, str(file.absolute()), _PATIENCE)
        raise StoreUnavailable(f"the ledger {shown} cannot be read (SQLite says: {error})") from error


def _of_postgres(url: str) -> tuple[str, str | None]:
    from costguard.ledger.postgres_url import read_address, way_out

    address = read_address(url)
    import psycopg

    table = migrate.VERSION_TABLE
    try:
        with address.connect(autocommit=True) as connection:
            missing = connection.execute("SELECT to_regclass(%s) IS NULL", (table,)).fetchone()
            if missing is None or missing[0]:
                return address.url, None
            row = connection.execute(f"SELECT version_num FROM {table}".encode()).fetchone()
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise StoreUnavailable(f"the ledger {address.url} {way_out(error)} (PostgreSQL says: {said})") from error
    return address.url, migrate.known(None if row is None else str(row[0]), address.url)
