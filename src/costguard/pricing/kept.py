"""The last good copy of a fetched price list, on this machine's disk: for the next start, and for other processes."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("costguard")


class Kept(NamedTuple):
    """content, and the headers ETag and Last-Modified with which it came; fetched_ns: nanoseconds since 1970."""

    content: bytes
    etag: str
    modified: str
    fetched_ns: int


def directory() -> Path | None:
    """`$COSTGUARD_CACHE_DIR`, else `costguard` in the user's cache (XDG Base Directory Specification).

    None for a user without a home. Never a directory that others may write: prices decide who may spend what.
    """
    given = os.environ.get("COSTGUARD_CACHE_DIR", "")
    if given:
        return Path(given).absolute() / "prices"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if cache and Path(cache).is_absolute():
        return Path(cache) / "costguard" / "prices"
    try:
        return Path.home() / ".cache" / "costguard" / "prices"
    except RuntimeError:
        return None


def kept(url: str) -> Kept | None:
    """What was kept of an address, None if there is nothing that can be read."""
    path = _path(url)
    try:
        if path is None or (hasattr(os, "getuid") and path.stat().st_uid != os.getuid()):
            return None
        head, _, content = path.read_bytes().partition(b"\n")
        facts = json.loads(head)
        copy = Kept(content, str(facts["etag"]), str(facts["modified"]), int(facts["fetched_ns"]))
        # From a clock that was wrong: it would stay the newest for ever.
        return copy if copy.fetched_ns <= time.time_ns() + 60 * 10**9 else copy._replace(fetched_ns=1)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(url: str, copy: Kept) -> None:
    """Put a copy in the place of the last one. Without a place to write nothing is kept, which is no error."""
    path = _path(url)
    if path is None:
        return
    facts = {"etag": copy.etag, "modified": copy.modified, "fetched_ns": copy.fetched_ns}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(facts).encode() + b"\n" + copy.content)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        log.info("fetched prices are not kept on disk: %s", error)


def _path(url: str) -> Path | None:
    place = directory()
    # The digest, as an address may have a secret in it.
    return None if place is None else place / f"{blake2b(url.encode(), digest_size=12).hexdigest()}.prices"
