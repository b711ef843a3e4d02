"""Where payers stand against their budgets, the fullest first, and which of them are at risk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from costguard.budget_set import BudgetSet
from costguard.budgets import Budget, Limit, Standing
from costguard.ledger.base import Ledger
from costguard.ledger.figures import Sum
from costguard.money import to_nanos
from costguard.reports.asked import Filter
from costguard.reports.forecast import WINDOWS, Forecast, Heading, heading
from costguard.reports.known import known_budgets
from costguard.reports.past import Past, nothing, pasts
from costguard.reports.period import Period, at_ns, show_moment
from costguard.reports.plain import plain_share
from costguard.reports.spend import sums_of
from costguard.tags import UNATTRIBUTED, Tags
from costguard.units import show_number
from costguard.windows import as_utc, window_bounds

LEAST = Decimal("0.8")
"""Of a limit, from which on it is at risk whatever the pace."""

MOST_FORECAST = 25
"""Payers whose spending is forecast, the fullest ones of each budget."""

_PACE = Decimal("0.5")
"""Of the even pace: a payer that is slower is not forecast."""

Budgets = BudgetSet | Iterable[Budget | str]


@dataclass(frozen=True, slots=True)
class PayerStanding:
    """One payer of one budget, in the window that runs.

    payer: tag to value; {} for a budget of everyone
    share: of the limit, what is spent and held; None for a limit of nothing
    """

    standing: Standing
    payer: Mapping[str, str]
    limit: Limit

    @property
    def budget(self) -> Budget:
        return self.standing.budget

    @property
    def share(self) -> Decimal | None:
        standing = self.standing
        return (standing.spent + standing.held) / standing.limit if standing.limit else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts in the unit of the budget, as strings."""
        standing, budget = self.standing, self.budget
        amounts = {name: getattr(standing, name) for name in ("limit", "spent", "held", "remaining")}
        return {
            "budget": str(budget),
            "title": budget.title,
            "payer": dict(self.payer),
            "unit": standing.unit,
            **{name: _plain(amount, standing) for name, amount in amounts.items()},
            "share": plain_share(self.share),
            "resets_at": show_moment(standing.resets_at),
            "observe": budget.observe,
        }


