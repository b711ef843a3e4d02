"""What a SQL ledger needs of a database: short transactions on a kept connection, and reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection

P = ParamSpec("P")
T = TypeVar("T")


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


Execute = Callable[[str, Sequence[Any]], Cursor]
"""Runs one statement with its values; see `Driver.text` for how values are marked."""


class Driver(Protocol):
    """Thread-safe, and safe over fork. Raises StoreUnavailable with the store, the reason and the way out.

    url:         the store, without a password
    for_update:  what a SELECT ends with to lock what it found, where a transaction does not lock all
    skip_locked: the same, leaving out what others have locked
    """

    url: str
    for_update: str
    skip_locked: str

    def text(self, sql: str) -> str:
        """The statement with `?` replaced by the database's own mark of a value."""
        ...

    def open(self) -> None:
        """Connect and migrate."""
        ...

    def close(self) -> None: ...

    def transact(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a transaction of its own: committed if it returns, else rolled back."""
        ...

    def read(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work`, which is one SELECT, without a transaction."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A SQLAlchemy connection of its own for a long read, which holds up no writer."""
        ...
