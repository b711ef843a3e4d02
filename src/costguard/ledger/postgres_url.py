"""From a URL to a PostgreSQL server, and from what it says to what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from costguard.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    import psycopg

PATIENCE = 10.0
"""Seconds that a verb waits for a connection, or for the locks of others, before the store counts as unavailable."""

POOL_SIZE = 8
"""Connections of one process. More of them do not make one hot budget faster: its row is changed by one at a time."""

_COMMITS = ("on", "off", "local", "remote_write", "remote_apply")
_SWITCH = {"on": True, "off": False}

_WAYS_OUT = (
    (r"password authentication failed|no password supplied", "refuses this user or password; check both"),
    (r"database .* does not exist", "has no such database; create it, for example with createdb"),
    (r"role .* does not exist", "knows no such user; create it, or give another"),
    (r"pg_hba\.conf", "does not let this user in from here; see its pg_hba.conf, or add sslmode=require to the URL"),
    (r"translate host name|resolve host|not known|Name or service", "is at a host that has no address; check its name"),
    (r"onnection refused|No such file", "cannot be reached; start the server, or check host and port"),
    (r"timeout expired|timed out|unreachable", "does not answer; check host, port and firewall"),
    (r"too many clients|connection slots", "has no connection left; lower pool_size, or raise its max_connections"),
    (r"starting up|shutting down|recovery mode|administrator command|terminating", "is being restarted; try again"),
)
_BY_STATE = {
    "42501": "does not allow this user to do that; grant the rights, or migrate once as the owner",
    "42P01": "lacks a table; restore it, or give an empty database",
    "42883": "lacks a function of the ledger; restore it from a backup of the schema",
    "25006": "is read-only, such as a standby; give the primary, with target_session_attrs=read-write",
    "53100": "cannot grow; free space on its disk",
    "55P03": "has been locked by another session for too long; see pg_stat_activity for what holds a transaction open",
    "57014": "took too long and was cancelled; see pg_stat_activity for what slows it down",
}


@dataclass(frozen=True, slots=True)
class Address:
    """url:                for messages, without the password
    parameters:         libpq's own, by name
    synchronous_commit: as PostgreSQL's setting; None leaves the server's
    prepare:            False where a pooler in between mixes up prepared statements
    """

    url: str
    parameters: dict[str, Any]
    pool_size: int
    patience: float
    synchronous_commit: str | None
    prepare: bool

    def connect(self, *, autocommit: bool) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(**self.parameters, autocommit=autocommit)

    def set(self, connection: psycopg.Connection[Any], values: dict[str, str]) -> None:
        """Settings of this session, but for those that the URL itself gives in libpq's `options`."""
        own = str(self.parameters.get("options", ""))
        calls = [f"set_config('{name}', '{value}', false)" for name, value in values.items() if name not in own]
        if calls:
            connection.execute(f"SELECT {', '.join(calls)}".encode(), prepare=False)


def read_address(url: str) -> Address:
    """Raises ConfigError for a URL it cannot mean, MissingExtra without psycopg."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise MissingExtra("psycopg", "postgres", "a store in PostgreSQL") from error
    except ImportError as error:
        raise ConfigError(
            f"psycopg cannot be imported ({error}); install psycopg[binary], and see that psycopg, psycopg-binary "
            f"and psycopg-c, where installed, have one version"
        ) from error
    _, _, rest = url.partition("://")
    try:
        parts = urlsplit(f"postgresql://{rest}")
    except ValueError:
        raise ConfigError(
            # What it says may hold the password.
            "store postgresql://... cannot be read; give postgresql://user:password@host:5432/database with special "
            "characters percent-encoded, such as [ and ] of the password as %5B and %5D"
        ) from None
    if parts.fragment or "@" in parts.path or ("@" in parts.query and "@" not in parts.netloc):
        # Nothing of it is shown: where the password ends is anybody's guess.
        raise ConfigError(
            "store postgresql://... has a '#', '/' or '?' where none can be; percent-encode those of the password "
            "as %23, %2F and %3F"
        )
    if parts.netloc.count("@") > 1:
        # libpq takes what follows the first one for the host, which would be shown.
        raise ConfigError("store postgresql://... has more than one '@'; percent-encode those of the password as %40")
    shown = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    pool_size = _number(shown, "pool_size", options.pop("pool_size", str(POOL_SIZE)), 1)
    patience = _number(shown, "patience", options.pop("patience", str(PATIENCE)), 0)
    commit = options.pop("synchronous_commit", None)
    if commit is not None and commit not in _COMMITS:
        raise ConfigError(f"store {shown} has synchronous_commit={commit}; use {', '.join(_COMMITS)}")
    prepare = options.pop("prepare", "on")
    if prepare not in _SWITCH:
        raise ConfigError(f"store {shown} has prepare={prepare}; use on or off")
    query = "&".join([f"{name}={quote(value, safe='')}" for name, value in options.items()])
    try:
        given = conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}{'?' if query else ''}{query}")
    except psycopg.ProgrammingError as error:
        # What it says may hold the password, unless it is of the options.
        unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        reason = f"the unknown option {unknown[1]!r}" if unknown else "a part that libpq cannot read"
        raise ConfigError(
            f"store {shown} has {reason}; give postgresql://user:password@host:5432/database with special characters "
            f"percent-encoded, and options of libpq or pool_size, patience, synchronous_commit, prepare"
        ) from (error if unknown else None)
    defaults: dict[str, Any] = {
        "application_name": "costguard",
        "connect_timeout": max(2, ceil(patience)),
        "keepalives_idle": 30,
        # A server that vanished without a word, after this many milliseconds (Linux).
        "tcp_user_timeout": int(max(2.0, patience) * 1000) + 5000,
    }
    return Address(_show(given), defaults | given, int(pool_size), patience, commit, _SWITCH[prepare])


def way_out(error: psycopg.Error) -> str:
    """Goes on from the name of the store."""
    if error.sqlstate in _BY_STATE:
        return _BY_STATE[error.sqlstate]
    text = str(error)
    for pattern, words in _WAYS_OUT:
        if re.search(pattern, text):
            return words
    return "failed; see the server's log"


def _show(given: dict[str, Any]) -> str:
    host = str(given.get("host") or given.get("hostaddr") or "")
    user = f"{given['user']}@" if given.get("user") else ""
    port = f":{given['port']}" if given.get("port") else ""
    database = given.get("dbname") or ""
    if host.startswith("/"):
        return f"postgresql://{user}{port}/{database}?host={host}"
    return f"postgresql://{user}{host}{port}/{database}"


def _number(shown: str, name: str, text: str, least: int) -> float:
    try:
        number = float(text) if name == "patience" else int(text)
    except ValueError:
        number = -1
    if not least <= number < 10_000:
        what = "seconds, zero or more, such as 2 or 0.5" if name == "patience" else "a whole number, one or more"
        raise ConfigError(f"store {shown} has {name}={text}; give {what}")
    return number
