"""Tells people of prices that are missing or old: once each, and never in the way of a call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from costguard.errors import StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.notice import Kind, Notice
from costguard.offload import Offload
from costguard.pricing.ages import StalePrices
from costguard.pricing.book import PriceBook

log = logging.getLogger("costguard")

MOST = 1_000
"""Things told of by one process: names of models may come from users."""

_LONGEST = 200
_AGAIN = 30.0
_NEVER = float("inf")


class Notices:
    """A call only looks whether a thing was told of before; another thread puts it into the outbox.

    told: called when there is something new in the outbox
    """

    def __init__(self, ledger: Ledger, book: PriceBook, offload: Offload, told: Callable[[], None]) -> None:
        self._ledger = ledger
        self._book = book
        self._offload = offload
        self._told = told
        self._again_at: dict[tuple[Kind, str, str], float] = {}

    def unpriced(self, provider: str, model: str, *, assumed: bool = False) -> None:
        """A call's model has no price; `assumed`: it was counted at the dearest of its provider."""
        if self._new(("unpriced", f"{provider}/{model}", "")):
            self._offload.submit(partial(self._unpriced, provider, model, assumed))

    def partial(self, provider: str, model: str, missing: tuple[str, ...]) -> None:
        """Something that a call used has no price, so that its cost is the least it can be."""
        detail = ",".join(sorted(missing))
        if self._new(("partial", f"{provider}/{model}", detail)):
            self._offload.submit(partial(self._tell, "partial", f"{provider}/{model}", detail))

    def stale(self, prices: StalePrices) -> None:
        """A price list is old."""
        detail = prices.dated.date().isoformat()
        if self._new(("stale prices", prices.source, detail)):
            self._offload.submit(partial(self._tell, "stale prices", prices.source, detail, days=prices.days))

    def _new(self, key: tuple[Kind, str, str]) -> bool:
        again_at = self._again_at
        known = again_at.get(key)
        if known is not None:
            if known is _NEVER or time.monotonic() < known:
                return False
        elif len(again_at) >= MOST:
            return False
        again_at[key] = _NEVER
        return True

    def _unpriced(self, provider: str, model: str, assumed: bool) -> None:
        near = self._book.near(provider, model)
        log.warning(
            "no price is known for %s model %r: its calls are %s; give one with Guard(prices=...)%s",
            provider,
            model,
            "counted at the dearest price of the provider"
            if assumed
            else "recorded without a cost and count for no budget",
            f"; near names: {', '.join(near)}" if near else "",
        )
        self._tell("unpriced", f"{provider}/{model}", "", near=near, assumed=assumed)

    def _tell(self, kind: Kind, about: str, detail: str, **facts: object) -> None:
        try:
            if self._ledger.tell(Notice(kind, _clipped(about), time.time_ns(), _clipped(detail), facts)):
                self._told()
        except StoreUnavailable as error:
            # The next call that meets it tries again.
            self._again_at[kind, about, detail] = time.monotonic() + _AGAIN
            log.warning("nobody is told yet of %s: %s", f"{kind} {about}", error)
        except Exception:
            log.exception("nobody could be told of %s", f"{kind} {about}")


def _clipped(text: str) -> str:
    """Such a key is stored, and shown; a name may have anything in it."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])
    return shown.encode("utf-8", "replace").decode("utf-8")
