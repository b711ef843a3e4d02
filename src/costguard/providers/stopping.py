"""Ending a stream when what has come of it is worth its hold."""

from __future__ import annotations

from collections.abc import Callable

from costguard.providers.estimate import Deltas
from costguard.providers.meter import Meter

_BYTES_A_TOKEN = 4
"""An event is longer than the text in it: so many bytes of events for each token that is left hold no more tokens."""


class Stopped(Exception):
    """Out of `feed`: pass `rest` on, then end the body."""

    def __init__(self, rest: bytes) -> None:
        super().__init__(rest)
        self.rest = rest


def stopping(meter: Meter, most: int, told: Callable[[], None]) -> Callable[[bytes], bytes]:
    """The meter's `feed`, which raises `Stopped` after `most` output tokens, by the estimate of `Deltas`.

    told: called once, before it ends

    The events are only looked into when they may hold what is left.
    """
    feed, deltas = meter.feeder(), meter.deltas
    look_at = min(most * _BYTES_A_TOKEN, Deltas.KEPT // 2)

    def checked(chunk: bytes) -> bytes:
        nonlocal look_at
        out = feed(chunk)
        if deltas.held < look_at or meter.ended:
            return out
        left = most - deltas.tokens()
        if left > 0:
            look_at = min(left * _BYTES_A_TOKEN, Deltas.KEPT // 2)
            return out
        told()
        raise Stopped(_whole(meter, out))

    return checked


def _whole(meter: Meter, out: bytes) -> bytes:
    """Less an event that is only begun: its reader would take half of it for whole. Packed bytes stay as they are."""
    begun = sum(map(len, meter._parts))
    return out if meter._hide or meter._inflate is not None or not begun else out[:-begun]
