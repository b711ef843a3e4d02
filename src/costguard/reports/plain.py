"""Amounts and shares as programs read them: text, in full."""

from __future__ import annotations

from decimal import Decimal


def plain_usd(amount: Decimal) -> str:
    """Nine places at most, two at least: "0.00", "1.25", "0.000012345"."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def plain_usd_or_none(amount: Decimal | None) -> str | None:
    return None if amount is None else plain_usd(amount)


def plain_share(share: Decimal | None) -> str | None:
    """Four places; None where there is nothing that it is a share of."""
    return None if share is None else f"{share:.4f}"


def seconds(nanoseconds: int | None) -> float | None:
    """To the millisecond."""
    return None if nanoseconds is None else round(nanoseconds / 1e9, 3)
