"""What SQLite says when it cannot go on, and the way out of it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from costguard.errors import StoreUnavailable

_WAYS_OUT = {
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its directory exists and may be written",
    sqlite3.SQLITE_PERM: "may not be opened by this user; change its permissions",
    sqlite3.SQLITE_AUTH: "may not be opened by this user; change its permissions",
    sqlite3.SQLITE_READONLY: "is read-only for this process; make the file and its directory writable for this user",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; give the path of another file",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a backup, or recover it with the sqlite3 shell's .recover",
    sqlite3.SQLITE_FULL: "cannot grow; free space on its disk",
    sqlite3.SQLITE_IOERR: "cannot be read or written; check the disk, its quota and its free space",
    sqlite3.SQLITE_BUSY: "is locked by another process; end what keeps a transaction open on it",
    sqlite3.SQLITE_LOCKED: "is locked by another process; end what keeps a transaction open on it",
}


def translate(error: sqlite3.DatabaseError, path: str, patience: float) -> None:
    """Raise StoreUnavailable if the error is the store's and not our own."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or isinstance(error, (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError)):
        return
    way_out = _WAYS_OUT.get(code & 0xFF, "failed; if it was changed by hand, move it away and start anew")
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN and not Path(path).parent.is_dir():
        way_out = f"cannot be opened, because {Path(path).parent} is not a directory; create it"
    elif code & 0xFF == sqlite3.SQLITE_CANTOPEN and Path(path).exists() and not os.access(path, os.R_OK):
        way_out = _WAYS_OUT[sqlite3.SQLITE_PERM]
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        way_out = f"has been locked by another process for {patience:g} s; end what holds a transaction on it"
    raise StoreUnavailable(f"the ledger {path} {way_out} (SQLite says: {error})") from error
