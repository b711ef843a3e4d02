"""Numbers and tag values as they are read on a page: rounded sensibly, exact where asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import date as dates
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from costguard.money import show_usd

_CENT = Decimal("0.01")


def usd(amount: Decimal) -> str:
    """USD to be read: "$12,345", "$12.34", "$0.0123"; three digits where cents would hide the amount."""
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if size >= 10_000:
        return f"{sign}${size.quantize(Decimal(1), ROUND_HALF_EVEN):,f}"
    if size >= 1 or size == 0:
        return f"{sign}${size.quantize(_CENT, ROUND_HALF_EVEN):,f}"
    if size >= Decimal("0.0995"):
        return f"{sign}${size.quantize(_CENT, ROUND_HALF_EVEN):f}"
    # Three digits that count, and no more places than a nano-dollar has.
    places = min(9, 2 - size.adjusted())
    text = f"{size.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):f}"
    whole, _, fraction = text.partition(".")
    return f"{sign}${whole}.{fraction.rstrip('0').ljust(2, '0')}"


def exact_usd(amount: Decimal) -> str:
    """All of it, up to nine places."""
    return show_usd(amount)


def count(number: int) -> str:
    """A number of things: "9,876", "12.3k", "4.56M"."""
    size = abs(number)
    for least, one, unit in ((999_500_000, 10**9, "B"), (999_500, 10**6, "M"), (10**4, 1000, "k")):
        if size >= least:
            scaled = Decimal(number) / one
            places = max(0, 2 - max(0, scaled.adjusted()))
            return f"{scaled.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):f}{unit}"
    return f"{number:,}"


def exact_count(number: int) -> str:
    return f"{number:,}"


def percent(part: Decimal | float) -> str:
    """0.123 as "12.3 %"; whole numbers from ten on, "<0.1 %" for what would look like nothing."""
    value = Decimal(str(part)) * 100
    if value == 0:
        return "0 %"
    if abs(value) < Decimal("0.1"):
        return "<0.1 %"
    return f"{value:,.0f} %" if abs(value) >= 10 else f"{value:.1f} %"


def width(part: Decimal | float) -> str:
    """A part of a whole in percent for a bar: 0 to 100, two places."""
    return f"{max(0.0, min(100.0, float(part) * 100)):.2f}"


def seconds(value: float | None) -> str:
    """A duration: "340 ms", "1.24 s", "2 min 5 s"."""
    if value is None:
        return "\N{EN DASH}"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def moment(at: datetime) -> str:
    """A moment in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def iso(at: datetime) -> str:
    """For programs that read the page."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def date(day: dates) -> str:
    """Day and month: "22 Nov"."""
    return f"{day.day} {day:%b}"


def span(left: timedelta) -> str:
    """How long something lasts, in its one or two largest units: "3 d 4 h", "12 min"."""
    minutes = max(0, int(left.total_seconds() // 60))
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h" if days < 10 and hours else f"{days} d"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def visible(text: object) -> str:
    """Without control and formatting characters: a tag comes from a user, and could turn the line around."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def pixel(value: Decimal | int) -> str:
    """For a chart, which needs no more digits than a screen has lines."""
    return f"{float(value):.9g}"


FILTERS: dict[str, Callable[..., Any]] = {
    "usd": usd, "exact_usd": exact_usd, "count": count, "exact_count": exact_count, "percent": percent, "width": width,
    "seconds": seconds, "moment": moment, "iso": iso, "date": date, "span": span, "visible": visible, "pixel": pixel,
}  # fmt: skip
"""What the templates call: registered on the environment by the shell."""
