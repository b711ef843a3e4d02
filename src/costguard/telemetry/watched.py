"""What a telemetry hook may ask of the guard that took it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

log = logging.getLogger("costguard.telemetry")


class Waiting(Protocol):
    """entries_waiting: entries not in the store yet; journal_bytes; alerts_undelivered; alerts: all, by outcome"""

    @property
    def entries_waiting(self) -> int: ...
    @property
    def journal_bytes(self) -> int: ...
    @property
    def alerts_undelivered(self) -> int: ...
    @property
    def alerts(self) -> Mapping[str, int]: ...


class Watched(Protocol):
    @property
    def closed(self) -> bool:
        """It has let go of its store: whoever looks must not have that opened again."""
        ...

    @property
    def ledger(self) -> Any: ...

    def health(self, *, here: bool = False) -> Waiting:
        """What waits. Raises StoreUnavailable if the store cannot say; `here` does not ask it, and knows no alerts."""
        ...

    def standings(self) -> Iterable[Any]:
        """The budgets that a call without tags counts against, and where they stand."""
        ...


def waiting_of(guard: Watched, *, here: bool = False) -> Waiting | None:
    """What waits; None where that is not known now: an exporter must not fail for it.

    here: in this process alone, without asking the store
    """
    if guard.closed and not here:
        return None
    try:
        return guard.health(here=here)
    except Exception as error:  # noqa: BLE001 - of any store
        log.warning("what waits cannot be told now: %s", error)
        return None


def waiting_by_store(guards: Iterable[Watched]) -> list[Waiting]:
    """What waits in each store: guards that share one have the same alerts, but for those without channels."""
    found: dict[object, Waiting] = {}
    for guard in guards:
        at = waiting_of(guard)
        url = guard.ledger.url
        store = id(guard.ledger) if url.startswith("memory:") else url
        if at is not None and (store not in found or at.alerts):
            found[store] = at
    return list(found.values())


def shared_standings(guard: Watched) -> list[Any]:
    """Those of the budgets that everyone shares; none where the store cannot say."""
    if guard.closed:
        return []
    try:
        return [standing for standing in guard.standings() if not standing.budget.per]
    except Exception as error:  # noqa: BLE001 - of any store
        log.warning("where budgets stand cannot be told now: %s", error)
        return []
