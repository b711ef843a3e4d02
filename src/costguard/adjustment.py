"""A correction of what a call cost, as an entry of its own: what was recorded is never overwritten."""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID

from costguard.budgets import Limit
from costguard.events import Entry, Status
from costguard.pricing.book import Rates
from costguard.pricing.usage import NO_USAGE
from costguard.tags import Tags

ADJUSTED: Status = "adjusted"
"""The status of an adjustment."""


class Adjustment(Entry):
    """The difference between what an entry costs and what is recorded for it so far.

    It has the time, the model and the tags of the entry, so that it counts where that counts; it is no call, has no
    usage and no receipt. The entry's usage times `rates` is what the entry costs now.

    nanos:    nano-dollars, negative where the entry cost less than was recorded
    adjusts:  the entry's call id
    covers:   tokens of an entry that had no price until now; None where it had one
    """

    __slots__ = ("_adjusts", "covers")

    nanos: int

    def __init__(  # noqa: PLR0917 - as Entry
        self,
        call_id: str,
        at_ns: int,
        provider: str,
        model: str,
        operation: str,
        nanos: int,
        rates: Rates | None,
        *,
        adjusts: str,
        covers: int | None = None,
        estimated: bool = False,
        tags: Tags,
        reason: str | None = None,
    ) -> None:
        super().__init__(
            call_id, at_ns, provider, model, operation, nanos, NO_USAGE, rates, ADJUSTED, estimated, False, 0, tags,
            reason=reason,
        )  # fmt: skip
        self._adjusts = adjusts
        self.covers = covers

    @classmethod
    def of(cls, entry: Entry, before: int, nanos: int, rates: Rates, *, first_price: bool, reason: str) -> Adjustment:
        """A correction of `entry`, to which there are `before` corrections so far."""
        usage = entry.usage
        return cls(
            adjustment_id(entry.call_id, entry.at_ns, before), entry.at_ns, entry.provider, entry.model,
            entry.operation, nanos, rates, adjusts=entry.call_id,
            covers=usage.input_tokens + usage.output_tokens if first_price else None,
            estimated=entry.estimated, tags=entry.tags, reason=reason,
        )  # fmt: skip

    @property
    def adjusts(self) -> str:
        return self._adjusts

    @property
    def receipt(self) -> None:
        return None

    def on(self, limit: Limit) -> int:
        return self.nanos if limit.unit == "usd" else 0

    def __repr__(self) -> str:
        return f"Adjustment({self.call_id} of {self._adjusts}, {self.provider}/{self.model}, ${self.cost})"


def adjustment_id(call_id: str, at_ns: int, before: int) -> str:
    """The id of the correction that follows `before` others: of two who correct a call at once one is recorded.

    A UUID of version 8 that begins with the time of the call, as call ids do, so that both are kept and forgotten
    together (RFC 9562, section 5.8; `costguard.ledger.months`).
    """
    number = int.from_bytes(blake2b(f"{call_id}/{before}".encode(), digest_size=16).digest(), "big")
    number = number >> 48 | (at_ns // 10**6 & (1 << 48) - 1) << 80
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(3 << 62) | 2 << 62
    return str(UUID(int=number))
