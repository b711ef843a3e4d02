"""Where prices come from beside the shipped list: the user's own, files, and addresses on the web."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from costguard.errors import ConfigError
from costguard.pricing.download import Download, check_url, download, shown
from costguard.pricing.kept import Kept, keep, kept
from costguard.pricing.overrides import Overrides, Prices
from costguard.pricing.price_file import read_prices
from costguard.pricing.rates import Rates
from costguard.pricing.table import NO_LIST, Context, Found, PriceList, Table

log = logging.getLogger("costguard")

PriceSource: TypeAlias = "Prices | str | PathLike[str]"
"""The user's own prices as a mapping, the path of a price list, or its https address."""

MOST_BYTES = 32 * 2**20
_JUST_WRITTEN = 2 * 10**9
"""Nanoseconds in which a file may change again without a new time or size."""


class Source(PriceList, Protocol):
    """A price list that may change while the app runs.

    name:      of the file or address, without what may be secret in it
    shape:     "costguard", "litellm", ...; "" as long as nothing is there
    dated_ns:  of the list: when it says it was written, else when the file was, or when it was fetched; None: unknown
    current:   it was looked at since the app started; what has to be fetched is not at first
    """

    name: str
    shape: str
    dated_ns: int | None
    current: bool

    def start(self) -> None:
        """Have what can be had at once. Raises ConfigError for a file that cannot be read."""
        ...

    def look(self, newer_than_ns: int = 0) -> bool:
        """Look for changes now; whether there was one. Raises ConfigError or OSError, and all stays as it was.

        newer_than_ns: what another process fetched after that moment is new enough
        """
        ...


class _Listed:
    """What sources that hold one table have in common."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shape = ""
        self.dated_ns: int | None = None
        self.current = False
        self._table: Table | None = None

    def __len__(self) -> int:
        return 0 if self._table is None else len(self._table)

    def find(self, providers: Sequence[str], names: Sequence[str], at_ns: int, context: Context) -> Found:
        table = self._table
        return NO_LIST if table is None else table.find(providers, names, at_ns, context)

    def names(self) -> list[str]:
        return [] if self._table is None else self._table.names()

    def of_provider(self, providers: Sequence[str], at_ns: int) -> Iterator[Rates]:
        return iter(()) if self._table is None else self._table.of_provider(providers, at_ns)

    def _take(self, content: bytes, written_ns: int) -> None:
        # Read as a whole before anything is put in place.
        table, shape = read_prices(content, self.name)
        updated = table.updated
        self.dated_ns = written_ns if updated is None else int(updated.timestamp()) * 10**9
        self.shape = shape
        self._table = table


class PriceFile(_Listed):
    """A price list on disk, read at the start, and again when it has changed."""

    def __init__(self, path: str | PathLike[str]) -> None:
        # Absolute, so that a later chdir, as daemons do, does not lose it.
        self._path = Path(path).absolute()
        self._sign: tuple[int, int, int] | None = None
        super().__init__(self._path.name)

    def start(self) -> None:
        self.look()

    def look(self, newer_than_ns: int = 0) -> bool:
        try:
            found = self._path.stat()
            sign = (found.st_mtime_ns, found.st_size, found.st_ino)
            if sign == self._sign:
                return False
            if found.st_size > MOST_BYTES:
                raise ConfigError(
                    f"the prices of {self._path} are {found.st_size} bytes; at most {MOST_BYTES} are read"
                )
            content = self._path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"the prices of {self._path} cannot be read ({error.strerror or error}); give prices= the path of a "
                f"price list, or an https address"
            ) from None
        self.current = True
        self._take(content, found.st_mtime_ns)
        self._sign = sign if time.time_ns() - found.st_mtime_ns > _JUST_WRITTEN else None
        return True


class PriceUrl(_Listed):
    """A price list on the web. Until it is fetched, the last good copy on this machine holds, or the lists after it."""

    def __init__(self, url: str) -> None:
        check_url(url)
        self._url = url
        self._kept: Kept | None = None
        self.fetched_ns = 0
        super().__init__(shown(url))

    def start(self) -> None:
        """Nothing is fetched here: an app that starts does not wait for a network."""
        try:
            self._use_kept(0)
        except ConfigError as error:
            log.warning("the kept copy of the prices of %s is not used: %s", self.name, error)

    def look(self, newer_than_ns: int = 0) -> bool:
        if newer_than_ns:
            changed = self._use_kept(newer_than_ns)
            if self.fetched_ns >= newer_than_ns:
                self.current = True
                return changed
        had = self._kept
        now = time.time_ns()
        got: Download | None = download(
            self._url, etag=had.etag if had else "", modified=had.modified if had else "", most_bytes=MOST_BYTES
        )
        if got is None:
            # Not changed there: what we have is as good as new. Without anything we do not ask for changes only.
            self._kept = (had or Kept(b"", "", "", now))._replace(fetched_ns=now)
            self._fetched(now)
            keep(self._url, self._kept)
            self.current = True
            return False
        self._take(got.content, now)
        self._fetched(now)
        self.current = True
        self._kept = Kept(got.content, got.etag, got.modified, now)
        keep(self._url, self._kept)
        return had is None or had.content != got.content

    def _use_kept(self, newer_than_ns: int) -> bool:
        """Take what this or another process kept on disk, if it is newer than what we have."""
        found = kept(self._url)
        if found is None or found.fetched_ns < newer_than_ns or found.fetched_ns <= self.fetched_ns:
            return False
        changed = self._kept is None or found.content != self._kept.content
        if changed:
            self._take(found.content, found.fetched_ns)
        self._kept = found
        self._fetched(found.fetched_ns)
        return changed

    def _fetched(self, at_ns: int) -> None:
        table = self._table
        if table is not None and table.updated is None:
            self.dated_ns = at_ns
        self.fetched_ns = at_ns


def sources_of(prices: Any) -> tuple[PriceList, ...]:
    """What `Guard(prices=...)` was given, the first first. Raises ConfigError for what is none of it."""
    if prices is None:
        return ()
    if isinstance(prices, (list, tuple)):
        return tuple(source for given in prices for source in sources_of(given))
    if isinstance(prices, Mapping):
        return (Overrides(prices),)
    if isinstance(prices, str):
        if "://" in prices:
            return (PriceUrl(prices),)
        if not prices.strip():
            raise ConfigError("prices is empty; give a mapping, the path of a price list, or an https address")
        return (PriceFile(prices),)
    if isinstance(prices, PathLike):
        return (PriceFile(prices),)
    raise ConfigError(
        f"prices is a {type(prices).__name__}; give a mapping such as {{'openai/my-model': {{'input': '1.25', "
        f"'output': '10'}}}}, the path of a price list, its https address, or a list of these"
    )
