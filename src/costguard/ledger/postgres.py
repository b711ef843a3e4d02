"""PostgreSQL as a ledger's database: a small pool of psycopg connections, a verb in one round trip.

READ COMMITTED is enough: every condition is in the statement that changes the row, and is looked at again when
that has waited for another transaction. Locks are taken in one order: the hold, the entry, the balances by key.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from costguard.errors import CostGuardError, StoreUnavailable
from costguard.ledger import migrate, months
from costguard.ledger.driver import Execute
from costguard.ledger.pool import NoneFreeError, Pool
from costguard.ledger.postgres_bulk import PostgresBulk
from costguard.ledger.postgres_reading import Reading
from costguard.ledger.postgres_shortcut import PostgresShortcut
from costguard.ledger.postgres_url import Address, way_out
from costguard.ledger.rollups import Rolls
from costguard.ledger.rollups_sql import forget_empty

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("costguard")

_HOUR = 3600 * 10**6
_TRIES = 8
_AGAIN = ("40001", "40P01")
"""A transaction that the server took back because of another one: serialization failure, deadlock."""


class _Line:
    """A connection with the one cursor it needs, as a verb reads its answers before it asks again."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.execute: Execute = connection.cursor().execute

    @property
    def broken(self) -> bool:
        # 0 is IDLE: a connection in a transaction that could not be ended is as good as broken.
        return self.connection.closed or self.connection.pgconn.transaction_status != 0

    def fileno(self) -> int:
        return self.connection.fileno()

    def close(self) -> None:
        self.connection.close()


