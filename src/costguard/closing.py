"""How a guard brings home what it has and lets go, in time, whatever a store, a lock or a thread keeps waiting for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Self

from costguard.errors import CostGuardError, StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.refusal_counts import RefusalCounts
from costguard.offload import Offload
from costguard.pricing.book import PriceBook
from costguard.recorder import Recorder
from costguard.watchers import Watchers

log = logging.getLogger("costguard")

GRACE = 0.5
"""Seconds beyond the time that was given: a flush may use all of that, and what was opened is closed after it."""


class Deadline:
    """The seconds that several steps have together."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self, most: float = float("inf")) -> float:
        """What is left for the next step, `most` at most, never negative."""
        return min(most, max(0.0, self._at - time.monotonic()))


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Have `work` done; False if it takes longer than so many seconds, and some grace. Then it goes on by itself.

    It is done in a thread of its own. The one that asks may be in a signal handler, in the middle of a verb whose lock
    it holds: there it would wait for itself. Raises what `work` raises.
    """
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            ended.put(error)
        else:
            ended.put(None)

    try:
        Thread(target=run, name="costguard-closing", daemon=True).start()
    except RuntimeError:  # the interpreter is ending, and there are no threads any more
        work()
        return True
    try:
        error = ended.get(timeout=seconds + GRACE)
    except Empty:
        return False
    if error is not None:
        raise error
    return True


class Closing:
    """The part of a `Guard` that ends it, and begins it again."""

    ledger: Ledger
    _book: PriceBook
    _closed: bool
    _offload: Offload
    _outbox: Any
    _schedule: Any
    _recorder: Recorder
    _refusals: RefusalCounts
    _source: Any
    _watchers: Watchers

    @property
    def closed(self) -> bool:
        """Whether it was closed, and no call was made with it since."""
        return self._closed

    def uninstrument(self) -> None:
        """See `Guard`."""
        raise NotImplementedError

    def flush(self, timeout: float = 10.0) -> None:
        """Record and deliver all there is, within `timeout` seconds.

        Raises StoreUnavailable if entries still wait for the store, CostGuardError if alerts are undelivered that no
        quiet hours hold back.
        """
        from costguard.providers.collected import drain

        by = Deadline(timeout)
        # Streams that were dropped are settled by a thread.
        drain(by.left())
        self._offload.drain(by.left())
        waiting, where = self._recorder.retry(by.left()), "memory"
        flush = getattr(self.ledger, "flush", None)
        if not waiting and flush is not None:
            waiting, where = flush(by.left()), "the journal"
        if waiting:
            raise StoreUnavailable(
                f"{waiting} entries are not in the ledger {self.ledger.url} yet; they wait in {where}"
            )
        self._refusals.write()
        if self._schedule is not None:
            self._schedule.write()
        if self._outbox is not None:
            # What is held back until the morning has not failed.
            left = self._outbox.flush(by.left()) - self._outbox.held_back
            if left > 0:
                raise CostGuardError(f"{left} alerts are not delivered yet; they are kept and tried again")

    def rest(self) -> None:
        """Bring what waits to the store, and give leases back; calls may go on. Servers that end without Python's
        exit handlers (uvicorn after SIGTERM) are told to by the ASGI middleware. Raises nothing: it logs."""
        try:
            rest = getattr(self.ledger, "rest", None)
            if rest is not None:
                rest()
            self.flush(5.0)
        except CostGuardError as error:
            log.warning("not all could be brought to the store: %s", error)
        self._watchers.closing()

    def close(self, timeout: float = 10.0) -> None:
        """Uninstrument, flush, and let go of the store, within `timeout` seconds. The errors are those of `flush`.

        Safe in a signal handler. A guard that is used again after it opens what it needs again.
        """
        self.uninstrument()
        if not within(timeout, partial(self._close, timeout)):
            raise StoreUnavailable(
                f"the ledger {self.ledger.url} was not closed within {timeout:g} s, what waits for it is kept; it is "
                f"being closed in the background"
            )

    def _close(self, timeout: float) -> None:
        by = Deadline(timeout)
        self._closed = True
        if self._source is not None:
            self._source.close(by.left(1.0))
        self._book.close(by.left(1.0))
        try:
            self.flush(by.left())
        finally:
            if by.left():  # else the store has kept us waiting all the time, and would again
                self._watchers.closing()
            if self._outbox is not None:
                self._outbox.close(by.left(1.0))
            end = getattr(self.ledger, "end", None)
            if end is None:
                self.ledger.close()
            else:
                end(by.left())
            self._offload.close()

    def _use_again(self) -> None:
        self._closed = False
        if self._source is not None:
            self._source.resume()
        self._book.start()
        if self._outbox is not None:
            self._outbox.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
