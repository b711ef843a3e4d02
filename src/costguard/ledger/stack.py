"""The ledgers that a guard works on, one over the other: leases over a journal over balances over the store.

engine="leases"   what running calls may spend is leased from the store in slices, and settled entries go to a
                  journal that a thread of its own moves to the store: a call waits for neither
engine="direct"   every decision is one transaction of the store, and every entry one more; the journal only
                  takes what the store cannot take now
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.opening import read_store
from costguard.ledger.told import Told

log = logging.getLogger("costguard")

Engine = Literal["leases", "direct"]


def build(
    store: str | Ledger,
    *,
    engine: Engine | None = None,
    journal: str | Path | bool | None = None,
    balances: str | None = None,
    told: Callable[[], None] | None = None,
) -> Ledger:
    """The ledger of a guard, not opened yet.

    store:    a URL (see `opening.open_ledger`) or a Ledger
    engine:   see above; None is "leases" for the URL of a file or a server, and "direct" for a Ledger or memory,
              which nobody shares
    journal:  its directory; None is a place that follows from the URL, False is none: then an entry that the store
              cannot take waits in memory
    balances: the URL of a Valkey or Redis that keeps the balances and holds instead of the store
    told:     called when alerts were put into the outbox by nobody's call: the journal's thread, or a hold that expired

    Raises ConfigError for what it cannot mean.
    """
    if engine not in (None, *get_args(Engine)):
        raise ConfigError(f"engine is {engine!r}; use one of {', '.join(get_args(Engine))}, or leave it out")
    if journal is True:
        raise ConfigError('journal is True; give its directory, journal="/path", or leave it out for the usual place')
    ledger = read_store(store)
    tell = getattr(ledger, "told", None)
    if told is not None and isinstance(tell, Told):
        tell.add(told)
    shared = isinstance(store, str) and ledger.url != "memory://"
    if balances is not None:
        from costguard.ledger.valkey import ValkeyLedger

        ledger = ValkeyLedger(ledger, balances)
    leases = engine == "leases" or (engine is None and shared)
    if (shared and journal is not False) or isinstance(journal, (str, Path)):
        ledger = _journalled(ledger, store, journal, told, batch=leases)
    if leases:
        from costguard.ledger.leases import LeaseLedger

        ledger = LeaseLedger(ledger)
    return ledger


def _journalled(
    ledger: Ledger,
    store: str | Ledger,
    journal: str | Path | bool | None,
    told: Callable[[], None] | None,
    *,
    batch: bool,
) -> Ledger:
    from costguard.ledger.journal import JournalLedger
    from costguard.ledger.journal_place import fallback_directory, journal_directory, make_directory

    if isinstance(journal, (str, Path)):
        directory = Path(journal)
    else:
        url = store if isinstance(store, str) else store.url
        try:
            directory = journal_directory(url)
            make_directory(directory)
        except ConfigError as error:
            if not batch:
                # Most never need it: where there is no place for it the app goes without.
                log.warning("entries that the store cannot take will wait in memory: %s", error)
                return ledger
            directory = fallback_directory(url)
            log.warning("the journal is in %s, which may not outlive this machine or container: %s", directory, error)
    return JournalLedger(ledger, directory, told=told, mode="batch" if batch else "outage")
