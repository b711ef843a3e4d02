"""The rules that look at budgets: how fast they burn, what they will have spent, and what marks were passed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from costguard.alerts.rules import Rule
from costguard.alerts.rules_alert import Finding, ratio, who
from costguard.alerts.rules_view import View
from costguard.budgets import Budget, Limit
from costguard.money import to_nanos
from costguard.tags import UNATTRIBUTED, Tags
from costguard.units import from_rest, share_of, show_amount, show_number
from costguard.windows import as_utc, buckets_beside, read_span, window_bounds

HOUR_NS = 3600 * 10**9
_SHORT_WINDOWS = ("hour", "day")
_PACE_NS = 3 * 86400 * 10**9
"""What a long window is projected by: what the last three days took, as a week or a month changes its pace."""


def burn(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """Spending so fast, over both spans, that the limit would be used up so many times over in its window."""
    short, long = span_ns(rule.window), span_ns(rule.long)
    active = min(since_ns, until_ns - short)
    found = []
    for family in _families(view):
        longer = _spending(rule, view, family, until_ns - long, until_ns, active)
        if not longer:
            continue
        shorter = _spending(rule, view, family, until_ns - short, until_ns, active)
        for key, (limit, spent) in longer.items():
            length = _length(limit)
            lately = shorter.get(key, (limit, 0))[1]
            if length is None or length < long or not limit.most or _little(rule, limit, spent):
                continue
            needed = share_of(limit.most, rule.factor)
            if spent * length < needed * long or lately * length < needed * short:
                continue
            pace = ratio(spent * length, limit.most * long)
            amount = show_amount(from_rest(spent, limit.unit), limit.unit)
            left = _when_used_up(spent, long, limit.most)
            found.append(
                _of(
                    limit, spent,
                    f"{who(dict(limit.payer))} burns {limit.budget.title} at {pace} times its pace",
                    f"{who(dict(limit.payer))} has spent {amount} in the last {rule.long}, {pace} times the even pace "
                    f"of budget {limit.budget.title}. At this pace a whole limit lasts {left}.",
                    pace=pace, span=rule.long,
                )
            )  # fmt: skip
    return found


def projected(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """Spending that at its pace passes the limit before the window ends, and has not reached it yet."""
    found = []
    for family in _families(view):
        window = family[0].window
        if window not in (*_SHORT_WINDOWS, "week", "month"):
            continue
        # Those of an hour are looked at within it, the others at full hours.
        if window != "hour" and until_ns % HOUR_NS:
            continue
        start, end = window_bounds(window, family[0].tz, until_ns - 1)
        assert end is not None  # noqa: S101 - calendar windows end
        elapsed, parts = until_ns - start, 4 if window in _SHORT_WINDOWS else 10
        # Too early to say: the first hours are no pace.
        if until_ns >= end or elapsed * parts < end - start:
            continue
        before = since_ns if window == "hour" else min(since_ns, until_ns - HOUR_NS)
        # At the first look everybody's pace is new, at later ones that of who spends.
        active = start if (before - start) * parts < end - start else before
        spending = _spending(rule, view, family, start, until_ns, active)
        pace_ns = elapsed if window in _SHORT_WINDOWS else min(elapsed, _PACE_NS)
        lately = spending
        if spending and pace_ns < elapsed:
            lately = _spending(rule, view, family, until_ns - pace_ns, until_ns, active)
        for key, (limit, spent) in spending.items():
            recent = lately.get(key, (limit, 0))[1]
            total = spent + recent * (end - until_ns) // pace_ns
            if not limit.most or spent >= limit.most or _little(rule, limit, spent):
                continue
            if total <= share_of(limit.most, rule.share):
                continue
            unit = limit.unit
            amount = show_amount(_rounded(total, limit), unit)
            found.append(
                _of(
                    limit, spent,
                    f"{who(dict(limit.payer))} is heading for {amount} of {limit.budget.title}",
                    f"{who(dict(limit.payer))} has spent {show_number(from_rest(spent, unit), unit)} of "
                    f"{show_amount(from_rest(limit.most, unit), unit)}, and at this pace it is {amount} when the "
                    f"{window} ends at {as_utc(end):%Y-%m-%dT%H:%MZ} (budget {limit.budget.title}).",
                    once=str(start // 10**9), projected=str(_rounded(total, limit)),
                )
            )  # fmt: skip
    return found


def marks(view: View, since_ns: int, until_ns: int) -> Iterator[tuple[Limit, list[tuple[str, int]]]]:
    """The limits with those of their marks that spending has passed in this time, for a preview."""
    anything = Rule("burn")
    for family in _families(view):
        first = family[0]
        if first.window == "rolling":
            start = _rolled_from(first, until_ns)
        else:
            start = window_bounds(first.window, first.tz, until_ns - 1)[0]
        lately: dict[str, tuple[Limit, int]] | None = None
        for key, (limit, spent) in _spending(anything, view, family, start, until_ns, since_ns).items():
            if not limit.marks or spent < limit.marks[0][0]:
                continue
            if lately is None:
                lately = _spending(anything, view, family, since_ns, until_ns, since_ns)
            # Only who comes from below it passes a mark: a rolling window may stay beyond it for ever.
            before = spent - lately.get(key, (limit, 0))[1]
            reached = [(f"{at.normalize():f}", spent) for mark, at in limit.marks if before < mark <= spent]
            if reached:
                yield limit, reached


def standing(view: View, at_ns: int, *, least: int = 80) -> list[tuple[Limit, int]]:
    """The limits, in the windows of this moment, of which at least so many percent are spent; the fullest first."""
    found = []
    anything = Rule("burn")
    for family in _families(view):
        first = family[0]
        if first.window == "rolling":
            start = _rolled_from(first, at_ns)
        else:
            start = window_bounds(first.window, first.tz, at_ns - 1)[0]
        for limit, spent in _spending(anything, view, family, start, at_ns, None).values():
            if limit.most and spent * 100 >= limit.most * least:
                found.append((limit, spent))
    found.sort(key=lambda each: (-each[1] / each[0].most, each[0].key))
    return found


def _families(view: View) -> list[list[Budget]]:
    """The budgets that one account has, as a group each: they count the same, for different payers."""
    found: dict[str, list[Budget]] = {}
    for budget in view.budgets:
        if not budget.is_local:
            found.setdefault(budget.account, []).append(budget)
    return list(found.values())


def _spending(  # noqa: PLR0917 - a rule, what it looks at, and three moments
    rule: Rule, view: View, family: list[Budget], since_ns: int, until_ns: int, active_ns: int | None
) -> dict[str, tuple[Limit, int]]:
    """What the payers of these budgets spent in this time, with the limit that each has at its end."""
    first = family[0]
    names = list(dict.fromkeys([*first.per, *(name for one in family for name, _ in one.for_)]))
    if any(callable(one.limit) for one in family):
        names = list(dict.fromkeys([*names, "user"]))
    where = dict(first.where)
    if any(where.get(name, value) != value for name, value in rule.where):
        return {}
    where |= dict(rule.where)
    found: dict[str, tuple[Limit, int]] = {}
    for figure in view.sums(names, tuple(where.items()), since_ns, until_ns, active_ns=active_ns):
        values = {name: value for name, value in zip(names, figure.group, strict=True) if value != UNATTRIBUTED}
        tags = Tags({**{name: value for name, value in where.items() if value != UNATTRIBUTED}, **values})
        for limit in view.budgets.limits(tags, until_ns - 1):
            if limit.budget.account == first.account:
                before = found.get(limit.key, (limit, 0))[1]
                found[limit.key] = (limit, before + figure.on(limit.unit))
    return found


def _of(limit: Limit, spent: int, title: str, text: str, *, once: str | None = None, **figures: str) -> Finding:
    unit = limit.unit
    return Finding(
        dict(limit.payer), once, title, text, budget=limit.budget.rule, spent=f"{from_rest(spent, unit):f}",
        limit=f"{from_rest(limit.most, unit):f}", unit=unit, figures=figures,
    )  # fmt: skip


def _little(rule: Rule, limit: Limit, spent: int) -> bool:
    return limit.unit == "usd" and spent < to_nanos(rule.least)


def _rounded(amount: int, limit: Limit) -> Decimal:
    if limit.unit == "usd":
        amount = -(-amount // 10_000_000) * 10_000_000
    return from_rest(amount, limit.unit)


def _length(limit: Limit) -> int | None:
    """Of its window, in nanoseconds; None for one without an end."""
    if limit.budget.span is not None:
        return _span(limit.budget)
    return None if limit.end is None else limit.end - limit.start


def _span(budget: Budget) -> int:
    return (budget.span or timedelta()) // timedelta(microseconds=1) * 1000


def _rolled_from(budget: Budget, at_ns: int) -> int:
    """From when on a rolling window counts at a moment: the beginning of a bucket, as its balance does."""
    assert budget.span is not None  # noqa: S101 - rolling windows have one
    return buckets_beside(budget.span, budget.tz, at_ns - 1)[0][0]


def _when_used_up(spent: int, long: int, most: int) -> str:
    minutes = long * most // max(1, spent) // (60 * 10**9)
    if minutes >= 2 * 1440:
        return f"{minutes // 1440} days"
    return f"{minutes // 60} hours" if minutes >= 120 else f"{minutes} minutes"


def span_ns(text: str) -> int:
    """A span such as "1h" in nanoseconds."""
    return (read_span(text) or timedelta()) // timedelta(microseconds=1) * 1000
