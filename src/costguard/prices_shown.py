"""Prices for people: the rates of a model as a table, and the lists they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

from costguard.pricing import catalog
from costguard.pricing.ages import ALERT_DAYS, WARN_DAYS, age_days
from costguard.pricing.book import PriceBook
from costguard.pricing.rates import EXACT, Rates
from costguard.pricing.usage import UNIT_BUCKETS

_FIRST = ("openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "groq", "aws", "azure")
"""Providers that a model without one is looked for at, before all others: its maker's price is meant."""

_ALSO = 6

_WAYS: dict[str, tuple[tuple[str, str], ...]] = {
    "batch": (("batch", "true"),),
    "flex": (("service_tier", "flex"),),
    "priority": (("service_tier", "priority"),),
    "fast": (("speed", "fast"),),
}


@dataclass(frozen=True)
class Shown:
    """A model and its prices at a moment.

    rates:  None where there is no price; then `near` has names that look like it
    ways:   other processing that has prices of its own: "batch", "flex", "priority", "fast"
    also:   other providers that have a price for a model of this name
    """

    provider: str
    model: str
    at_ns: int
    rates: Rates | None
    ways: Mapping[str, Rates] = field(default_factory=dict)
    near: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @classmethod
    def find(cls, book: PriceBook, provider: str | None, model: str, at_ns: int) -> Shown:
        """Look a model up: at `provider`, else at the one before the slash of its name, else at all there are."""
        head, slash, rest = model.partition("/")
        candidates = [(provider, model)] if provider else []
        if not provider:
            candidates = [(head, rest)] if slash else []
            known = [*_FIRST, *(each for each in catalog.providers() if each not in _FIRST)]
            candidates += [(each, model) for each in known]
        found = {
            each: (name, rates) for each, name in candidates if (rates := book.rates(each, name, at_ns)) is not None
        }
        if not found:
            near = [name for each in dict.fromkeys((provider or head, *_FIRST)) for name in book.near(each, model)]
            return cls(provider or (head if slash else ""), model, at_ns, None, near=tuple(dict.fromkeys(near))[:3])
        where, (name, rates) = next(iter(found.items()))
        shipped = catalog.source()
        ways = {
            way: other
            for way, context in _WAYS.items()
            if (other := book.rates(where, name, at_ns, context)) is not None
            and not other.unknown
            and (other.rates, other.tiers) != (rates.rates, rates.tiers)
        }
        return cls(
            where,
            name,
            at_ns,
            rates,
            ways,
            also=tuple(each for each, (_, other) in found.items() if each != where and other.source == shipped),
        )

    @property
    def priced(self) -> bool:
        return self.rates is not None

    def to_json(self) -> dict[str, Any]:
        """Plain values: prices in USD as strings, of tokens per million, of units each."""
        head: dict[str, Any] = {"provider": self.provider, "model": self.model, "at": _iso(self.at_ns)}
        rates = self.rates
        if rates is None:
            return head | {"priced": False, "near": list(self.near)}
        return head | {
            "priced": True,
            "matched": rates.model,
            "source": rates.source,
            "valid_from": _iso(rates.valid_from_ns),
            "valid_until": _iso(rates.valid_until_ns),
            "context_window": rates.context_window,
            **_prices(rates),
            "processing": {way: _prices(other) for way, other in self.ways.items()},
            "also": list(self.also),
        }


def price_of(rates: Rates, bucket: str, rate: int) -> Decimal:
    """USD of a rate: per million tokens, or per unit."""
    price = EXACT.divide(EXACT.scaleb(Decimal(rate), -rates.scale), Decimal(rates.share))
    if bucket not in UNIT_BUCKETS:
        price = EXACT.scaleb(price, 6)
    # A price per hour has no finite decimal per second.
    return price.quantize(Decimal("1e-12")).normalize() if rates.share != 1 else price.normalize()


