"""What alert rules would have sent: the same looks as those of a running app, at all moments of a past."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from costguard.alerts.rules import Rule
from costguard.alerts.rules_alert import who
from costguard.alerts.rules_budgets import marks, span_ns
from costguard.alerts.rules_look import LOCAL, every_ns, look, reach_ns
from costguard.alerts.rules_view import PastView
from costguard.budget_set import BudgetSet
from costguard.ledger.base import Ledger
from costguard.ledger.beats import BEAT_NS
from costguard.units import from_rest, show_amount, show_number
from costguard.windows import bucket_width

DAY_NS = 86400 * 10**9

BUDGETS = "budget"
"""The kind of what budgets themselves tell: the fractions of their limits."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """An alert that would have been sent.

    at:   when, UTC: in steps of five minutes
    rule: its text; of what a budget tells, the budget
    """

    at: datetime
    kind: str
    rule: str
    title: str
    text: str
    key: str

    def to_json(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "kind": self.kind, "rule": self.rule, "title": self.title, "text": self.text}


@dataclass(frozen=True, slots=True)
class Preview:
    """since, until: UTC; `until` is earlier than what was asked for where there was no patience for more
    alerts:    in the order of time
    rules:     those that were looked at
    unseen:    rules that no ledger can answer: they are about a request, or a journal
    """

    since: datetime
    until: datetime
    alerts: tuple[Previewed, ...]
    rules: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many alerts each rule would have sent, those that sent none too."""
        found = dict.fromkeys(self.rules, 0)
        for alert in self.alerts:
            found[alert.rule] = found.get(alert.rule, 0) + 1
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "counts": self.counts,
            "unseen": list(self.unseen),
            "alerts": [alert.to_json() for alert in self.alerts],
        }


def preview(
    ledger: Ledger,
    rules: Sequence[Rule],
    budgets: BudgetSet,
    since_ns: int,
    until_ns: int,
    *,
    patience: float | None = None,
) -> Preview:
    """What these rules and budgets would have sent from `since_ns` until `until_ns`, both nanoseconds since 1970.

    The ledger is read once, with the days before that the rules compare with (`calls_read`). After `patience`, seconds,
    it ends with what it has: the beginning of the time, as alerts depend on those before them. Refusals are known from
    when on an app with a rule of them ran. Raises StoreUnavailable.
    """
    since, until = since_ns // BEAT_NS * BEAT_NS, until_ns // BEAT_NS * BEAT_NS
    seen = [rule for rule in rules if rule.kind not in LOCAL]
    view = PastView(ledger, budgets, since - _history(seen, budgets), until)
    memories: dict[str, dict[str, Any]] = {rule.text: {} for rule in seen}
    for rule in seen:
        if rule.kind == "new model":
            used = ledger.sums(("provider", "model"), dict(rule.where), until_ns=since)
            known = {f"{one.group['provider']}/{one.group['model']}": 1 for one in used}
            memories[rule.text]["known"] = known
    found: dict[str, Previewed] = {}
    # Before anything was called, or refused, there is nothing to find.
    first = min([*view.steps.moments[:1], *[one.at_ns for one in view.counts("refused", since, until)]], default=until)
    end = None if patience is None else time.monotonic() + patience
    for tick in range(since + BEAT_NS, until + 1, BEAT_NS):
        if end is not None and time.monotonic() > end:
            until = tick - BEAT_NS
            break
        if tick <= first:
            continue
        moved = view.steps.any(tick - BEAT_NS, tick)
        if moved:
            _marks(view, tick, found)
        for rule in seen:
            every = every_ns(rule)
            # Nothing can be found where nothing was called; refusals and digests are about other things.
            always = every > BEAT_NS or rule.kind in ("digest", "refusals", "projected")
            if tick % every or not (always or moved or view.steps.any(tick - reach_ns(rule), tick)):
                continue
            for notice in look(rule, view, tick - every, tick, memories[rule.text]):
                facts: Any = notice.facts
                found.setdefault(
                    notice.key,
                    Previewed(_utc(tick), rule.kind, rule.text, facts["title"], facts["text"], notice.key),
                )
    ordered = tuple(sorted(found.values(), key=lambda alert: (alert.at, alert.key)))
    names = tuple([rule.text for rule in seen])
    unseen = tuple([rule.text for rule in rules if rule.kind in LOCAL])
    return Preview(_utc(since), _utc(until), ordered, names, unseen)


def calls_read(ledger: Ledger, rules: Sequence[Rule], budgets: BudgetSet, since_ns: int, until_ns: int) -> int:
    """How many calls a preview of this time reads, those before it included. Raises StoreUnavailable."""
    begin = since_ns // BEAT_NS * BEAT_NS - _history(rules, budgets)
    return sum(one.calls for one in ledger.sums((), {}, since_ns=begin, until_ns=until_ns))


def _marks(view: PastView, tick: int, found: dict[str, Previewed]) -> None:
    for limit, reached in marks(view, tick - BEAT_NS, tick):
        for fraction, spent in reached:
            key = f"{limit.told_as}@{fraction}*{limit.most}"
            if key in found:
                continue
            whom, unit, budget = who(dict(limit.payer)), limit.unit, limit.budget
            percent = f"{float(fraction) * 100:g} %"
            most = show_amount(from_rest(limit.most, unit), unit)
            spent_of = f"{show_number(from_rest(spent, unit), unit)} of {most}"
            found[key] = Previewed(
                _utc(tick), BUDGETS, budget.title, f"{whom} has reached {percent} of {budget.title}",
                f"{whom} has spent {spent_of}, budget {budget.title}.", key,
            )  # fmt: skip


def _history(rules: Sequence[Rule], budgets: BudgetSet) -> int:
    """How much of the past before it a look needs."""
    needed = [DAY_NS]
    for rule in rules:
        if rule.kind in ("spike", "input"):
            needed.append((rule.days + 1) * DAY_NS + span_ns(rule.window))
        elif rule.kind == "burn":
            needed.append(span_ns(rule.long))
        elif rule.kind == "digest":
            needed.append((16 if rule.day else 3) * DAY_NS)
        elif rule.window in ("week", "month"):
            needed.append(32 * DAY_NS)
    for budget in budgets:
        if budget.window == "ever":
            needed.append(3660 * DAY_NS)
        elif budget.span is not None:
            needed.append((budget.span + bucket_width(budget.span)) // timedelta(microseconds=1) * 1000 + DAY_NS)
        else:
            needed.append(32 * DAY_NS)
    return max(needed)


def _utc(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // 10**9, UTC)
