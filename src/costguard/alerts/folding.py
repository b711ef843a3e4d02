"""Many alerts at once as one message: a morning on which forty people reach their budget is one thing to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256

from costguard.alerts.alert import Alert
from costguard.alerts.spoken import tame

FOLD_FROM = 6
"""So many alerts that are due together become one message, in channels that fold."""

MOST_FOLDED = 40
"""In one message: each of them has a line in it, and Slack takes 50 blocks of 3,000 letters."""

_TITLES = {"budget": "on budgets"}


@dataclass(frozen=True, slots=True)
class Folded(Alert):
    """Several alerts, told as one. It has no budget and no payer of its own: `alerts` have."""

    alerts: tuple[Alert, ...] = ()

    @classmethod
    def of(cls, alerts: Sequence[Alert]) -> Folded:  # type: ignore[override]  # of alerts, not of a row
        """One alert of several; `at` is when the last of them came about."""
        told = "\n".join(alert.key for alert in alerts)
        return cls(
            key=f"folded:{sha256(told.encode()).hexdigest()[:32]}", budget="", name="", payer={},
            fraction=max(alert.fraction for alert in alerts), spent=Decimal(0), limit=Decimal(0), resets_at=None,
            at=max(alert.at for alert in alerts), refused=any(alert.refused for alert in alerts), kind="folded",
            alerts=tuple(alerts),
        )  # fmt: skip

    @property
    def percent(self) -> int:
        return 0

    @property
    def title(self) -> str:
        kinds = Counter("refusals" if alert.refused else alert.kind for alert in self.alerts)
        parts = [f"{count} {_TITLES.get(kind, kind)}" for kind, count in kinds.most_common()]
        return f"{len(self.alerts)} alerts at once: {', '.join(parts)}"

    @property
    def lines(self) -> tuple[str, ...]:
        """One for each alert, the most urgent first."""
        return tuple(_line(alert) for alert in sorted(self.alerts, key=_urgency))

    @property
    def text(self) -> str:
        return "\n".join([f"{self.title}.", *(f"- {line}" for line in self.lines)])


def _urgency(alert: Alert) -> tuple[bool, Decimal]:
    return not alert.refused, -alert.fraction


def _line(alert: Alert) -> str:
    return tame(f"{alert.title} ({alert.progress})" if alert.kind == "budget" else alert.title)
