"""Alerts of prices: of models that have none, and of lists that are old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from costguard.alerts.alert import Alert
from costguard.alerts.rules_alert import RuleAlert
from costguard.ledger.base import Ledger, Parcel
from costguard.notice import price_for


@dataclass(frozen=True, slots=True)
class PriceAlert(Alert):
    """No budget has to do with it: `budget` is empty, `payer` everyone, `spent` and `limit` are 0.

    kind:    "unpriced", "partial" or "stale prices"
    about:   "openai/my-model", or the name of a price list
    detail:  of "partial" what has no price, such as "web_searches"; of "stale prices" the list's date
    near:    models of such names that have a price
    days:    how old the list is
    assumed: the calls were counted at the dearest price of the provider
    """

    about: str = ""
    detail: str = ""
    near: tuple[str, ...] = ()
    days: int = 0
    assumed: bool = False

    @classmethod
    def told(cls, parcel: Parcel) -> PriceAlert:
        """The alert of an outbox row that a `Notice` made."""
        told = cast(dict[str, Any], parcel.payload)
        facts = told["facts"]
        return cls(
            key=parcel.key, budget="", name="", payer={}, fraction=Decimal(0), spent=Decimal(0), limit=Decimal(0),
            resets_at=None, at=datetime.fromtimestamp(told["at"] // 10**9, UTC), kind=told["kind"],
            about=told["about"], detail=told["detail"], near=tuple(facts.get("near", ())), days=facts.get("days", 0),
            assumed=bool(facts.get("assumed")),
        )  # fmt: skip

    @property
    def percent(self) -> int:
        return 0

    @property
    def title(self) -> str:
        if self.kind == "unpriced":
            return f"{self.about} has no price"
        if self.kind == "partial":
            return f"{self.about} has no price for {self.detail.replace(',', ', ')}"
        return f"The prices of {self.about} are {self.days} days old"

    @property
    def text(self) -> str:
        if self.kind == "stale prices":
            return (
                f"{self.title} (of {self.detail}): what calls cost may be wrong. Renew them; see: costguard prices "
                f"sources. What was recorded meanwhile is corrected by: costguard reprice --since {self.detail}"
            )
        counted = "its calls are recorded without a cost and count for no budget"
        if self.assumed:
            counted = "its calls are counted at the dearest price of the provider"
        if self.kind == "partial":
            counted = "that part of its calls is counted as the least it can cost, which may be nothing"
        near = f" Near names: {', '.join(self.near)}." if self.near else ""
        return (
            f"{self.title}: {counted}. Give it one, in USD per million tokens: {price_for(self.about, self.detail)}. "
            f"Past calls then get it by: costguard reprice --since 7d.{near}"
        )


def alert_of(parcel: Parcel, ledger: Ledger, *, tops: bool = True) -> Alert:
    """The alert of an outbox row, of whatever kind. `tops`: see `Alert.of`."""
    if "kind" not in parcel.payload:
        return Alert.of(parcel, ledger, tops=tops)
    facts = cast(dict[str, Any], parcel.payload["facts"])
    return RuleAlert.told(parcel) if "rule" in facts else PriceAlert.told(parcel)
