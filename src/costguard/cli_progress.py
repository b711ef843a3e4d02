"""What long work shows while it runs: on stderr, and only where somebody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tell(Protocol):
    """Hears how far something is."""

    def __call__(self, done: int, of: int | None = None, /) -> None: ...


def _to_nobody(done: int, of: int | None = None, /) -> None:
    pass


def watched() -> bool:
    """Whether stderr is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Tell]:
    """A bar, with the time that is left; gone when it is done. What it yields is told how much is done so far, and
    of how much, if that is known by now.

    total: None where nobody knows: then it counts
    """
    if not watched():
        yield _to_nobody
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn()] if total is None else [TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)

        def tell(done: int, of: int | None = None) -> None:
            shown.update(task, completed=done, total=of if of is not None else total)

        yield tell


@contextmanager
def busy(what: str) -> Iterator[None]:
    """For one long step of the store's, of which nobody knows how far it is."""
    if not watched():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
