"""An alert that never happened, to see whether a channel works and what its messages look like."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from costguard.alerts.alert import Alert


def sample(now_ns: int | None = None) -> Alert:
    """Of a user "costguard-test" at 80 % of $5.00/day; it says of itself that it is a test."""
    now = datetime.fromtimestamp((time.time_ns() if now_ns is None else now_ns) // 10**9, UTC)
    midnight = now.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    return Alert(
        key=f"test:{now:%Y%m%dT%H%M%S}", budget="$5.00/day per user", name="TEST of this channel",
        payer={"user": "costguard-test"}, fraction=Decimal("0.8"), spent=Decimal("4.02"), limit=Decimal(5),
        resets_at=midnight, at=now, top_feature=("chat", Decimal("3.10")), top_model=("gpt-4o", Decimal("4.02")),
    )  # fmt: skip