class PostgresDriver:
    """`address` is the server and how to talk to it; see `costguard.ledger.opening.open_ledger`."""

    for_update = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    packs = False

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self.shortcut = PostgresShortcut(self.read, self.look_ahead)
        self.bulk = PostgresBulk(self.look_ahead)
        self._address = address
        self._pool = Pool(self._connect, address.pool_size)
        self._ready = False
        self._reading = Reading(address)
        self._owner = os.getpid()
        self._months_until = 0
        _drivers.add(self)

    def text(self, sql: str) -> str:
        return sql.replace("?", "%s")

    def open(self) -> None:
        found = self._run(lambda line: migrate.known(_revision(line.execute), self.url))
        if found != migrate.HEAD:
            self._migrate()
        self._ready = True
        self.look_ahead(time.time_ns() // 1000)

    def close(self) -> None:
        self._ready = False
        self._pool.close_idle()
        self._reading.close()

    def transact(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._ready:
            self.open()
        return self._run(lambda line: _transact(line, lambda execute: work(execute, *args, **kwargs)))

    def transact_once(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._ready:
            self.open()
        return self._run(lambda line: _transact(line, lambda execute: work(execute, *args, **kwargs)), once=True)

    def read(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._ready:
            self.open()
        return self._run(lambda line: work(line.execute, *args, **kwargs))

    def _run(self, action: Callable[[_Line], T], *, once: bool = False) -> T:
        """Once more on a new connection if the one it had is gone, as after a restart of the server.

        That is safe even where nobody knows whether it was committed: a verb that is done already changes
        nothing. A hold is known by its call id and looked for first, an entry is written once.
        """
        import psycopg

        for tries_left in reversed(range(_TRIES)):
            line = self._take()
            try:
                return action(line)
            except psycopg.Error as error:
                again = error.sqlstate in _AGAIN
                if line.broken and not again:
                    again = tries_left == _TRIES - 1 and not once
                    self._pool.close_idle()
                if not again or not tries_left:
                    self._translate(error)
                    raise
            finally:
                self._pool.give_back(line)
        raise AssertionError  # the last try returns or raises

    def _take(self) -> _Line:
        import psycopg

        if self._owner != os.getpid():
            self.after_fork_in_child()
        address = self._address
        try:
            return self._pool.take(address.patience)
        except psycopg.Error as error:
            self._translate(error)
            raise
        except NoneFreeError as error:
            raise StoreUnavailable(
                f"the ledger {self.url}: all {address.pool_size} connections of this process have been in use for "
                f"{address.patience:g} s; raise pool_size in the URL, or see in pg_stat_activity what they wait for"
            ) from error

    def _connect(self) -> _Line:
        address = self._address
        connection = address.connect(autocommit=True)
        connection.prepare_threshold = 2 if address.prepare else None
        from psycopg.types.numeric import Int8BinaryDumper

        # An int is sent as the smallest type it fits by default, and each mixture of them prepared as a new statement.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        try:
            patience = max(1, int(address.patience * 1000))
            values = {
                "lock_timeout": f"{patience}ms",
                "statement_timeout": f"{patience + 5000}ms",
                # A process that is stopped in the middle must not keep its locks for as long as others wait for them.
                "idle_in_transaction_session_timeout": f"{max(1000, patience // 2)}ms",
            }
            if address.synchronous_commit is not None:
                values["synchronous_commit"] = address.synchronous_commit
            address.set(connection, values)
        except BaseException:
            connection.close()
            raise
        return _Line(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        import psycopg
        from sqlalchemy.exc import DBAPIError

        if not self._ready:
            self.open()
        if self._owner != os.getpid():
            self.after_fork_in_child()
        try:
            with self._reading.connect() as connection:
                yield connection
        except psycopg.Error as error:
            self._translate(error)
            raise
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                self._translate(error.orig)
            raise

    def after_fork_in_child(self) -> None:
        self._owner = os.getpid()
        self._pool.after_fork_in_child()
        self._reading.after_fork_in_child()

    def _migrate(self) -> None:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.pool import NullPool

        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: self._address.connect(autocommit=False), poolclass=NullPool
        )
        try:
            with engine.begin() as connection:
                # Of several processes that open a new ledger at once one makes the tables.
                connection.exec_driver_sql(months.lock(0))
                migrate.upgrade(connection)
        except DBAPIError as error:
            import psycopg

            if isinstance(error.orig, psycopg.Error):
                self._translate(error.orig)
            raise

    def look_ahead(self, at: int) -> None:
        """See that the coming months have their partitions; `at` in microseconds since 1970."""
        if at < self._months_until:
            return
        import psycopg

        try:
            for month in self._run(lambda line: months.missing(line.execute, at)):
                self.transact(months.make, month)
            self._months_until = months.start_of(months.following(months.month_of(at)))
        except (CostGuardError, psycopg.Error) as error:
            # The default partition takes what has no month, so this must not fail a call.
            self._months_until = at + _HOUR
            log.warning("no partitions could be made for the coming months of the ledger %s: %s", self.url, error)

    def retain(self, before: int, rolls: Callable[[Execute], Rolls]) -> int:
        count = 0
        for month in self.read(months.old, before):
            count += self.transact(months.drop, month)
        while some := self.transact(self._drop_strays, before, rolls):
            count += some
        self.transact(forget_empty, months.start_of(months.month_of(before)))
        self._months_until = 0
        self.look_ahead(time.time_ns() // 1000)
        return count

    def _drop_strays(self, execute: Execute, before: int, rolls: Callable[[Execute], Rolls]) -> int:
        gone = months.drop_strays(execute, before)
        changes = rolls(execute)
        for values in gone:
            changes.gone(values)
        self.bulk.roll(execute, changes)
        return len(gone)

    def _translate(self, error: psycopg.Error) -> None:
        """Raise StoreUnavailable if the error is the store's and not our own."""
        import psycopg

        if not isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
            said = " ".join(str(error).split())
            raise StoreUnavailable(f"the ledger {self.url} {way_out(error)} (PostgreSQL says: {said})") from error


def _revision(execute: Execute) -> str | None:
    """Asked for by name first: a statement that fails would be in the server's log."""
    if execute("SELECT to_regclass(%s) IS NULL", (migrate.VERSION_TABLE,)).fetchone()[0]:
        return None
    row = execute(f"SELECT version_num FROM {migrate.VERSION_TABLE}", ()).fetchone()
    return None if row is None else str(row[0])


def _transact(line: _Line, work: Callable[[Execute], T]) -> T:
    execute = line.execute
    execute("BEGIN", ())
    try:
        result = work(execute)
        execute("COMMIT", ())
    except BaseException:
        # Where even this fails the connection is broken, and the server takes the transaction back.
        with suppress(Exception):
            execute("ROLLBACK", ())
        raise
    return result


_drivers: WeakSet[PostgresDriver] = WeakSet()


def _after_fork_in_child() -> None:
    for driver in _drivers:
        driver.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    # Where a fork runs no hooks of Python, as in C, the first verb of the child sees that it has another owner.
    os.register_at_fork(after_in_child=_after_fork_in_child)
