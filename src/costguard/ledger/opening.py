"""From what an app gives as its store to a ledger."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger

_STORES = (
    'give "sqlite:///costs.db" (a path from the working directory), "sqlite:////var/lib/app/costs.db" (an absolute '
    'one), "postgresql://user:password@host/database", "memory://" for trials, or an object with the verbs of '
    "costguard.ledger.base.Ledger"
)
_SYNCHRONOUS = ("NORMAL", "FULL")


def open_ledger(store: str | Ledger) -> Ledger:
    """The ledger of a URL, opened and with its schema up to date; a Ledger is opened and handed back.

    ``sqlite:///costs.db?synchronous=FULL`` syncs the disk at every transaction (default NORMAL: safe against
    kill -9, not against a power cut); ``&patience=2`` waits at most two seconds for other writers (default 10).

    ``postgresql://user:password@host:5432/database`` (or ``postgresql+psycopg://``) takes libpq's options, and
    ``pool_size`` (connections of one process, default 8), ``patience`` (seconds a verb waits for a connection or a
    lock, default 10), ``synchronous_commit`` (as PostgreSQL's setting) and ``prepare=off`` (for poolers that cannot
    do prepared statements).

    Raises ConfigError for a URL it cannot mean, StoreUnavailable if the store cannot be used, MissingExtra
    without psycopg.
    """
    ledger = read_store(store)
    ledger.open()
    return ledger


def read_store(store: str | Ledger) -> Ledger:
    """`open_ledger` without the opening."""
    ledger = _ledger(store) if isinstance(store, str) else store
    if not callable(getattr(ledger, "reserve", None)):
        raise ConfigError(f"store {store!r} is a {type(store).__name__}; {_STORES}")
    return ledger


def _ledger(url: str) -> Ledger:
    scheme, mark, _ = url.partition("://")
    if not mark:
        # An "@" or a "=" may stand beside a password.
        named = "" if "@" in url or "=" in url else f" {url!r}"
        raise ConfigError(f"store{named} is not a URL; {_STORES}")
    if scheme == "memory":
        from costguard.ledger.memory import MemoryLedger

        return MemoryLedger()
    if scheme in ("sqlite", "sqlite+pysqlite"):
        return _sqlite(url)
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        from costguard.ledger.postgres import PostgresDriver
        from costguard.ledger.postgres_url import read_address
        from costguard.ledger.sql import SqlLedger

        return SqlLedger(PostgresDriver(read_address(url)))
    # Without what may be a password.
    raise ConfigError(f"store {scheme}://... is of a kind that this version does not know; {_STORES}")


def _sqlite(url: str) -> Ledger:
    from costguard.ledger.sql import SqlLedger
    from costguard.ledger.sqlite import PATIENCE, SqliteDriver

    parts = urlsplit(url)
    if parts.netloc:
        raise ConfigError(f"store {url!r} names a host, {parts.netloc!r}; a path comes after three slashes: {_STORES}")
    path = parts.path.removeprefix("/")
    if path in ("", ":memory:"):
        raise ConfigError(f'store {url!r} is SQLite in memory, which only one connection can see; give "memory://"')
    if parts.fragment:
        raise ConfigError(f"store {url!r} has a '#', which cannot be part of the path")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "NORMAL").upper()
    if synchronous not in _SYNCHRONOUS:
        raise ConfigError(f"store {url!r} has synchronous={synchronous}; use {' or '.join(_SYNCHRONOUS)}")
    patience = _seconds(url, options.pop("patience", str(PATIENCE)))
    if options:
        raise ConfigError(f"store {url!r} has the unknown option {next(iter(options))!r}; use synchronous or patience")
    return SqlLedger(SqliteDriver(path, synchronous=synchronous, patience=patience))


def _seconds(url: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ConfigError(f"store {url!r} has patience={text}; give seconds, zero or more, such as 2 or 0.5")
    return seconds
