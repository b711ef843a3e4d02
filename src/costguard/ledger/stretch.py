"""A time that is asked for, cut into what rollups know and what only rows tell."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """whole: the first unit and the one after the last, None: no bound; None altogether: no unit is whole
    edges: sign, since, until of rows that come to it (1), or that are in the units but not in the time (-1);
           microseconds since 1970
    """

    whole: tuple[int | None, int | None] | None
    edges: tuple[tuple[int, int | None, int | None], ...]


def cut(since: int | None, until: int | None, unit: int, now: int | None = None) -> Stretch:
    """Microseconds since 1970. Of a unit that is not wholly in the time, the rows of its shorter part are read: of the
    last thirty days those of half a day at most, as there are none yet after `now`."""
    now = time.time_ns() // 1000 if now is None else now
    edges: list[tuple[int, int | None, int | None]] = []
    first = last = None
    if since is not None:
        first = begin = since // unit
        if since > begin * unit:
            end = (begin + 1) * unit
            if since - begin * unit < min(end, max(now, since)) - since:
                edges.append((-1, begin * unit, since))
            else:
                first = begin + 1
                edges.append((1, since, end))
    if until is not None:
        last = begin = until // unit
        if until > begin * unit:
            end = (begin + 1) * unit
            if max(min(end, now) - until, 0) < until - begin * unit:
                last = begin + 1
                edges.append((-1, until, end))
            else:
                edges.append((1, begin * unit, until))
    if first is not None and last is not None and last <= first:
        return Stretch(None, ((1, since, until),))
    return Stretch((first, last), tuple(edges))