@dataclass(frozen=True, slots=True)
class Risk:
    """A payer near the limit, or heading for it.

    why:      "spent" (nothing is left), "near" (at least `LEAST` of it is gone), "heading" (it will be before the
              window ends)
    forecast: to the end of the window; None where there is none to make: budgets in tokens or calls, by the hour, or
              without an end; or where less than half of the even pace was spent
    reached:  the day on which nothing will be left; None: not in this window, or not known
    """

    at: PayerStanding
    why: str
    forecast: Forecast | None

    @property
    def reached(self) -> date | None:
        return None if self.forecast is None else self.forecast.reached

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        ahead = self.forecast
        return {
            **self.at.to_json(),
            "why": self.why,
            "expected": None if ahead is None else _plain(ahead.expected, self.at.standing),
            "low": None if ahead is None else _plain(ahead.low, self.at.standing),
            "high": None if ahead is None else _plain(ahead.high, self.at.standing),
            "reached": None if self.reached is None else self.reached.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class RiskReport:
    """The fullest first. `looked_at`: payers that spent in their windows; `standings`: the fullest of them, at risk or
    not, as `standings` finds them."""

    now: datetime
    risks: tuple[Risk, ...]
    looked_at: int
    standings: tuple[PayerStanding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "now": show_moment(self.now),
            "looked_at": self.looked_at,
            "risks": [one.to_json() for one in self.risks],
        }


def standings(
    ledger: Ledger, budgets: Budgets | None = None, *, most: int = 100, now: datetime | None = None
) -> tuple[PayerStanding, ...]:
    """The payers that spent in the running windows of these budgets, the fullest first.

    budgets: a `BudgetSet`, whose grants count, or budgets; None: those that the ledger knows (`known_budgets`)
    most:    of each budget

    Budgets for one call or one request have no standing. Raises StoreUnavailable if the store is away.
    """
    return _standings(ledger, budgets, most, now or datetime.now(UTC))[0]


def at_risk(
    ledger: Ledger,
    budgets: Budgets | None = None,
    *,
    least: Decimal = LEAST,
    most: int = 50,
    now: datetime | None = None,
) -> RiskReport:
    """The payers of whose limit `least` is gone, or will all be gone before the window ends.

    Those that are heading for it are looked for among the fullest `MOST_FORECAST`.
    The arguments are those of `standings`. Raises StoreUnavailable if the store is away.
    """
    now = now or datetime.now(UTC)
    found, looked_at = _standings(ledger, budgets, max(most, MOST_FORECAST), now)
    outlook = _outlook(ledger, _likely(found, now), now)
    risks = []
    for one in found:
        ahead = outlook.get(one.limit.key)
        share = one.share
        if share is None or share >= 1:
            why = "spent"
        elif share >= least:
            why = "near"
        elif ahead is not None and ahead.expected >= one.standing.limit:
            why = "heading"
        else:
            continue
        risks.append(Risk(one, why, ahead))
    return RiskReport(now, tuple(risks[:most]), looked_at, found)


def _likely(found: Sequence[PayerStanding], now: datetime) -> list[PayerStanding]:
    """Those to be forecast: who has something left first, and the fullest of each budget before the next one of any,
    so that the many payers of one do not hide another."""
    ranks: dict[tuple[str, bool], int] = {}
    ranked: list[tuple[bool, int, PayerStanding]] = []
    for one in found:
        if one.budget.unit == "usd" and one.budget.window in WINDOWS and _may_reach(one, now):
            spent = one.share is None or one.share >= 1
            rank = ranks[one.budget.account, spent] = ranks.get((one.budget.account, spent), -1) + 1
            ranked.append((spent, rank, one))
    ranked.sort(key=lambda each: each[:2])
    return [one for _, _, one in ranked[:MOST_FORECAST]]


def _outlook(ledger: Ledger, those: Sequence[PayerStanding], now: datetime) -> dict[str, Forecast]:
    """By the key of the limit. The payers of one budget are read at once."""
    families: dict[str, list[PayerStanding]] = {}
    for one in those:
        families.setdefault(one.budget.account, []).append(one)
    now_ns = at_ns(now) or 0
    found: dict[str, Forecast] = {}
    for family in families.values():
        first = family[0].budget
        chosen: Filter = dict(first.where)
        if len(first.per) == 1:
            chosen[first.per[0]] = [one.payer[first.per[0]] for one in family]
        known = pasts(ledger, first.per, chosen, first.tz, now_ns)
        for one in family:
            past = known.get(tuple(one.payer.values()), nothing(first.tz, now_ns))
            found[one.limit.key] = _forecast(one, past, now)
    return found


def _may_reach(one: PayerStanding, now: datetime) -> bool:
    """Not where even twice the pace so far leaves something."""
    limit, share = one.limit, one.share
    if share is None or limit.end is None:
        return True
    elapsed = Decimal(max(1, (at_ns(now) or 0) - limit.start)) / (limit.end - limit.start)
    return share >= _PACE * elapsed


def _forecast(one: PayerStanding, past: Past, now: datetime) -> Forecast:
    budget, limit = one.budget, one.limit
    where: Filter = {**dict(budget.where), **one.payer}
    bounds = (limit.start, limit.end or limit.start)
    return heading(
        Heading(budget.window, budget.tz, where, now, bounds, to_nanos(one.standing.spent)), past,
        to_nanos(one.standing.limit),
    )  # fmt: skip


def _standings(
    ledger: Ledger, budgets: Budgets | None, most: int, now: datetime
) -> tuple[tuple[PayerStanding, ...], int]:
    if budgets is None:
        budgets = known_budgets(ledger)
    chosen = budgets if isinstance(budgets, BudgetSet) else BudgetSet(budgets)
    families: dict[str, list[Budget]] = {}
    for budget in chosen:
        if not budget.is_local:
            families.setdefault(budget.account, []).append(budget)
    now_ns = at_ns(now) or 0
    limits: list[Limit] = []
    looked_at = 0
    for family in families.values():
        spending = _spending(ledger, chosen, family, now_ns)
        looked_at += len(spending)
        ranked = sorted(
            spending.values(), key=lambda each: (-(each[1] / each[0].most if each[0].most else 2), each[0].key)
        )
        limits += [limit for limit, _ in ranked[:most]]
    each_with = [(limit, (limit, *limit.before)) for limit in limits]
    asked = [one for _, those in each_with for one in those]
    amounts = dict(zip([one.key for one in asked], _balances(ledger, asked), strict=True))
    found = []
    for limit, (_, *before) in each_with:
        prior = sum(sum(amounts[one.key]) for one in before)
        standing = limit.over(prior).standing(*amounts[limit.key])
        found.append(PayerStanding(standing, dict(limit.payer), limit))
    found.sort(key=lambda one: (-(one.share if one.share is not None else Decimal(2)), one.limit.key))
    return tuple(found), looked_at


_AT_ONCE = 500


def _balances(ledger: Ledger, limits: list[Limit]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin in range(0, len(limits), _AT_ONCE):
        found += ledger.balances(limits[begin : begin + _AT_ONCE])
    return found


def _spending(ledger: Ledger, chosen: BudgetSet, family: list[Budget], now_ns: int) -> dict[str, tuple[Limit, int]]:
    """The limits of the payers that spent in the running window, with what the entries come to on each."""
    first = family[0]
    start, _ = window_bounds(first.window, first.tz, now_ns, first.span)
    if first.span is not None:
        start = (
            min([start, *(limit.start for limit in Limit(first, (), start, None).before)]) if _fixed(first) else start
        )
    names = list(dict.fromkeys([*first.per, *(name for one in family for name, _ in one.for_)]))
    if not all(_fixed(one) for one in family) and "user" not in names:
        names.append("user")
    found: dict[str, tuple[Limit, int]] = {}
    for one in sums_of(ledger, names, dict(first.where), Period(as_utc(start) if start else None)):
        given = {**dict(first.where), **one.group}
        tags = Tags({name: value for name, value in given.items() if value != UNATTRIBUTED})
        for limit in chosen.limits(tags, now_ns):
            if limit.budget.account == first.account:
                before = found.get(limit.key, (limit, 0))[1]
                found[limit.key] = (limit, before + _on(one, limit.unit))
    return found


def _fixed(budget: Budget) -> bool:
    return isinstance(budget.limit, Decimal)


def _on(one: Sum, unit: str) -> int:
    if unit == "usd":
        return one.cost
    return one.input_tokens + one.output_tokens if unit == "tokens" else one.calls - one.errors


def _plain(amount: Decimal, standing: Standing) -> str:
    return show_number(amount, standing.unit).replace("$", "").replace(",", "")
