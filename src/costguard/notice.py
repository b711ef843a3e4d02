"""What is worth telling people beside the crossings of budgets: prices that are missing, or old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from costguard.events import Crossing

Kind = Literal[
    "unpriced", "partial", "stale prices",
    "refusals", "projected", "burn", "spike", "call", "request", "payer", "new model", "unattributed", "retries",
    "input", "journal", "digest",
]  # fmt: skip
"""unpriced: a model has no price. partial: something that a call used has none. stale prices: a list is old.
The others are those of alert rules, see `costguard.alerts.rules`."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Told once, over all workers and for good.

    about:  what has no price, "openai/my-model"; or which list is old
    detail: what of it, such as "web_searches"; part of what makes it another notice
    facts:  plain JSON values for the message
    """

    kind: Kind
    about: str
    at_ns: int
    detail: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.about}" + (f":{self.detail}" if self.detail else "")

    @property
    def payload(self) -> dict[str, object]:
        told = {"kind": self.kind, "about": self.about, "detail": self.detail, "at": self.at_ns}
        return {**told, "facts": dict(self.facts)}


def price_for(about: str, detail: str = "") -> str:
    """How a model gets a price, to be copied; `detail` is what of it has none."""
    buckets = ", ".join([f'"{bucket}": "..."' for bucket in (detail.split(",") if detail else ("input", "output"))])
    return f'Guard(prices={{"{about}": {{{buckets}}}}})'


News: TypeAlias = Crossing | Notice
"""What goes into the outbox."""
