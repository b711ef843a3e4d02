"""A Valkey or Redis server: its URL, its connections, and what to do when it does not answer."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from hashlib import sha1
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from costguard.errors import ConfigError, MissingExtra, StoreUnavailable

if TYPE_CHECKING:
    import redis

PATIENCE = 2.0
"""Seconds that a call waits for the server, at most once more on a new connection."""

POOL_SIZE = 32
"""Connections of one process."""

_SCHEMES = {"valkey": "redis", "redis": "redis", "valkeys": "rediss", "rediss": "rediss"}
_HOW = (
    'give "valkey://user:password@host:6379/0" or "valkeys://..." (TLS) with special characters percent-encoded, and '
    "the options name, patience, pool_size, cluster=on and redis-py's ssl_*"
)
_SWITCH = {"on": True, "off": False}
_WAYS_OUT = (
    (r"WRONGPASS|invalid username-password|invalid password", "refuses this user or password; check both"),
    (r"NOAUTH|Authentication required|HELLO must be called", "wants a password; give one in the URL"),
    (r"NOPERM", "does not allow this user to do that; grant it ~costguard:* and +@all -@dangerous"),
    (r"READONLY|can't write against a read only", "is a replica; give the primary"),
    (r"OOM|maxmemory", "is full; raise its maxmemory"),
    (r"LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN", "is being started or failed over; try again"),
    (r"MISCONF", "cannot write its snapshots and takes no writes; see its log"),
    (r"max number of clients", "has no connection left; lower pool_size, or raise its maxclients"),
    (r"No connection available|Too many connections", "has no free connection in this process; raise pool_size"),
    (r"imeout|timed out", "does not answer; check host, port and firewall, or raise patience"),
    (r"refused|No such file|Connection closed|closed by server|reset", "cannot be reached; start it, or check the URL"),
    (r"Name or service|resolve|not known|nodename", "is at a host that has no address; check its name"),
    (r"DB index|invalid DB", "has no such database; check the number after the slash"),
    (r"flags|unknown command|Unexpected", "is too old; Valkey 7.2 or Redis 7 is needed"),
)


class Server:
    """Thread-safe, and safe over fork. Raises ConfigError for a URL it cannot mean, MissingExtra without redis-py."""

    def __init__(self, url: str) -> None:
        scheme, mark, rest = url.partition("://")
        if not mark or scheme not in _SCHEMES:
            shown = f"{scheme}://..." if mark else "..." if "@" in url else repr(url)
            raise ConfigError(f"balances {shown} are of no kind that is known; {_HOW}")
        try:
            parts = urlsplit(f"redis://{rest}")
        except ValueError:
            # What it says may hold the password.
            raise ConfigError(f"balances {scheme}://... cannot be read as a URL; {_HOW}") from None
        if parts.fragment or "@" in parts.path or ("@" in parts.query and "@" not in parts.netloc):
            # Nothing of it is shown: where the password ends is anybody's guess.
            raise ConfigError(f"balances {scheme}://... have a '#', '/' or '?' where none can be; {_HOW}")
        user, _, host = parts.netloc.rpartition("@")
        self.url = f"{scheme}://{host}{parts.path}"
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.name = options.pop("name", "costguard")
        self.patience = self._number("patience", options.pop("patience", str(PATIENCE)))
        self._pool_size = int(self._number("pool_size", options.pop("pool_size", str(POOL_SIZE))))
        cluster = options.pop("cluster", "off")
        if cluster not in _SWITCH:
            raise ConfigError(f"balances {self.url} have cluster={cluster}; use on or off")
        self._cluster = _SWITCH[cluster]
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ConfigError(f"balances {self.url} have name={self.name}; use letters, digits and . _ -")
        for option in options:
            if not option.startswith("ssl_"):
                raise ConfigError(f"balances {self.url} have the unknown option {option!r}; {_HOW}")
        if not re.fullmatch(r"/?\d*", parts.path):
            raise ConfigError(f"balances {self.url} name the database {parts.path[1:]!r}, which is a number; {_HOW}")
        query = "&".join([f"{name}={quote(value, safe='')}" for name, value in options.items()])
        self._address = f"{_SCHEMES[scheme]}://{user}{'@' if user else ''}{host}{parts.path}?{query}"
        self._client: redis.Redis | None = None
        self._owner = 0
        self._hashes: dict[str, str] = {}

    def _number(self, name: str, text: str) -> float:
        try:
            number = float(text) if name == "patience" else int(text)
        except ValueError:
            number = 0
        if not 0 < number < 10_000:
            what = "seconds above zero, such as 2 or 0.5" if name == "patience" else "a whole number, one or more"
            raise ConfigError(f"balances {self.url} have {name}={text}; give {what}")
        return number

    def run(self, script: str, keys: Sequence[str], *values: str | int) -> Any:
        """Run a script in one round trip; text for text.

        It may run twice, where the connection breaks after it: that changes nothing more for any of them.
        """
        client = self._client
        if client is None or self._owner != os.getpid():
            client = self._connect()
        digest = self._hashes.get(script)
        if digest is None:
            digest = self._hashes[script] = sha1(script.encode(), usedforsecurity=False).hexdigest()
        import redis

        try:
            try:
                return client.evalsha(digest, len(keys), *keys, *values)
            except redis.exceptions.NoScriptError:
                return client.eval(script, len(keys), *keys, *values)
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def due(self, key: str, until: int) -> list[str]:
        """Members of a sorted set with a score of at most `until`, lowest first."""
        client = self._client
        if client is None or self._owner != os.getpid():
            client = self._connect()
        import redis

        try:
            found: Any = client.zrangebyscore(key, "-inf", until)
        except redis.RedisError as error:
            raise self._unavailable(error) from error
        return list(found)

    def policy(self) -> str:
        """What the server does when it is full; "" where it does not say."""
        client = self._connect()
        import redis

        try:
            return str(client.info("memory").get("maxmemory_policy", ""))
        except (redis.ResponseError, AttributeError):
            return ""
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def _connect(self) -> redis.Redis:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ModuleNotFoundError as error:
            if error.name != "redis":
                raise
            raise MissingExtra("redis", "valkey", "keeping balances in Valkey or Redis") from error
        # A connection that a restart has broken is made anew once; a server that does not answer is not asked again.
        settings: dict[str, Any] = {
            "socket_timeout": self.patience,
            "socket_connect_timeout": self.patience,
            "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),
            "decode_responses": True,
            "client_name": "costguard",
        }
        client: Any
        try:
            if self._cluster:
                client = redis.RedisCluster.from_url(self._address, **settings)
            else:
                pool = redis.BlockingConnectionPool.from_url(
                    self._address, max_connections=self._pool_size, timeout=max(1, round(self.patience)), **settings
                )
                client = redis.Redis(connection_pool=pool)
        except redis.RedisError as error:
            raise self._unavailable(error) from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"balances {self.url} cannot be read as a URL ({error}); {_HOW}") from None
        # A parent's connections stay its own: in a child they are only forgotten.
        self._client, self._owner = client, os.getpid()
        return self._client

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._owner == os.getpid():
            client.close()
            if not self._cluster:
                client.connection_pool.disconnect()

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        said = " ".join(str(error).split())
        words = next(
            (words for pattern, words in _WAYS_OUT if re.search(pattern, said)), "failed; see the server's log"
        )
        return StoreUnavailable(f"the balances in {self.url} {words} (it says: {said})")
