"""A ledger whose answers have hidden values hidden: every report made from it is fit to be shown."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from costguard.dashboard.hidden_counts import HiddenCounts
from costguard.dashboard.hiding import HIDDEN, NOBODY, Hiding
from costguard.events import Entry
from costguard.ledger.alert_state import alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.figures import Sum
from costguard.ledger.price_sums import COUNTS, PriceSum, price_sums
from costguard.ledger.rules import rules
from costguard.ledger.wrapper import Wrapper
from costguard.tags import Tags


class HiddenLedger(Wrapper):
    """Takes filters by what is shown, and gives what is shown. What goes round it is hidden by whoever shows it."""

    def __init__(self, inner: Ledger, hiding: Hiding) -> None:
        super().__init__(inner)
        self._hiding = hiding
        self.alert_state = HiddenCounts(alert_state(inner), hiding)
        """Counts of refusals name their payers, too: `costguard.ledger.alert_state` looks for it here."""

    def sums(self, by: Sequence[str], tags: Mapping[str, Any], **bounds: Any) -> list[Sum]:
        found = self.inner.sums(by, self._raw(tags), **bounds)
        if not any(self._hiding.hides(name) for name in by):
            return found
        together: dict[tuple[str, ...], Sum] = {}
        for one in found:
            shown = replace(one, group=self._hiding.show_all(one.group))
            key = tuple(shown.group.values())
            together[key] = _add(together[key], shown) if key in together else shown
        return sorted(together.values(), key=lambda one: -one.cost)

    def percentiles(self, by: Sequence[str], tags: Mapping[str, Any], **bounds: Any) -> list[Any]:
        """Of those who all look the same there is one group."""
        inner: Any = self.inner
        hidden = [name for name in by if self._hiding.hides(name)]
        if hidden and self._hiding.way == "hidden":
            kept = [name for name in by if name not in hidden]
            rows = inner.percentiles(kept, self._raw(tags), **bounds)
            return [
                replace(one, group={name: one.group.get(name, HIDDEN) for name in by}) for one in rows
            ]  # fmt: skip
        rows = inner.percentiles(by, self._raw(tags), **bounds)
        return [replace(one, group=self._hiding.show_all(one.group)) for one in rows]

    def price_sums(self, by: Sequence[str], tags: Mapping[str, Any], **bounds: Any) -> list[PriceSum]:
        """`costguard.ledger.price_sums` looks for it here."""
        together: dict[tuple[Any, ...], PriceSum] = {}
        for one in price_sums(self.inner, by, self._raw(tags), **bounds):
            group = self._hiding.show_all(one.group)
            key = (*group.values(), None if one.rates is None else one.rates.dump())
            if key in together:
                together[key].add([getattr(one, name) for name in COUNTS])
            else:
                together[key] = replace(one, group=group)
        return list(together.values())

    def entries(self, tags: Mapping[str, Any], **options: Any) -> list[Entry]:
        return [self.shown(entry) for entry in self.inner.entries(self._raw(tags), **options)]

    def spent(self, tags: Mapping[str, Any], **bounds: Any) -> int:
        return self.inner.spent(self._raw(tags), **bounds)

    def shown(self, entry: Entry) -> Entry:
        """An entry with the tags that may be seen."""
        if not any(self._hiding.hides(name) for name in entry.tags):
            return entry
        made = copy.copy(entry)
        made.tags = Tags(self._hiding.show_all(entry.tags))
        return made

    def _raw(self, tags: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in tags.items():
            if not self._hiding.hides(name):
                found[name] = value
            elif isinstance(value, str):
                found[name] = self._one(name, value)
            elif not (self._hiding.way == "hidden" and HIDDEN in value):
                # Else everybody is one of those: a report asks so for the groups that it will show.
                found[name] = tuple([self._one(name, each) for each in value])
        return found

    def _one(self, name: str, shown: str) -> str:
        raw = self._hiding.raw(name, shown, lambda: values_of(self.inner, name))
        return NOBODY if raw is None else raw


def values_of(ledger: Ledger, name: str) -> Iterable[str]:
    """All values of a tag that pages may show: of calls, and of those who were granted something before their first."""
    granted = [dict(one.payer) for one in rules(ledger, history=True).grants]
    return [
        *(payer[name] for payer in granted if name in payer),
        *(one.group[name] for one in ledger.sums((name,), {})),
    ]


def _add(one: Sum, other: Sum) -> Sum:
    counts = {
        each.name: getattr(one, each.name) + getattr(other, each.name) for each in fields(Sum) if each.name != "group"
    }
    return replace(one, **counts)
