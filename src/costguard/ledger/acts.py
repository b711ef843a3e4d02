"""What people do from where they read of it (a button, a page): written down and done in one transaction, once."""

from __future__ import annotations

import json
from typing import Any

from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.driver import Driver, Execute
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.rules import add_grant
from costguard.ledger.sql import SqlLedger
from costguard.ledger.sql_rules import SqlRulebook


def act(ledger: Ledger, deed: Deed, grant: Grant | None = None) -> Deed | None:
    """Write a deed into the audit trail, and make the grant that it is about.

    None if it was done now; else the deed of the same nonce that was there before, and nothing is done.
    Raises ConfigError for a grant without author or reason, StoreUnavailable.
    """
    if grant is not None and not (grant.author.strip() and grant.reason.strip()):
        raise ConfigError("a grant has an author and a reason; say who gives it, and what it is for")
    store: Any = ledger
    while (inner := getattr(store, "inner", None)) is not None:
        store = inner
    if isinstance(store, SqlLedger):
        driver = store._driver
        return driver.transact(_act, driver, SqlRulebook(driver), deed, grant)
    if isinstance(store, MemoryLedger):
        with store._lock:
            before = store._deeds.get(deed.nonce)
            if before is None:
                store._deeds[deed.nonce] = deed
        if before is None and grant is not None:
            add_grant(store, grant)
        return before
    raise ConfigError(f"the ledger {ledger.url} keeps no audit trail; use a database")


def _act(execute: Execute, driver: Driver, book: SqlRulebook, deed: Deed, grant: Grant | None) -> Deed | None:
    if write_down(execute, driver, deed):
        if grant is not None:
            book._add(execute, deed.nonce, grant)
        return None
    look = driver.text("SELECT at, author, action, reason, details FROM costguard_audit WHERE nonce = ?")
    at, author, action, reason, details = execute(look, (deed.nonce,)).fetchone()
    return Deed(deed.nonce, at * 1000, author, action, reason, json.loads(details))


def write_down(execute: Execute, driver: Driver, deed: Deed) -> bool:
    """In the running transaction: the deed into the audit trail; False if one of this nonce is there."""
    new = execute(
        driver.text(
            "INSERT INTO costguard_audit (nonce, at, author, action, reason, details) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (nonce) DO NOTHING"
        ),
        (
            deed.nonce, deed.at_ns // 1000, deed.author, deed.action, deed.reason,
            json.dumps(dict(deed.details), separators=(",", ":"), ensure_ascii=False),
        ),
    )  # fmt: skip
    return bool(new.rowcount == 1)
