"""What a SQL ledger needs of a database: short transactions on a kept connection, and reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from costguard.budgets import Limit
from costguard.events import Entry
from costguard.ledger.rollups import Rolls

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


OpenEnd = tuple[Any, ...]
"""Status, cost and keys of an entry, then its `ROLLED`."""


class Shortcut(Protocol):
    """The usual case of a verb in one round trip to a database that is far away.

    False: it is not the usual case, nothing was changed, and the statements have to do it.
    """

    def reserve(self, row: Sequence[Any], limits: Sequence[Limit], unknown: Sequence[Limit]) -> bool:
        """There is room on all the limits; of the `unknown` ones there may be no balances yet, or with an old rule."""
        ...

    def settle(
        self, row: Sequence[Any], held_as: bytes, entry: Entry, limits: Sequence[Limit] | None, rolls: Rolls
    ) -> bool:
        """The entry is new, its balances are there, no mark is passed; None: the limits are not known, nothing held."""
        ...


class Bulk(Protocol):
    """Statements on many rows at once: each a few round trips at most, whatever their number.

    What is locked is locked in the order of the ids, or of the keys.
    """

    def look_ahead(self, at: int) -> None:
        """Before a transaction that inserts entries of this time (microseconds since 1970)."""
        ...

    def holds(self, execute: Execute, ids: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        """Amount and keys of those of these holds that exist, locked."""
        ...

    def open_ends(self, execute: Execute, ids: Iterable[bytes]) -> dict[bytes, OpenEnd]:
        """Those of these entries that are lost or pending, locked."""
        ...

    def insert(self, execute: Execute, rows: Sequence[Sequence[Any]]) -> set[bytes] | None:
        """Entries, in this order; the ids of those that were new, None if all were."""
        ...

    def delete_holds(self, execute: Execute, ids: Sequence[bytes]) -> None: ...

    def draw(self, execute: Execute, draws: Mapping[bytes, int]) -> None:
        """Make holds, which are locked, smaller by so much."""
        ...

    def move(self, execute: Execute, changes: Sequence[tuple[str, int, int]]) -> dict[str, int]:
        """Change balances by (key, held, spent), sorted by key; what those that exist have spent now."""
        ...

    def roll(self, execute: Execute, rolls: Rolls) -> None:
        """Change the rollups. The last thing of a transaction: others who write wait for their rows."""
        ...

    def extend(self, execute: Execute, ids: Iterable[bytes], expires: int) -> list[bytes]:
        """Move the expiry (microseconds since 1970) of holds; those that exist."""
        ...


class Driver(Protocol):
    """Thread-safe, and safe over fork. Raises StoreUnavailable with the store, the reason and the way out.

    url:         the store, without a password
    for_update:  what a SELECT ends with to lock what it found, where a transaction does not lock all
    skip_locked: the same, leaving out what others have locked
    shortcut:    None where a statement costs no round trip
    packs:       whether a column of text takes bytes, and so a response id in fewer of them
    """

    url: str
    for_update: str
    skip_locked: str
    packs: bool

    @property
    def bulk(self) -> Bulk: ...

    @property
    def shortcut(self) -> Shortcut | None: ...

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

    def transact_once(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what must not be done twice: where nobody knows whether it was done it raises."""
        ...

    def read(self, work: Callable[Concatenate[Execute, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work`, which is one SELECT, without a transaction."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A SQLAlchemy connection of its own for a long read, which holds up no writer."""
        ...

    def retain(self, before: int, rolls: Callable[[Execute], Rolls]) -> int:
        """Forget the entries from before this time (microseconds since 1970); how many, see `Ledger.retain`."""
        ...
