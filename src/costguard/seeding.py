"""What holds are learned from at first: what other workers, or this one before a restart, have paid."""

from __future__ import annotations

import logging
import time

from costguard.call import Call
from costguard.errors import StoreUnavailable
from costguard.holds import WINDOW, HoldSizer, kind_of
from costguard.ledger.base import Ledger
from costguard.pricing.book import Rates

log = logging.getLogger("costguard")

_ASK_AGAIN = 0.2
_MOST_KEPT = 4096


class Seeding:
    """Thread-safe."""

    def __init__(self, ledger: Ledger, sizer: HoldSizer) -> None:
        self._ledger = ledger
        self._sizer = sizer
        self._asked: dict[tuple[str, str, str], float] = {}

    def seed(self, call: Call, rates: Rates, now_or_never: bool = False) -> bool:
        """Have the sizer learn from the ledger's calls of this kind; says whether there were any.

        now_or_never: the call is about to be refused, and the ledger is asked whenever it was asked before
        """
        # Not at every call of a kind that never succeeds, nor at every look of many that wait.
        kind, now = kind_of(call), time.monotonic()
        if not now_or_never and self._asked.get(kind, 0.0) > now - _ASK_AGAIN:
            return False
        if len(self._asked) >= _MOST_KEPT:
            self._asked.clear()
        self._asked[kind] = now
        try:
            entries = self._ledger.entries(
                {"feature": call.tags.value("feature")}, provider=call.provider, limit=4 * WINDOW
            )
        except StoreUnavailable as error:
            log.warning("holds could not be learned from the ledger: %s", error)
            return False
        dated = f"{call.model}-"
        extras = [
            entry.nanos - rates.bound(entry.usage.input_tokens, 0)
            for entry in reversed(entries)
            if entry.nanos is not None
            and entry.status == "ok"
            and not entry.estimated
            and (entry.model == call.model or entry.model.startswith(dated))
        ]
        self._sizer.seed(call, extras[-WINDOW:])
        return bool(extras)
