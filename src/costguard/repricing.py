"""What a reprice has found: the difference by model and by payer, and what it left as it is and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from costguard.money import exact_difference, exact_sum, from_nanos

Group = tuple[str, ...]

KEPT = {
    "reported": "cost what their provider reported",
    "own prices": "were priced by the app's own prices, which have nothing for them here",
    "no price": "have a price that is in no list any more",
    "open": "have not ended yet, or their process died",
    "free": "were not billed, or recorded without prices",
}
"""Why a call keeps its cost."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Calls whose cost changes; amounts in USD.

    group:    provider, model and payer, or a part of them
    calls:    how many; `unpriced` of them had no price before
    before, after: what is recorded for them, corrections included, and what they cost
    """

    group: Mapping[str, str]
    calls: int
    unpriced: int
    before: Decimal
    after: Decimal

    @property
    def difference(self) -> Decimal:
        return exact_difference(self.after, self.before)

    def to_json(self) -> dict[str, Any]:
        # Most apps ask a guard for no report.
        from costguard.reports.plain import plain_usd

        amounts = {name: plain_usd(getattr(self, name)) for name in ("before", "after", "difference")}
        return {"group": dict(self.group), "calls": self.calls, "unpriced": self.unpriced, **amounts}


@dataclass(frozen=True, slots=True)
class Repricing:
    """What calls cost by the prices that are known now.

    since, until: of the calls, UTC; None: all there are
    per:          the tag that names the payers
    dry_run:      nothing was written
    calls:        looked at; `unchanged` of them cost what is recorded
    differences:  by provider, model and payer, the largest first
    kept:         how many calls keep their cost, by reason (see `KEPT`)
    unpriced:     still without a price: calls and tokens by (provider, model)
    partial:      of the calls whose cost changes, those that use something that has no price
    written:      adjustments that were recorded; less than the calls that differ where another reprice was faster
    crossings:    alerts that were put into the outbox by them
    """

    since: datetime | None
    until: datetime | None
    per: str
    dry_run: bool
    calls: int
    unchanged: int
    differences: tuple[Difference, ...]
    kept: Mapping[str, int] = field(default_factory=dict)
    unpriced: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    partial: int = 0
    written: int = 0
    crossings: int = 0

    @property
    def total(self) -> Difference:
        (total,) = self.by() or [Difference({}, 0, 0, Decimal(0), Decimal(0))]
        return total

    def by(self, *names: str) -> list[Difference]:
        """The differences added up by some of "provider", "model" and the payer's tag; the largest first."""
        sums: dict[Group, list[Any]] = {}
        for one in self.differences:
            known = sums.setdefault(tuple([one.group[name] for name in names]), [0, 0, Decimal(0), Decimal(0)])
            known[0] += one.calls
            known[1] += one.unpriced
            known[2] = exact_sum((known[2], one.before))
            known[3] = exact_sum((known[3], one.after))
        return ranked(Difference(dict(zip(names, group, strict=True)), *line) for group, line in sums.items())

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: amounts as strings, moments in ISO 8601."""
        return {
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "dry_run": self.dry_run,
            "currency": "USD",
            "calls": self.calls,
            "unchanged": self.unchanged,
            "kept": dict(self.kept),
            "partial": self.partial,
            "written": self.written,
            "crossings": self.crossings,
            "total": self.total.to_json(),
            "by_model": [one.to_json() for one in self.by("provider", "model")],
            "by_payer": [one.to_json() for one in self.by(self.per)],
            "rows": [one.to_json() for one in self.differences],
            "unpriced": [
                {"provider": provider, "model": model, "calls": calls, "tokens": tokens}
                for (provider, model), (calls, tokens) in self.unpriced.items()
            ],
        }


class Tally:
    """Counts while calls are looked at."""

    def __init__(self) -> None:
        self.calls = self.unchanged = self.partial = 0
        self.kept: dict[str, int] = {}
        self.unpriced: dict[tuple[str, str], tuple[int, int]] = {}
        self._sums: dict[Group, list[int]] = {}

    def keep(self, why: str) -> None:
        self.kept[why] = self.kept.get(why, 0) + 1

    def without_price(self, provider: str, model: str, tokens: int) -> None:
        calls, before = self.unpriced.get((provider, model), (0, 0))
        self.unpriced[provider, model] = (calls + 1, before + tokens)

    def differs(self, group: Group, before: int | None, after: int) -> None:
        known = self._sums.setdefault(group, [0, 0, 0, 0])
        for place, value in enumerate((1, int(before is None), before or 0, after)):
            known[place] += value

    def differences(self, per: str) -> tuple[Difference, ...]:
        names = ("provider", "model", per)
        return tuple(
            ranked(
                Difference(dict(zip(names, group, strict=True)), calls, unpriced, from_nanos(before), from_nanos(after))
                for group, (calls, unpriced, before, after) in self._sums.items()
            )
        )


def ranked(differences: Iterable[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda one: (-abs(one.difference), *one.group.values()))