def as_table(found: Shown, *, width: int | None = None, color: bool = False) -> str:
    """The prices of a model as text."""
    rates = found.rates
    if rates is None:
        near = f"; names like it: {', '.join(found.near)}" if found.near else ""
        name = f"{found.provider}/{found.model}" if found.provider else found.model
        return f"no price is known for {name}{near}"
    columns: list[tuple[str, Rates, Mapping[str, int]]] = [("USD", rates, rates.rates)]
    columns += [(f"above {start:,}", rates, {**rates.rates, **level}) for start, level in rates.tiers]
    for way, other in found.ways.items():
        columns.append((way, other, other.rates))
        columns += [(f"{way} above {start:,}", other, {**other.rates, **level}) for start, level in other.tiers]
    lines = [
        (bucket, "each" if bucket in UNIT_BUCKETS else "M tokens", *_cells(columns, bucket)) for bucket in rates.rates
    ]
    until = _iso(rates.valid_until_ns)
    notes = [
        f"{found.provider}/{found.model}" + (f" ({rates.model})" if rates.model != found.model else ""),
        f"from {rates.source}" + (f", until {until}" if until else ""),
    ]
    if found.also:
        more = f" and {len(found.also) - _ALSO} more" if len(found.also) > _ALSO else ""
        notes.append(f"also at {', '.join(found.also[:_ALSO])}{more}: --provider shows their prices")
    shown = table(("bucket", "per", *(name for name, _, _ in columns)), lines, width, color)
    return "\n".join((*notes[:2], shown, *notes[2:]))


def _cells(columns: list[tuple[str, Rates, Mapping[str, int]]], bucket: str) -> list[str]:
    return [f"{price_of(rates, bucket, level[bucket]):f}" if bucket in level else "-" for _, rates, level in columns]


def sources_of(book: PriceBook) -> list[dict[str, Any]]:
    """The lists of a book, the first first: name, shape, entries, date, age in days, and state."""
    rows = []
    for source in book.lists:
        dated = getattr(source, "dated_ns", None)
        shape = getattr(source, "shape", "override")
        state = "not fetched" if shape == "" else _state(dated)
        rows.append(_row(getattr(source, "name", "prices="), shape, len(source), dated, state))
    shipped = sum(len(catalog.names(provider)) for provider in catalog.providers())
    dated = catalog.dated_ns()
    rows.append(_row(catalog.source(), "shipped", shipped, dated, _state(dated)))
    return rows


def sources_table(rows: list[dict[str, Any]], *, width: int | None = None, color: bool = False) -> str:
    """The lists of a book as text."""
    lines = [
        [
            row["source"],
            row["shape"] or "-",
            f"{row['entries']:,}",
            row["dated"] or "-",
            _days(row["days"]),
            row["state"],
        ]
        for row in rows
    ]
    return table(("source", "shape", "models", "dated", "age", "state"), lines, width, color)


def table(
    headings: Sequence[str], lines: Sequence[Sequence[str]], width: int | None = None, color: bool = False
) -> str:
    """Lines under headings; nothing is cut, as a cut price would be a wrong one."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        made.add_column(heading, justify="left" if place < 2 else "right", no_wrap=True)
    for line in lines:
        made.add_row(*(Text("".join(letter if letter.isprintable() else "�" for letter in cell)) for cell in line))
    out = StringIO()
    Console(
        file=out, width=max(width or 0, 1000), force_terminal=color, color_system="standard" if color else None,
        highlight=False,
    ).print(made)  # fmt: skip
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


def _row(source: str, shape: str, entries: int, dated_ns: int | None, state: str) -> dict[str, Any]:
    day = None if dated_ns is None else f"{datetime.fromtimestamp(dated_ns // 10**9, UTC):%Y-%m-%d}"
    return {
        "source": source, "shape": shape, "entries": entries, "dated": day, "days": age_days(dated_ns), "state": state,
    }  # fmt: skip


def _state(dated_ns: int | None) -> str:
    days = age_days(dated_ns)
    if days is None:
        return "ok"
    return "too old" if days >= ALERT_DAYS else "old" if days >= WARN_DAYS else "ok"


def _days(days: int | None) -> str:
    return "-" if days is None else f"{days} day{'' if days == 1 else 's'}"


def _prices(rates: Rates) -> dict[str, Any]:
    def plain(level: Mapping[str, int]) -> dict[str, str]:
        return {bucket: f"{price_of(rates, bucket, rate):f}" for bucket, rate in level.items()}

    return {
        "prices": plain(rates.rates),
        "above": [{"tokens": start, "prices": plain(level)} for start, level in rates.tiers],
    }


def _iso(ns: int | None) -> str | None:
    return None if ns is None else f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"
