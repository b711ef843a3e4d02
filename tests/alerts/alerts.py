"""An alert for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from costguard.alerts.alert import Alert


def alert(**changes: Any) -> Alert:
    """Of alice at 80 % of $5.00/day per user; keywords change its fields."""
    values: dict[str, Any] = {
        "key": '["day","UTC",["user"],{},["alice"],1795305600]@0.8*5000000000',
        "budget": "$5.00/day per user",
        "name": "",
        "payer": {"user": "alice"},
        "fraction": Decimal("0.8"),
        "spent": Decimal("4.02"),
        "limit": Decimal(5),
        "resets_at": datetime(2026, 11, 23, tzinfo=UTC),
        "at": datetime(2026, 11, 22, 12, tzinfo=UTC),
        "top_feature": ("chat", Decimal("3.10")),
        "top_model": ("gpt-4o", Decimal("4.02")),
    }
    return Alert(**{**values, **changes})
