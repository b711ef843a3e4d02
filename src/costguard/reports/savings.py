"""What caches have saved: cached reads at the price of plain input, less what they and the writes cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.price_sums import PriceSum, price_sums
from costguard.money import exact_difference, from_nanos
from costguard.pricing.rates import Rates
from costguard.reports.asked import TIMES, Where, read_by, read_where
from costguard.reports.period import Period, When, period, show_moment
from costguard.reports.plain import plain_share, plain_usd
from costguard.reports.unit_prices import unit_prices


@dataclass(frozen=True, slots=True)
class Saved:
    """Of one group, in USD, rounded to the nano-dollar.

    saved:   what the cached reads would have cost as plain input, less what they cost
    written: what the writes into the cache cost more than plain input; negative where they cost less
    unknown_tokens: cached reads of entries without rates; they are in no amount
    exact:   False if a price is in it that rises with the size of a call: then it is the amount at the lower price.
             Nor where a ledger does not tell apart what has prices of its own: writes for an hour (taken for those of
             five minutes), cached audio and images (taken for text)
    """

    group: Mapping[str, str]
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    input_tokens: int = 0
    saved: Decimal = Decimal(0)
    written: Decimal = Decimal(0)
    unknown_tokens: int = 0
    exact: bool = True

    @property
    def net(self) -> Decimal:
        return exact_difference(self.saved, self.written)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        share = Decimal(self.cache_read_tokens) / self.input_tokens if self.input_tokens else None
        return {
            "group": dict(self.group),
            "saved": plain_usd(self.saved),
            "written": plain_usd(self.written),
            "net": plain_usd(self.net),
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "input_tokens": self.input_tokens,
            "cache_share": plain_share(share),
            "unknown_tokens": self.unknown_tokens,
            "exact": self.exact,
        }


@dataclass(frozen=True, slots=True)
class SavingsReport:
    """By group, the most saved first. Of calls that have a price."""

    by: tuple[str, ...]
    period: Period
    rows: tuple[Saved, ...]
    total: Saved

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "by": list(self.by),
            "since": show_moment(self.period.since),
            "until": show_moment(self.period.until),
            "currency": "USD",
            "rows": [row.to_json() for row in self.rows],
            "total": self.total.to_json(),
        }


def cache_savings(
    ledger: Ledger,
    by: Sequence[str] | str = ("provider", "model"),
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    now: datetime | None = None,
) -> SavingsReport:
    """From the rates that the entries were priced with. The arguments are those of `spend`.

    Raises ConfigError for what cannot be read, StoreUnavailable if the store is away.
    """
    names, chosen = read_by(by), read_where(where)
    if any(name in TIMES for name in names):
        raise ConfigError(f"by {','.join(names)} names a time; ask for each with since= and until=")
    time = period(since, until, now or datetime.now(UTC), tz)
    sums = price_sums(ledger, names, chosen, **time.bounds)
    groups: dict[tuple[str, ...], list[PriceSum]] = {}
    for one in sums:
        if one.input_tokens:
            groups.setdefault(tuple([one.group[name] for name in names]), []).append(one)
    rows = [_saved(dict(zip(names, group, strict=True)), several) for group, several in groups.items()]
    rows.sort(key=lambda row: (-row.net, *row.group.values()))
    return SavingsReport(names, time, tuple(rows) if names else (), _saved({}, sums))


def _saved(group: Mapping[str, str], several: Sequence[PriceSum]) -> Saved:
    saved = written = Fraction(0)
    unknown, exact = 0, True
    for one in several:
        cached = one.cache_read_tokens or one.cache_write_tokens
        if one.rates is None or not one.rates.rates:
            unknown += one.cache_read_tokens
            continue
        prices = unit_prices(one.rates)
        saved += one.cache_read_tokens * (prices["input"] - prices["cache_read"])
        written += one.cache_write_tokens * (prices["cache_write_5m"] - prices["input"])
        exact = exact and not (cached and one.rates.tiers) and not _mixed(one, one.rates)
    return Saved(
        group,
        sum(one.cache_read_tokens for one in several),
        sum(one.cache_write_tokens for one in several),
        sum(one.input_tokens for one in several),
        from_nanos(round(saved)),
        from_nanos(round(written)),
        unknown,
        exact,
    )


_OTHER_READS = {"input_audio", "cache_read_audio", "input_image", "cache_read_image"}


def _mixed(one: PriceSum, rates: Rates) -> bool:
    """Whether tokens of different prices may be among the cached ones."""
    prices = unit_prices(rates)
    hourly = one.cache_write_tokens and prices["cache_write_1h"] != prices["cache_write_5m"]
    return bool(hourly or (one.cache_read_tokens and not _OTHER_READS.isdisjoint(rates.rates)))
