"""Many values of one dataclass at once, field by field."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any, TypeVar

R = TypeVar("R")
T = TypeVar("T")

_AT_ONCE = 1000
"""Few enough to stay in a processor's cache while one field after the other is set."""


def from_rows(kind: type[T], rows: Sequence[R], columns: Callable[[Sequence[R]], Iterable[Iterable[Any]]]) -> list[T]:
    """A value for each row; `columns` gives of some of the rows what each field is, in the order of the fields.

    `kind` is a frozen dataclass with slots. What its own `__init__` gives, in a third of the time: that sets each field
    of a frozen value by a call from Python.
    """
    names: tuple[str, ...] = kind.__slots__  # type: ignore[attr-defined]
    setters = [getattr(kind, name).__set__ for name in names]
    found: list[T] = []
    with _without_search(len(rows)):
        for first in range(0, len(rows), _AT_ONCE):
            some = rows[first : first + _AT_ONCE]
            made: list[T] = list(map(object.__new__, repeat(kind, len(some))))
            for put, column in zip(setters, columns(some), strict=True):
                deque(map(put, made, column), maxlen=0)
            found += made
    return found


@contextmanager
def _without_search(count: int) -> Iterator[None]:
    """Tens of thousands of new values, none of them garbage, have Python search all that the process holds for cycles:
    a quarter of the time that a large report takes. Not for the milliseconds in which they are made, then."""
    if count <= _AT_ONCE or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
