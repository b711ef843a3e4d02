"""Bodies of many answers, one on each line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from costguard.providers.lines import LineMeter
from costguard.providers.meter import End, Meter
from costguard.providers.rows import Route

log = logging.getLogger("costguard.providers")


class EachMeter(LineMeter):
    """Hands on every line as soon as it is complete.

    one: takes a parsed line
    """

    __slots__ = ("_one",)

    def __init__(
        self,
        route: Route,
        content_type: str,
        encoding: str,
        done: Callable[[End, Meter], None],
        one: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__(route, content_type, encoding, done, hide=False)
        self._one = one

    def _line(self, line: bytes) -> None:
        for parsed in objects(line):
            self._one(parsed)


def objects(text: str | bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of the lines of a text; other lines are passed over."""
    for line in text.splitlines():
        try:
            parsed = json.loads(line)
        except ValueError:
            continue
        if isinstance(parsed, dict):
            yield parsed
