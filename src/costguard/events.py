"""What happened, as values: made once in the guard, received by ledger, alerts, telemetry and hooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from costguard.budgets import Limit, Standing
from costguard.call import Call
from costguard.money import from_nanos
from costguard.pricing.book import Rates
from costguard.pricing.receipt import Receipt
from costguard.pricing.reported import is_reported, reported_receipt
from costguard.pricing.usage import NO_USAGE, Usage
from costguard.tags import NO_TAGS, Tags

Status = Literal["ok", "error", "cancelled", "closed", "pending", "lost", "adjusted"]
"""ok: answered. error: the provider refused or failed. cancelled: the task was cancelled.
closed: the caller left a stream early. pending: accepted, to be answered later (background).
lost: the process that made the call never said how it ended, and the hold was charged.
adjusted: no call, but a correction of what one cost (see `Adjustment`)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outcome:
    """How a call ended, as the provider wrappers see it. Built on the hot path.

    usage:        what the provider reported, or our estimate; None if nothing is known
    estimated:    the provider did not report it
    billable:     False when it certainly cost nothing, such as an error status
    model:        the model that answered, None if not said
    response_id:  the provider's id of the response
    by_response:  the entry is known by `response_id`, not by the call: a background response, whose usage
                  comes with every later reading of it
    context:      what else the price depends on, e.g. (("service_tier", "flex"),), sorted
    extra:        usage billed at another model's price: pairs of (model, usage)
    summed:       the usage is that of many requests: prices that rise with the size of one do not apply
    reported:     nano-dollars that the provider itself says it charged, for everything in here; None if not said
    ended_ns:     wall clock, nanoseconds since 1970
    """

    __slots__ = (
        "billable", "by_response", "context", "ended_ns", "estimated", "extra", "model", "reported", "response_id",
        "status", "summed", "usage",
    )  # fmt: skip

    def __init__(
        self,
        status: Status,
        usage: Usage | None = None,
        *,
        estimated: bool = False,
        billable: bool = True,
        model: str | None = None,
        response_id: str | None = None,
        by_response: bool = False,
        context: tuple[tuple[str, str], ...] = (),
        extra: tuple[tuple[str, Usage], ...] = (),
        reported: int | None = None,
        summed: bool = False,
        ended_ns: int = 0,
    ) -> None:
        self.status = status
        self.usage = usage
        self.estimated = estimated
        self.billable = billable
        self.model = model
        self.response_id = response_id
        self.by_response = by_response
        self.context = context
        self.extra = extra
        self.reported = reported
        self.summed = summed
        self.ended_ns = ended_ns


class Hold:
    """Money set aside for one call on all its limits: a row, so that it can be found when its owner dies.

    amount:      nano-dollars, the same on every limit in USD
    tokens:      the same on every limit in tokens; a limit in calls holds one
    expires_ns:  past this moment whoever looks next charges it as `lost`
    leases:      ids of the leases it was taken from, one for each of `limits`; () where it is a hold of its own
    """

    __slots__ = ("amount", "call", "expires_ns", "leases", "limits", "tokens")

    def __init__(self, call: Call, limits: tuple[Limit, ...], amount: int, expires_ns: int, tokens: int = 0) -> None:
        self.call = call
        self.limits = limits
        self.amount = amount
        self.expires_ns = expires_ns
        self.tokens = tokens
        self.leases: tuple[str, ...] = ()

    def on(self, limit: Limit) -> int:
        """What it sets aside on this limit, in the limit's unit."""
        unit = limit.unit
        return self.amount if unit == "usd" else self.tokens if unit == "tokens" else 1


