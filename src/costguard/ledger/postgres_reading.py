"""The connections on which people read a ledger in PostgreSQL, apart from those of the calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from costguard.errors import StoreUnavailable
from costguard.ledger.pool import leave_alone
from costguard.ledger.postgres_url import Address

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection, Engine

KEPT, MOST = 2, 5
"""Connections that are kept between reports, and those that may be open at once."""

IDLE = 600
"""Seconds in which a report that is running asks for nothing, at most."""

WORK_MEM = "32MB"
"""For grouping and sorting: with the server's own (4MB by default) the users of a large app by day go through files."""


class Reading:
    """SQLAlchemy's pool: a long report must not make a call wait for a connection. Errors are SQLAlchemy's."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._engine: Engine | None = None
        self._connections: WeakSet[psycopg.Connection[Any]] = WeakSet()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        from sqlalchemy import create_engine, event
        from sqlalchemy.exc import TimeoutError as NoneFree

        patience = self._address.patience
        if self._engine is None:
            self._engine = create_engine(
                "postgresql+psycopg://", creator=self._open,
                pool_size=KEPT, max_overflow=MOST - KEPT, pool_timeout=patience, pool_pre_ping=True,
            )  # fmt: skip
            if "work_mem" not in str(self._address.parameters.get("options", "")):
                # Of the transaction: a pooler in between gives the connection to others after it.
                event.listen(self._engine, "begin", _with_room)
        try:
            with self._engine.connect() as connection:
                yield connection
        except NoneFree as error:
            raise StoreUnavailable(
                f"the ledger {self._address.url}: {MOST} reports have been running in this process for {patience:g} s; "
                f"try again when one has ended"
            ) from error

    def _open(self) -> psycopg.Connection[Any]:
        connection = self._address.connect(autocommit=True)
        try:
            # What a report reads may take long. One that asks for nothing was stopped, or forgotten.
            self._address.set(connection, {"idle_in_transaction_session_timeout": f"{IDLE}s"})
            connection.autocommit = False
            connection.read_only = True
        except BaseException:
            connection.close()
            raise
        self._connections.add(connection)
        return connection

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def after_fork_in_child(self) -> None:
        leave_alone(self._connections)
        self._connections = WeakSet()
        self._engine = None


def _with_room(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL work_mem = '{WORK_MEM}'")
