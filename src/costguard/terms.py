"""What all calls of one guard are admitted by: its stores, its settings, and what it has learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from costguard.call import Call
from costguard.errors import StoreUnavailable
from costguard.holds import HoldSizer
from costguard.ledger.base import Ledger
from costguard.pricing.book import PriceBook, Rates
from costguard.readings import Readings
from costguard.refusals import Refusals
from costguard.waiting import Waiting

STOP_TAG = "stop_at_limit"
"""A call with this tag ("true", "1", "yes") has its stream ended at its hold, whatever the guard's setting."""


@dataclass(slots=True, eq=False)
class Terms:
    """wait, observe, fit, fit_floor, stop_at_limit: see `Guard`

    tokens:      sizes holds on limits in tokens
    emit:        tells the hooks
    seed:        has the sizer learn from the ledger; says whether there was anything
    store_down:  raises, or lets the call through, as the policy says
    """

    ledger: Ledger
    book: PriceBook
    sizer: HoldSizer
    tokens: HoldSizer
    readings: Readings
    refusals: Refusals
    waiting: Waiting
    emit: Callable[[Any], None]
    seed: Callable[[Call, Rates, bool], bool]
    store_down: Callable[[Call, StoreUnavailable], None]
    wait: float
    observe: bool = False
    fit: bool = False
    fit_floor: int = 256
    stop_at_limit: bool = False
