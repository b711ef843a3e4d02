"""SQLite as a ledger's database: one kept connection in each process, short transactions, WAL.

With two writers the default busy handler can starve one of
them altogether, so the timeout is 0 and waiting is ours, in short random naps. A connection must not
cross a fork, not even to be closed: the child would believe in file locks that only its parent has.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import random
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from costguard.errors import ConfigError, StoreUnavailable
from costguard.ledger import migrate
from costguard.ledger.buckets import bucket
from costguard.ledger.driver import Execute
from costguard.ledger.process import mark
from costguard.ledger.rollups import HOUR, Rolls
from costguard.ledger.rollups_sql import BUCKET, forget_empty
from costguard.ledger.sqlite_bulk import SqliteBulk
from costguard.ledger.sqlite_errors import translate

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that a transaction waits for other writers before the store counts as unavailable."""

NAP = 0.001
"""Seconds of the longest first nap; a transaction of ours takes a fiftieth of it."""

# Fewer, larger checkpoints: each one syncs the disk in the middle of somebody's call.
# Pages no larger than usual: a settlement changes six and writes each of them whole.
_SETTINGS = "PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY"
_PAGE_SIZE = 4096


class SqliteDriver:
    """`path` is the file; `synchronous` NORMAL survives kill -9 but may lose the last moments before a
    power cut, FULL syncs the disk at every transaction; `patience` is in seconds, see `PATIENCE`."""

    for_update = ""
    skip_locked = ""
    packs = True
    shortcut = None

    def __init__(self, path: str, *, synchronous: str = "NORMAL", patience: float = PATIENCE) -> None:
        if sqlite3.sqlite_version_info < (3, 35):
            raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old for a ledger; 3.35 or newer is needed")
        self.url = f"sqlite:///{path}"
        self.bulk = SqliteBulk(self._many)
        # Absolute, so that a later chdir, as daemons do, cannot make a second, empty ledger.
        self._path = str(Path(path).absolute())
        self._synchronous = synchronous
        self._patience = patience
        # Threads that find the file locked must not wait for it one after the other, each its whole patience.
        self._turn = max(patience, 1.0)
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._here = mark()
        self._engine: Engine | None = None
        self._reads = 0
        self._no_reads = Condition()
        self._paused = False
        _drivers.add(self)

    def text(self, sql: str) -> str:
        return sql

    def open(self) -> None:
        self.transact(lambda _: None)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def transact(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._here[0]:
            # A fork that ran none of Python's hooks before it, as uWSGI's.
            self.after_fork_in_child()
        lock = self._lock
        if not lock.acquire(timeout=self._turn):
            self._no_turn()
        try:
            connection = self._connection or self._connect()
            execute = connection.execute
            try:
                execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                self._wait(execute, "BEGIN IMMEDIATE", error)
            try:
                result = work(execute, *args, **kwargs)
                execute("COMMIT")
            except BaseException:
                # After some errors (disk full) SQLite has rolled back by itself.
                if connection.in_transaction:
                    execute("ROLLBACK")
                raise
            return result
        except sqlite3.DatabaseError as error:
            translate(error, self._path, self._patience)
            raise
        finally:
            lock.release()

    transact_once = transact

    def read(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._here[0]:
            # A fork that ran none of Python's hooks before it, as uWSGI's.
            self.after_fork_in_child()
        lock = self._lock
        if not lock.acquire(timeout=self._turn):
            self._no_turn()
        try:
            connection = self._connection or self._connect()
            return work(connection.execute, *args, **kwargs)
        except sqlite3.DatabaseError as error:
            translate(error, self._path, self._patience)
            raise
        finally:
            lock.release()

    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        """In the running transaction."""
        return (self._connection or self._connect()).executemany(sql, rows)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        from sqlalchemy import create_engine, event
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.pool import NullPool

        self.read(lambda execute: execute("SELECT 1", ()).fetchone())
        if self._engine is None:
            self._engine = create_engine("sqlite://", creator=self._open_for_reading, poolclass=NullPool)
            # What is read is of one moment. It holds up no writer.
            event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        with self._no_reads:
            self._reads += 1
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            if isinstance(error.orig, sqlite3.DatabaseError):
                translate(error.orig, self._path, self._patience)
            raise
        finally:
            with self._no_reads:
                self._reads -= 1
                self._no_reads.notify_all()

    def retain(self, before: int, rolls: Callable[[Execute], Rolls]) -> int:
        count, find = 0, "SELECT DISTINCT hour FROM costguard_id_ranges WHERE hour <= ? ORDER BY hour"
        for (hour,) in self.read(lambda execute: execute(find, (before // HOUR,)).fetchall()):
            # A little at a time: writers get in between.
            while some := self.transact(self.bulk.forget, hour, before, rolls):
                count += some
        self.transact(forget_empty, before)
        return count

    def _open_for_reading(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        # 32 MB, and no more than it needs: what is grouped is sorted in memory.
        connection.execute("PRAGMA cache_size = -32000")
        connection.create_function(BUCKET, 1, bucket, deterministic=True)
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            execute = connection.execute
            execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            try:
                execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                self._wait(execute, "PRAGMA journal_mode = WAL", error)
            execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.executescript(_SETTINGS)
            connection.create_function(BUCKET, 1, bucket, deterministic=True)
            if migrate.version(execute, self.url) != migrate.HEAD:
                self._migrate()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _migrate(self) -> None:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import NullPool

        def connect() -> sqlite3.Connection:
            # SQLite's own waiting will do here: this happens once in the life of a file.
            return sqlite3.connect(self._path, timeout=60, isolation_level=None)

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        # All of it in one transaction: of several processes that open a new file one makes the tables.
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as connection:
            migrate.upgrade(connection)

    def _wait(self, execute: Callable[[str], object], statement: str, error: sqlite3.OperationalError) -> None:
        """Try until the database is free: in naps of random length, so that no writer is always the late one."""
        deadline = time.monotonic() + self._patience
        nap = NAP
        while error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            if time.monotonic() > deadline:
                raise error
            time.sleep(random() * nap)
            nap = min(nap * 1.2, 10 * NAP)
            try:
                execute(statement)
            except sqlite3.OperationalError as again:
                error = again
            else:
                return
        raise error

    def _no_turn(self) -> None:
        raise StoreUnavailable(
            f"the ledger {self._path} was busy with other threads of this process for {self._turn:g} s; "
            f"end what keeps a transaction open on it"
        )

    def before_fork(self) -> None:
        """Close everything, once it is idle: nothing of SQLite may be in memory while the process forks."""
        self._paused = self._lock.acquire(timeout=self._patience)
        if self._paused and self._connection is not None:
            self._connection.close()
            self._connection = None
        with self._no_reads:
            self._no_reads.wait_for(lambda: self._reads == 0, timeout=self._patience)

    def after_fork_in_parent(self) -> None:
        if self._paused:
            self._paused = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = Lock()
        if self._connection is not None:
            _left_alone.append(self._connection)
            self._connection = None
        self._reads = 0
        self._no_reads = Condition()
        self._paused = False
        self._here = mark()


_drivers: WeakSet[SqliteDriver] = WeakSet()
_left_alone: list[sqlite3.Connection] = []
"""A parent's connections that a child got all the same: never touched, as closing one could harm the parent."""
_paused: list[SqliteDriver] = []


def _before_fork() -> None:
    _paused.extend(_drivers)
    for driver in _paused:
        driver.before_fork()


def _after_fork_in_parent() -> None:
    for driver in _paused:
        driver.after_fork_in_parent()
    _paused.clear()


def _after_fork_in_child() -> None:
    for driver in _paused:
        driver.after_fork_in_child()
    _paused.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
