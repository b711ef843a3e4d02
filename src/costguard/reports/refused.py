"""What budgets have refused: counted beside the entries, as a call that was refused has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from costguard.ledger.base import Ledger
from costguard.ledger.figures import any_of
from costguard.reports.asked import Filter, Where, read_where
from costguard.reports.period import Period, When, period, show_moment

NAME = "refused"
"""Of these counts, in the ledger."""

_ALWAYS = 1 << 62
"""Later than any clock shows, and an integer that stores can take."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Calls that one budget refused one payer.

    budget: its title
    payer:  tag to value; {} for a budget of everyone
    tags:   of the calls, those that are counted by (user and feature, and what alert rules go by)
    """

    budget: str
    payer: Mapping[str, str]
    tags: Mapping[str, str]
    count: int

    def value(self, name: str) -> str | None:
        """Of a tag; None where refusals are not counted by it."""
        found = self.tags.get(name)
        return self.payer.get(name) if found is None else found


@dataclass(frozen=True, slots=True)
class RefusedReport:
    """Refusals by budget and payer, most first; `total` has all of them.

    Counted in steps of five minutes (UTC), so the ends of the period are as coarse.
    """

    period: Period
    total: int
    rows: tuple[Refusals, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "since": show_moment(self.period.since),
            "until": show_moment(self.period.until),
            "total": self.total,
            "rows": [{"budget": row.budget, "payer": dict(row.payer), "calls": row.count} for row in self.rows],
        }


def refused(
    ledger: Ledger,
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    tz: str = "UTC",
    now: datetime | None = None,
) -> RefusedReport:
    """By budget and payer. Of a `where` whose tags refusals are not counted by, nothing is known, and nothing shown.

    Raises ConfigError for what cannot be read, StoreUnavailable if the store is away.
    """
    time = period(since, until, now or datetime.now(UTC), tz)
    chosen = read_where(where)
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    for one in counted(ledger, time):
        if matches(one, chosen):
            key = (one.budget, tuple(sorted(one.payer.items())))
            groups[key] = groups.get(key, 0) + one.count
    rows = [Refusals(budget, dict(payer), {}, count) for (budget, payer), count in groups.items()]
    rows.sort(key=lambda row: (-row.count, row.budget, *row.payer.values()))
    return RefusedReport(time, sum(groups.values()), tuple(rows))


def counted(ledger: Ledger, time: Period) -> list[Refusals]:
    """All of a period, those of one budget, payer and tags as one."""
    from costguard.ledger.alert_state import alert_state

    since, until = time.bounds["since_ns"], time.bounds["until_ns"]
    added: dict[str, int] = {}
    abouts: dict[str, dict[str, Any]] = {}
    for one in alert_state(ledger).counts(NAME, since or 0, until or _ALWAYS):
        if one.subject not in abouts:
            abouts[one.subject] = one.about
        added[one.subject] = added.get(one.subject, 0) + one.count
    return [
        Refusals(str(about.get("budget", "")), about.get("payer") or {}, about.get("tags") or {}, added[subject])
        for subject, about in abouts.items()
    ]


def matches(one: Refusals, chosen: Filter) -> bool:
    """Whether the refused calls have these values, as far as that was counted."""
    return all(one.value(name) in any_of(value) for name, value in chosen.items())


def by_group(those: Sequence[Refusals], names: Sequence[str], chosen: Filter) -> dict[tuple[str, ...], int] | None:
    """Counts by the values of these names; None where refusals are not counted by one of them."""
    found: dict[tuple[str, ...], int] = {}
    for one in those:
        if any(one.value(name) is None for name in chosen):
            return None
        if not matches(one, chosen):
            continue
        values = [one.value(name) for name in names]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            if not one.tags:  # beyond the payers that are counted apart
                continue
            return None
        found[tuple(known)] = found.get(tuple(known), 0) + one.count
    return found
