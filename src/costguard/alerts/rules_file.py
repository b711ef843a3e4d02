"""The alert rules of a TOML file, read again when it changes."""

from __future__ import annotations

import logging
import os
from os import PathLike
from pathlib import Path

from costguard.alerts.rules import Rule, rules_of_file
from costguard.errors import ConfigError

log = logging.getLogger("costguard.alerts")


class RulesFile:
    """The table [alerts] of a file, which may be the budget file.

    [alerts]
    rules = ["burn fast", "digest daily 09:00"]

    A file that is no TOML, or is not there, has none: who reads its budgets says so.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        # Absolute, so that a later chdir, as daemons do, does not lose it.
        self._path = Path(path).absolute()
        self._sign: tuple[int, int, int] | None = None
        self._said = ""

    def read(self) -> tuple[Rule, ...]:
        """The rules as they are written. Raises ConfigError for a rule that cannot be read."""
        self._sign = self._look()
        return rules_of_file(self._path, lenient=True)

    def changed(self) -> tuple[Rule, ...] | None:
        """The rules, if the file is another one than at the last look and can be read; else None. Raises nothing."""
        if self._look() == self._sign:
            return None
        try:
            self._sign = self._look()
            found = rules_of_file(self._path)
        except ConfigError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("alert rules stay as they were: %s", error)
            return None
        self._said = ""
        return found

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
