"""The store as the doctor sees it: reachable, current, on a disk that locks; its journals; the clock of its server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from costguard.doctor_finding import Finding
from costguard.errors import ConfigError
from costguard.ledger.journal_file import waiting_bytes
from costguard.ledger.journal_place import journal_directory
from costguard.ledger.opening import read_store
from costguard.ledger.schema import require_current

NETWORKED = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "ncpfs", "davfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.davfs2", "virtiofs",
}  # fmt: skip
"""Types of file systems that several machines share, or whose locks are not those of a local disk."""

MOST_SKEW = 2.0
"""Seconds between the clocks of this machine and of the server, before anybody is told."""

_MOUNTS = Path("/proc/self/mounts")
_WORKERS = re.compile(r"(?:^|\s)(?:-w|--workers)[=\s]*(\d+)")


def look_at_store(store: str | None, of_app: str | None, around: Mapping[str, str]) -> Iterator[Finding]:
    """Raises ConfigError, StoreUnavailable or MissingExtra: each says what is wrong."""
    url = store or of_app
    if not url:
        yield Finding("store", "problem", "no store is known", "add --store sqlite:///costs.db, or --app module:app")
        return
    if store and of_app and not _same(store, of_app):
        yield Finding(
            "store", "warning", f"the app's guard writes to {of_app}, and this looks at {_shown(store)}",
            "give the same URL to both",
        )  # fmt: skip
    several = workers(around)
    if url.startswith("memory:"):
        yield Finding(
            "store", "problem" if several > 1 else "warning",
            "the ledger is in memory: gone with the process"
            + (f", and each of {several} workers has budgets of its own" if several > 1 else ""),
            "give Guard a database: sqlite:///costs.db, or postgresql://...",
        )  # fmt: skip
        return
    if store:
        # Without opening it: what it says of a URL that it cannot mean.
        read_store(store)
        require_current(store)
    yield Finding("store", "ok", f"{_shown(url)} can be read, and its schema is current")
    if url.startswith("sqlite"):
        yield from _of_sqlite(url, several)
    elif store:
        yield from _clock(store)


def workers(around: Mapping[str, str]) -> int:
    """How many processes gunicorn or uvicorn starts by these variables; 1 where they do not say."""
    said = [around.get("WEB_CONCURRENCY", ""), around.get("UVICORN_WORKERS", "")]
    said += [found[1] for found in [_WORKERS.search(around.get("GUNICORN_CMD_ARGS", ""))] if found]
    return max([1, *[int(text) for text in said if text.isascii() and text.isdigit()]])


def _of_sqlite(url: str, several: int) -> Iterator[Finding]:
    path = Path(urlsplit(url).path.removeprefix("/")).absolute()
    kind = file_system(path)
    if kind in NETWORKED:
        yield Finding(
            "store", "problem",
            f"{path} is on a network file system ({kind}), where SQLite's locks and shared memory do not hold",
            "put it on a local disk, or use PostgreSQL where several machines write",
        )  # fmt: skip
    for place, what in ((path, "the database"), (path.parent, "its directory, where SQLite keeps the WAL,")):
        if not os.access(place, os.W_OK):
            yield Finding(
                "store", "problem", f"{what} {place} cannot be written by this user",
                "let the app's user own both, or run the doctor as that user",
            )  # fmt: skip
    if several > 1:
        yield Finding(
            "store", "note", f"{several} workers share one SQLite file: right on one machine, one writing at a time",
            "for several machines use PostgreSQL",
        )  # fmt: skip
    with suppress(OSError):
        free = os.statvfs(path.parent)
        if free.f_bavail * free.f_frsize < 100 * 1024 * 1024:
            yield Finding(
                "store", "warning", f"the disk of {path.parent} has less than 100 MB left",
                "free some, or forget old entries: costguard retain --before",
            )  # fmt: skip


def file_system(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that a path is on, as the kernel calls it; "" where it does not say.

    mounts: the text of /proc/self/mounts (proc(5))
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "replace")
        except OSError:
            return ""
    best, kind = "", ""
    with suppress(OSError):
        path = path.resolve()
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[1])
        inside = place == "/" or path == Path(place) or Path(place) in path.parents
        # Of two mounts on one place the later hides the earlier.
        if inside and len(place) >= len(best):
            best, kind = place, fields[2]
    return kind


def _clock(url: str) -> Iterator[Finding]:
    from costguard.ledger.postgres_url import read_address

    address = read_address(url)
    import psycopg

    try:
        with address.connect(autocommit=True) as connection:
            best = 1e9, 0.0
            for _ in range(3):
                before = time.time()
                row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
                after = time.time()
                # The shortest way there and back says it best.
                best = min(best, (after - before, float(row[0]) - (before + after) / 2 if row else 0.0))
    except psycopg.Error:
        # It could be read a moment ago: whatever this is, it is no matter of clocks.
        return
    trip, off = best
    if abs(off) > MOST_SKEW + trip / 2:
        way = "ahead of" if off > 0 else "behind"
        yield Finding(
            "store", "warning", f"the clock of the server is {abs(off):.1f} s {way} that of this machine",
            "run NTP on both: windows of budgets end, and leases expire, by these clocks",
        )  # fmt: skip
    else:
        yield Finding("store", "ok", "the clocks of the server and of this machine agree")


def look_at_journals(url: str) -> Iterator[Finding]:
    """What running and dead processes of this machine have not brought to the store yet."""
    if not url.startswith(("sqlite", "postgres")):
        return
    place = journal_directory(url)
    if not place.exists():
        above = next((each for each in place.parents if each.exists()), place)
        if not os.access(above, os.W_OK | os.X_OK):
            yield _unwritable(place)
        else:
            yield Finding("journals", "ok", "none waits, and their place can be made")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield _unwritable(place)
    waiting = {}
    for path in place.glob("*.journal"):
        with suppress(OSError):
            # A process that ends takes its journal away.
            waiting[path] = waiting_bytes(path)
    alive = [path for path in waiting if _alive(path)]
    left = [path for path, size in waiting.items() if size > 0 and path not in alive]
    if left:
        size = sum(waiting[path] for path in left)
        yield Finding(
            "journals", "warning",
            f"{_count(len(left), 'journal')} of dead processes with {size:,} bytes of entries that the store does not "
            f"have, in {place}",
            "start the app: a running guard of this store brings them in",
        )  # fmt: skip
    else:
        yield Finding("journals", "ok", f"{_count(len(alive), 'process')} of this machine at work, nothing left behind")
    held = sum(waiting[path] for path in alive)
    if held > 10 * 1024 * 1024:
        yield Finding(
            "journals", "warning", f"running processes hold {held:,} bytes that the store does not have yet",
            "see their log: the store may be away or slow",
        )  # fmt: skip


def _unwritable(place: Path) -> Finding:
    return Finding(
        "journals", "problem", f"the place of the journals, {place}, cannot be written by this user",
        'run the app as its owner, or give Guard(journal="/path") on a disk that outlives the process',
    )  # fmt: skip


def _alive(path: Path) -> bool:
    """Whether a process holds its lock (`journal_file`)."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _same(one: str, other: str) -> bool:
    def place(url: str) -> object:
        try:
            return journal_directory(url)
        except ConfigError:
            return url

    return one == other or place(one) == place(other)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{where}{parts.path}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"
