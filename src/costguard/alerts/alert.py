"""What is worth telling, as one frozen value, and what a channel that tells it must be.

A channel is any callable of one `Alert`. It runs off the request, in the outbox's own thread::

    def page(alert: Alert) -> None:
        pager.trigger(alert.title, details=alert.text)

    guard = Guard("sqlite:///costs.db", alerts=[page])
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Literal, Protocol, cast, get_args

from costguard.ledger.base import Ledger, Parcel
from costguard.money import from_nanos, show_usd
from costguard.notice import Kind as NoticeKind
from costguard.units import Unit, from_rest, show_amount, show_number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Kind = Literal["budget", "folded"] | NoticeKind
KINDS: tuple[str, ...] = ("budget", *get_args(NoticeKind))
"""What an alert can be of, and be muted by."""


_LONGEST_WAIT = 86400.0


class RetryLater(Exception):
    """A channel raises this when it was told how long to wait, e.g. by HTTP 429 with Retry-After; in seconds.

    At least one, or a channel that says 0 would be asked without a pause; at most a day, as alerts are tried for four.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"told to wait {seconds:g} s")
        self.seconds = min(_LONGEST_WAIT, max(1.0, float(seconds)))


class Undeliverable(Exception):
    """A channel raises this when trying again cannot help, e.g. a webhook that was deleted."""


class Channel(Protocol):
    """Tells one alert, or raises; what returns is told and never repeated.

    A channel may have a `name`, which must stay the same over restarts: by it the outbox remembers
    who was told. Without one the function's or class's name is taken. `RetryLater` and `Undeliverable` steer
    the retries; any other exception is tried again with growing pauses.

    It may also have: `folds`, true if many alerts at once may come as one `Folded`; `prepare()`, which loads what it
    needs; `holds_back(alert)`, the seconds until this one may be told, None for now; `threads`, true if what it returns
    names the message, and `reply(alert, first)` tells an alert of the same budget and window below the one so named.
    """

    def __call__(self, alert: Alert, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Alert:
    """A payer's spending reached a fraction of a budget, or a call was refused.

    key:        the same for every try to tell this one; never used for another
    budget:     the rule, e.g. "$5.00/day per user"; `name` is the budget's own name, "" if it has none
    payer:      the tag values the budget is counted by, e.g. {"user": "alice"}; empty: everyone
    fraction:   the threshold that was reached, e.g. Decimal("0.8")
    spent, limit: at that moment, in `unit`: "usd", "tokens" or "calls"
    resets_at:  UTC; None: never
    at:         when it was reached, UTC
    refused:    a call was refused, because it did not fit what is left
    kind:       "budget"; see `PriceAlert` for what else is told
    top_feature, top_model: the dearest of this payer in this window and its USD; None if nothing was priced
    link:       where the dashboard explains it; "" without `Guard(dashboard_url=...)`
    """

    key: str
    budget: str
    name: str
    payer: Mapping[str, str]
    fraction: Decimal
    spent: Decimal
    limit: Decimal
    resets_at: datetime | None
    at: datetime
    refused: bool = False
    top_feature: tuple[str, Decimal] | None = None
    top_model: tuple[str, Decimal] | None = None
    unit: Unit = "usd"
    kind: Kind = "budget"
    link: str = ""

    @classmethod
    def of(cls, parcel: Parcel, ledger: Ledger, *, tops: bool = True) -> Alert:
        """The alert of an outbox row; with `tops` the dearest feature and model are looked up in the ledger."""
        told = cast(dict[str, Any], parcel.payload)
        payer = dict(told["payer"])
        tags = {**told["where"], **payer}
        end = told["end"]
        unit: Unit = told.get("unit", "usd")

        costs: dict[str, dict[str, int]] = {"feature": {}, "model": {}}
        if tops:
            # Up to the crossing, in whole microseconds as stores keep them: a late alert adds up with its `spent`.
            for each in ledger.sums(tuple(costs), tags, since_ns=told["start"], until_ns=told["at"] + 1000):
                for name, found in costs.items():
                    found[each.group[name]] = found.get(each.group[name], 0) + each.cost

        def dearest(name: str) -> tuple[str, Decimal] | None:
            top = max(costs[name].items(), key=lambda item: item[1], default=("", 0))
            return None if top[1] <= 0 else (top[0], from_nanos(top[1]))

        return cls(
            key=parcel.key,
            budget=told["budget"],
            name=told["name"],
            payer=payer,
            fraction=Decimal(told["fraction"]),
            spent=from_rest(told["spent"], unit),
            limit=from_rest(told["limit"], unit),
            unit=unit,
            resets_at=None if end is None else _moment(end),
            at=_moment(told["at"]),
            refused=bool(told["refused"]),
            top_feature=dearest("feature"),
            top_model=dearest("model"),
        )

    @property
    def who(self) -> str:
        """The payer in words: "alice", "user=alice,feature=chat" or "everyone"."""
        if len(self.payer) == 1:
            (value,) = self.payer.values()
            return value
        return ",".join(f"{name}={value}" for name, value in self.payer.items()) or "everyone"

    @property
    def percent(self) -> int:
        """Of the limit that is spent, rounded down: 100 only when all of it is."""
        if not self.limit:
            # Of nothing, all is spent.
            return 100
        return int((self.spent / self.limit * 100).to_integral_value(ROUND_FLOOR))

    @property
    def progress(self) -> str:
        """Such as "$4.98 of $5.00", "900 of 1,000 tokens"."""
        return f"{show_number(self.spent, self.unit)} of {show_amount(self.limit, self.unit)}"

    @property
    def resets(self) -> str:
        return "never resets" if self.resets_at is None else f"resets {self.resets_at:%Y-%m-%dT%H:%MZ}"

    @property
    def title(self) -> str:
        """One line, e.g. "alice has reached 80 % of $5.00/day per user"."""
        budget = self.name or self.budget
        if self.refused:
            return f"A call of {self.who} was refused: it does not fit {budget}"
        return f"{self.who} has reached {(self.fraction * 100).normalize():f} % of {budget}"

    @property
    def text(self) -> str:
        """The whole message in plain words."""
        budget = f"{self.name} ({self.budget})" if self.name else self.budget
        text = f"{self.who} has spent {self.progress} ({self.percent} %), budget {budget}; {self.resets}."
        if self.refused:
            text = f"A call of {self.who} was refused. {text}"
        if self.top_feature is not None:
            text += f" Top feature: {self.top_feature[0]} ({show_usd(self.top_feature[1])})."
        if self.top_model is not None:
            text += f" Top model: {self.top_model[0]} ({show_usd(self.top_model[1])})."
        return text


def log_channel(logger: logging.Logger | None = None, level: int = logging.WARNING) -> Callable[[Alert], None]:
    """A channel that writes each alert to a logger, "costguard.alerts" by default."""
    target = logger or logging.getLogger("costguard.alerts")

    def log(alert: Alert) -> None:
        target.log(level, "%s", alert.text)

    log.name = f"log:{target.name}"  # type: ignore[attr-defined]  # a function carries its channel name
    return log


def _moment(at_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_ns // 1000)
