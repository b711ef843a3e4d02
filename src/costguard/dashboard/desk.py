"""What a dashboard looks at, and how much of it may be shown: made once, a `View` of it for each request."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from costguard.dashboard.access import Person
from costguard.dashboard.hidden_ledger import HiddenLedger
from costguard.dashboard.hiding import Hiding
from costguard.dashboard.known import Known
from costguard.dashboard.view import View
from costguard.errors import ConfigError, CostGuardError, StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger, read_store

if TYPE_CHECKING:
    from costguard.guard import Guard


AGAIN = 1.0
"""Seconds between two tries to open a store."""


class Desk:
    """Over a guard, a ledger, or the URL of a store, which is opened when the first page asks for it.

    Raises ConfigError for what is none of these, and for a URL that no store has; MissingExtra without its driver.
    """

    def __init__(self, given: Guard | Ledger | str, hiding: Hiding, budget_file: str | Path | None = None) -> None:
        self.guard: Guard | None = None
        self._url: str | None = None
        self._ledger: Ledger | None = None
        self._lock = Lock()
        self._failed_at, self._failure, self._retry_after = float("-inf"), "", 0
        self._file = None if budget_file is None else Path(budget_file)
        self.hiding = hiding
        source: Any = given
        if isinstance(given, str):
            if given.startswith("memory:"):
                raise ConfigError(f"store {given!r} lives inside one process; give the dashboard its guard")
            # A store that is away may come back, but what cannot be meant never will.
            read_store(given)
            self._url = given
        elif hasattr(source, "ledger") and hasattr(source, "standings"):
            self.guard, self._ledger = source, source.ledger
        elif callable(getattr(source, "sums", None)):
            self._ledger = source
        else:
            raise ConfigError(
                f"a dashboard of a {type(given).__name__} cannot be made; give the guard, or a store such as "
                '"sqlite:///costs.db"'
            )

    def ledger(self) -> Ledger:
        """The ledger itself, with nothing hidden. Raises ConfigError and StoreUnavailable where it cannot be opened."""
        with self._lock:
            if self._ledger is None:
                # All who wait here would ask a store in vain, one after the other, that is away.
                if time.monotonic() - self._failed_at < AGAIN:
                    raise StoreUnavailable(self._failure, retry_after=self._retry_after)
                try:
                    self._ledger = _opened(str(self._url))
                except CostGuardError as error:
                    self._failed_at, self._failure = time.monotonic(), str(error)
                    self._retry_after = error.retry_after if isinstance(error, StoreUnavailable) else 30
                    raise
            return self._ledger

    def view(self, person: Person, **more: Any) -> View:
        """What a page made now looks at; `more` are fields of `View`. Raises StoreUnavailable."""
        try:
            ledger = self.ledger()
        except ConfigError as error:
            # Nothing that was asked for is wrong: the store has to be made, or brought up to date.
            raise StoreUnavailable(str(error), retry_after=30) from error
        now = datetime.now(UTC)
        known = Known(ledger, self.guard, self._file, int(now.timestamp()) * 10**9, self.hiding)
        shown = HiddenLedger(ledger, self.hiding) if self.hiding.on else ledger
        return View(shown, self.guard, known, self.hiding, now, person, **more)

    def close(self) -> None:
        """Let go of a store that was opened here; a guard's stays as it is."""
        with self._lock:
            if self._url is not None and self._ledger is not None:
                self._ledger.close()


def _opened(url: str) -> Ledger:
    from costguard.ledger.schema import require_current

    # Who reads must not change the tables under workers of an older version.
    require_current(url)
    return open_ledger(url)
