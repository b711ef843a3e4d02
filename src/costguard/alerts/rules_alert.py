"""Alerts that rules make: told in the words that the rule found when it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from json import dumps
from typing import Any, cast

from costguard.alerts.alert import Alert
from costguard.alerts.rules import Rule
from costguard.ledger.base import Parcel
from costguard.money import from_nanos
from costguard.notice import Notice

_MOST_OF_A_SUBJECT = 1000
"""Bytes in a key: an index of PostgreSQL takes 2,704, and a call may have many long tags."""


@dataclass(frozen=True, slots=True)
class RuleAlert(Alert):
    """What a rule found. `spent` and `limit` are in `unit`, 0 where there is none.

    rule:    the rule's text; its name, if it has one, is `name`
    figures: what was found, as plain JSON values: amounts as strings in USD
    words:   the title and the text
    """

    rule: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, str] = ("", "")

    @classmethod
    def told(cls, parcel: Parcel) -> RuleAlert:
        """The alert of an outbox row that `notice_of` made."""
        told = cast(dict[str, Any], parcel.payload)
        facts = told["facts"]
        figures = facts.get("figures", {})
        return cls(
            key=parcel.key, budget=facts.get("budget", ""), name=facts.get("name", ""), payer=dict(facts["payer"]),
            fraction=Decimal(0), spent=Decimal(facts.get("spent", "0")), limit=Decimal(facts.get("limit", "0")),
            resets_at=None, at=datetime.fromtimestamp(told["at"] // 10**9, UTC), kind=told["kind"],
            unit=facts.get("unit", "usd"), rule=facts["rule"], figures=figures,
            words=(facts["title"], facts["text"]),
        )  # fmt: skip

    @property
    def percent(self) -> int:
        return int(self.spent / self.limit * 100) if self.limit else 0

    @property
    def title(self) -> str:
        return self.words[0]

    @property
    def text(self) -> str:
        return self.words[1]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found at a moment.

    payer:   of whom; {} for everyone
    once:    what makes it another alert, such as the start of a window; None: it goes on for some time, and is told
             of when it begins
    title, text: in plain words
    figures: plain JSON values
    """

    payer: Mapping[str, str]
    once: str | None
    title: str
    text: str
    budget: str = ""
    spent: str = "0"
    limit: str = "0"
    unit: str = "usd"
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """Of whom, and of which budget: what of one rule goes on separately."""
        return dumps([self.budget, dict(sorted(self.payer.items()))], separators=(",", ":"), ensure_ascii=False)


def notice_of(rule: Rule, found: Finding, at_ns: int, once: str) -> Notice:
    """The row for the outbox: one for each rule, payer and window, whoever finds it."""
    facts = {
        "rule": rule.text, "name": rule.name, "title": found.title, "text": found.text, "payer": dict(found.payer),
        "budget": found.budget, "spent": found.spent, "limit": found.limit, "unit": found.unit,
        "figures": dict(found.figures),
    }  # fmt: skip
    subject = found.subject
    if len(subject.encode()) > _MOST_OF_A_SUBJECT:
        subject = sha256(subject.encode()).hexdigest()
    return Notice(rule.kind, rule.text, at_ns, f"{subject}@{once}", facts)


def who(payer: Mapping[str, str]) -> str:
    """A payer in words: "alice", "feature=chat,model=gpt-4o" or "everyone"."""
    if len(payer) == 1:
        return next(iter(payer.values()))
    return ",".join(f"{name}={value}" for name, value in payer.items()) or "everyone"


def usd(nanos: int) -> str:
    """For figures: USD as a plain number."""
    return f"{from_nanos(nanos):f}"


def ratio(part: int, whole: int) -> str:
    """For people: "3.2", "14"."""
    value = Decimal(part) / Decimal(max(1, whole))
    return f"{value:.1f}".removesuffix(".0")


def listed(items: Sequence[str], most: int) -> str:
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")
