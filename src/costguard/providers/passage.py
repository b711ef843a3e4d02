"""Streams that an SDK gives as a generator: passed on by a generator of ours, whose end is told exactly once."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

from costguard.providers import collected
from costguard.providers.body import ended_by
from costguard.providers.departure import failed
from costguard.providers.flight import Flight
from costguard.providers.meter import Meter

log = logging.getLogger("costguard.providers")

Learn = Callable[[Meter, Any], None]
"""Tells the meter what one item says: its text, its usage, and that it is the last one."""


class Passage:
    """One such stream. It also ends when it is let go of, begun or not.

    learn: never raises into the stream: what it raises is logged
    """

    def __init__(self, flight: Flight, learn: Learn) -> None:
        # Kind "events": nothing is read off bytes that are not fed, and the output can be estimated.
        self._meter = flight.meter("text/event-stream")
        self._flight = flight
        self._learn = learn
        self._open = [None]
        self._begun = False
        collected.watch()

    def passes(self, item: Any) -> bool:
        """Read one item before it is passed on; False if it is to be the last one."""
        meter, flight = self._meter, self._flight
        if not self._open:
            return True
        self._begun = True
        try:
            self._learn(meter, item)
        except Exception:
            log.exception("costguard could not read an event of a stream of %s", flight.call.model)
        if meter.ended:
            self._open.clear()
            return True
        stop_at = flight.stop_at
        if stop_at is None or meter.deltas.tokens() < stop_at:
            return True
        flight.stopped()
        return False

    def end(self, error: BaseException | None = None) -> None:
        try:
            self._open.pop()
        except IndexError:
            return
        if error is not None and not self._begun:
            failed(self._flight, error)
        else:
            self._meter.end("ok" if error is None else ended_by(error))

    def __del__(self) -> None:
        if self.__dict__.get("_open"):
            collected.tell(lambda: self.end(GeneratorExit()))


def sync_passage(items: Iterator[Any], flight: Flight, learn: Learn) -> Iterator[Any]:
    """`items`, whose end settles `flight`. It is reserved for; sent at the latest when the first item is asked for."""
    return _sync(items, Passage(flight, learn), flight)


def async_passage(items: AsyncIterator[Any], flight: Flight, learn: Learn) -> AsyncIterator[Any]:
    return _async(items, Passage(flight, learn), flight)


def _sync(items: Iterator[Any], passage: Passage, flight: Flight) -> Iterator[Any]:
    flight.call.attempts = 1
    try:
        for item in items:
            more = passage.passes(item)
            yield item
            if not more:
                passage.end(GeneratorExit())
                return
    except BaseException as error:
        passage.end(error)
        raise
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
    passage.end()


async def _async(items: AsyncIterator[Any], passage: Passage, flight: Flight) -> AsyncIterator[Any]:
    flight.call.attempts = 1
    try:
        async for item in items:
            more = passage.passes(item)
            if flight.waits:
                await flight.settled()
            yield item
            if not more:
                passage.end(GeneratorExit())
                break
    except BaseException as error:
        passage.end(error)
        if flight.waits and isinstance(error, Exception):
            await flight.settled()
        raise
    finally:
        # Else the event loop closes it later, in a task of its own.
        if isinstance(items, AsyncGenerator):
            await items.aclose()
    passage.end()
    if flight.waits:
        await flight.settled()