class Entry:
    """One line of the ledger: one call, priced once, with the tags it was made for.

    call_id:      UUIDv7, made before the call
    at:           when the call was made, UTC
    provider, model: the model that answered, else the one asked for
    usage:        disjoint buckets, with totals as properties
    cost:         USD, Decimal with nine places; None where the model has no price (then `reason` says why)
    status:       see `Status`
    estimated:    the provider reported no usage: it was estimated, never taken as zero
    held:         USD that was held for it
    duration:     seconds from the call to its last byte
    receipt:      bucket x price, None where there is no price
    """

    __slots__ = (
        "at_ns", "attempts", "call_id", "duration_ns", "estimated", "held_nanos", "model", "nanos", "operation",
        "provider", "rates", "reason", "response_id", "status", "streamed", "tags", "usage",
    )  # fmt: skip

    currency = "USD"

    def __init__(  # noqa: PLR0917 - the hot path gives them by position: names would double its cost
        self,
        call_id: str,
        at_ns: int,
        provider: str,
        model: str,
        operation: str,
        nanos: int | None,
        usage: Usage = NO_USAGE,
        rates: Rates | None = None,
        status: Status = "ok",
        estimated: bool = False,
        streamed: bool = False,
        attempts: int = 1,
        tags: Tags = NO_TAGS,
        held_nanos: int = 0,
        duration_ns: int = 0,
        response_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        self.call_id = call_id
        self.at_ns = at_ns
        self.provider = provider
        self.model = model
        self.operation = operation
        self.nanos = nanos
        self.usage = usage
        self.rates = rates
        self.status = status
        self.estimated = estimated
        self.streamed = streamed
        self.attempts = attempts
        self.tags = tags
        self.held_nanos = held_nanos
        self.duration_ns = duration_ns
        self.response_id = response_id
        self.reason = reason

    def on(self, limit: Limit) -> int:
        """What it counts on this limit, in the limit's unit: an unpriced one no money, a failed one no call."""
        unit = limit.unit
        if unit == "usd":
            return self.nanos or 0
        if unit == "tokens":
            return self.usage.input_tokens + self.usage.output_tokens
        # What was billed beside a call, at another model's price, was no attempt of its own.
        return 0 if self.status == "error" or not self.attempts else 1

    @property
    def at(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.at_ns // 1000)

    @property
    def adjusts(self) -> str | None:
        """The id of the call whose cost it corrects; None for a call itself."""
        return None

    @property
    def cost(self) -> Decimal | None:
        return None if self.nanos is None else from_nanos(self.nanos)

    @property
    def held(self) -> Decimal:
        return from_nanos(self.held_nanos)

    @property
    def duration(self) -> float:
        return self.duration_ns / 1e9

    @property
    def receipt(self) -> Receipt | None:
        if self.rates is None:
            return None
        if self.nanos is not None and is_reported(self.rates):
            return reported_receipt(self.rates, self.usage, self.nanos)
        return self.rates.receipt(self.usage)

    def __repr__(self) -> str:
        cost = "unpriced" if self.nanos is None else f"${self.cost}"
        return f"Entry({self.call_id}, {self.provider}/{self.model}, {cost}, {self.status}, {self.tags!r})"


@dataclass(frozen=True, slots=True)
class Crossing:
    """A payer's spending reached a fraction of a limit: told to people once per limit and fraction.

    spent:   in the limit's unit, after the call that crossed
    refused: made because a call was refused, before the spending itself reached the limit
    """

    limit: Limit
    fraction: Decimal
    spent: int
    at_ns: int
    refused: bool = False

    @property
    def key(self) -> str:
        # With the amount: a limit that was raised in its window is told of again.
        return f"{self.limit.told_as}@{self.fraction.normalize():f}*{self.limit.most + self.limit.prior}"


@dataclass(frozen=True, slots=True)
class Settled:
    """Hooks hear this after an entry was recorded.

    crossings: what the entry made the spending cross; () where it goes by the journal, as with leases: they are found
               with the batch, and told by the alerts
    call:      what it is the entry of; None where nothing of this process began it, or it is billed beside one
    """

    entry: Entry
    crossings: tuple[Crossing, ...]
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Hooks hear this when a call was refused; `needed` is the hold it wanted, in the unit of the budget.

    observed: it was made all the same, as the budget (or the guard) only observes
    """

    call: Call
    standing: Standing
    busy: bool
    needed: Decimal
    observed: bool = False


@dataclass(frozen=True, slots=True)
class Downgraded:
    """Hooks hear this before a call is made with another model than the app asked for, as a budget says."""

    call: Call
    standing: Standing
    asked: str
    model: str


Hook = Callable[[Settled | Refused | Downgraded], Any]
"""A hook runs in the thread or task of the call, or in a thread of the guard's where async code works with a store
over the network. It must be quick; what it raises is logged, never passed on.

It may have methods that are called too: `began(call)` before a call is admitted, in the context of the app, and
`ended(call)` when it is over, whichever way; `attached(guard)` when a guard takes it; `closing()` when the guard is
closed, or its ASGI server shuts down, while the store still takes what the hook has: again each time."""
