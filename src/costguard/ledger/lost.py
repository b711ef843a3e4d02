"""What a hold becomes when its owner never said how the call ended."""

from __future__ import annotations

from costguard.call import Call
from costguard.events import Entry, Hold
from costguard.pricing.usage import NO_USAGE, Usage
from costguard.tags import Tags

REASON = "the process that made this call never settled it; its hold was charged when it expired"
NOT_HELD = "the process that made this call never settled it; nothing was held for it, so its cost is not known"

NOTED = (
    "the store was away when this call was made, and its process has not settled it; "
    "it is charged what it wanted to hold"
)
NOT_THIS = "made while the store could not be asked; {}"


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


def lost_call(hold: Hold) -> Entry:
    """The entry that charges a call with what it held, in each unit."""
    call = hold.call
    entry = lost_entry(
        call.id, call.started_ns, call.provider, call.model, call.operation,
        streamed=call.streamed, tags=call.tags, amount=hold.amount,
    )  # fmt: skip
    if hold.tokens:
        entry.usage = Usage(input_tokens=hold.tokens)
    return entry


def note_of(hold: Hold) -> Entry:
    """What is known of a call that is about to be made without a hold: it counts if it is never settled."""
    entry = lost_call(hold)
    entry.reason = NOTED
    return entry


def taken_back(call: Call, why: str) -> Entry:
    """What ends a note of a call that is not settled under its own id."""
    return Entry(
        call.id, call.started_ns, call.provider, call.model, call.operation, 0, NO_USAGE,
        status="cancelled", streamed=call.streamed, attempts=0, tags=call.tags, reason=NOT_THIS.format(why),
    )  # fmt: skip
