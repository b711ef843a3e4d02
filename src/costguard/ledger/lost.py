"""What a hold becomes when its owner never said how the call ended."""

from __future__ import annotations

from costguard.events import Entry
from costguard.tags import Tags

REASON = "the process that made this call never settled it; its hold was charged when it expired"
NOT_HELD = "the process that made this call never settled it; nothing was held for it, so its cost is not known"


def lost_entry(
    call_id: str, at_ns: int, provider: str, model: str, operation: str, *, streamed: bool, tags: Tags, amount: int
) -> Entry:
    """The entry that charges `amount` nano-dollars. The provider may have been paid: giving the
    money back could overshoot a budget. A hold of nothing leaves the cost unknown, never zero."""
    return Entry(
        call_id,
        at_ns,
        provider,
        model,
        operation,
        nanos=amount or None,
        status="lost",
        estimated=True,
        streamed=streamed,
        tags=tags,
        held_nanos=amount,
        reason=REASON if amount else NOT_HELD,
    )
