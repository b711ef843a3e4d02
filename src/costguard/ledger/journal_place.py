"""Where the journal of a store is, if the app does not say."""

from __future__ import annotations

import getpass
import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from costguard.errors import ConfigError

WAY_OUT = 'give a directory that this user may write, on a disk that outlives the process: journal="/path"'

_PLACE = ("host", "hostaddr", "port", "dbname")


def journal_directory(url: str) -> Path:
    """The directory of the journals of all processes that use this store on this machine; it need not exist yet.

    Of SQLite ``<database file>.journal.d``, beside the file (``-journal`` is SQLite's own). Of a store on a network
    ``$XDG_STATE_HOME/costguard/<digest>``, or below ``~/.local/state`` (XDG Base Directory Specification); the
    digest is of user, host, port and database, not of the password or of options.

    Raises ConfigError where this user has no home.
    """
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite"):
        path = Path(parts.path.removeprefix("/")).absolute()
        return path.with_name(f"{path.name}.journal.d")
    return _state() / "costguard" / _digest(url)


def fallback_directory(url: str) -> Path:
    """The same below the directory for temporary files, for users whose home cannot be written, as in containers.

    Raises ConfigError if that cannot be used either, or was made by somebody else.
    """
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    above = Path(tempfile.gettempdir()) / f"costguard-{user}"
    make_directory(above)
    if hasattr(os, "getuid") and above.stat().st_uid != os.getuid():
        raise ConfigError(f"the journal's directory {above} belongs to another user; {WAY_OUT}")
    directory = above / _digest(url)
    make_directory(directory)
    return directory


def _digest(url: str) -> str:
    parts = urlsplit(url)
    who, _, host = parts.netloc.rpartition("@")
    place = [name for name in parse_qsl(parts.query) if name[0] in _PLACE]
    scheme = parts.scheme.partition("+")[0].replace("postgresql", "postgres")
    known = repr((scheme, who.partition(":")[0], host, parts.path, sorted(place)))
    return blake2b(known.encode(), digest_size=10).hexdigest()


def _state() -> Path:
    given = os.environ.get("XDG_STATE_HOME", "")
    # The specification: a relative path is invalid, and to be ignored.
    if given and Path(given).is_absolute():
        return Path(given)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise ConfigError(f"there is no place for the journal, as this user has no home; {WAY_OUT}") from error


def make_directory(directory: Path) -> None:
    """Make it, for this user alone. Raises ConfigError where it cannot be made or written."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the journal's directory {directory} cannot be made ({error.strerror}); {WAY_OUT}"
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"the journal's directory {directory} cannot be written by this user; {WAY_OUT}")
