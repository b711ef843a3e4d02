"""The daily and the weekly digest: what was spent, by whom and for what, and what needs a look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from costguard.alerts.rules import Rule
from costguard.alerts.rules_alert import Finding, usd, who
from costguard.alerts.rules_budgets import standing
from costguard.alerts.rules_text import DAYS
from costguard.alerts.rules_view import View, Where
from costguard.money import from_nanos, show_usd
from costguard.tags import UNATTRIBUTED
from costguard.units import from_rest, show_amount, show_number
from costguard.windows import as_utc, zone

LATE_NS = 72 * 3600 * 10**9
"""A digest that is later than this, as no worker was there, is not sent any more: one of Friday is, on Monday."""

TOP = 5
_PARTS = (("payers", ("user",)), ("features", ("feature",)), ("models", ("model",)), ("routes", ("route",)))


def digest(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """The digests that fell due in this time, each of the day (or the week from Monday on) that was over then; none
    where nothing was called in it and in the one before."""
    found: list[Finding] = []
    due = due_at(rule, until_ns)
    while due > since_ns and until_ns - due <= LATE_NS:
        found[:0] = _digest(rule, view, due)
        due = due_at(rule, due - 1)
    return found


def _digest(rule: Rule, view: View, due_ns: int) -> list[Finding]:
    begin, end, before = _period(rule, due_ns)
    found = summary(view, rule.where, begin, end, before)
    if not found["calls"] and not found["calls_before"]:
        return []
    named = f"the week from {_date(rule, begin)}" if rule.day else _date(rule, begin)
    spent = found["cost"]
    return [
        Finding(
            {}, _date(rule, begin),
            f"Spent on {named}: {_dollars(spent)}" if not rule.day else f"Spent in {named}: {_dollars(spent)}",
            _text(found, named, bool(rule.day)),
            spent=usd(spent), figures=_plain(found),
        )
    ]  # fmt: skip


def due_at(rule: Rule, at_ns: int) -> int:
    """The last moment up to `at_ns` at which this digest was due."""
    place = zone(rule.tz)
    now = as_utc(at_ns).astimezone(place)
    hour, minute = (int(part) for part in rule.at.split(":"))
    day = now.date()
    while True:
        due = datetime(day.year, day.month, day.day, hour, minute, tzinfo=place).astimezone(UTC)
        if _ns(due) <= at_ns and (not rule.day or day.weekday() == DAYS.index(rule.day)):
            return _ns(due)
        day -= timedelta(days=1)


def _period(rule: Rule, due_ns: int) -> tuple[int, int, int]:
    """Begin and end of the day or week that was over at a moment, and the begin of the one before it."""
    place = zone(rule.tz)
    end = as_utc(due_ns).astimezone(place).date()
    days = 1
    if rule.day:
        end -= timedelta(days=end.weekday())
        days = 7
    midnights = [end - timedelta(days=days), end, end - timedelta(days=2 * days)]
    begin, until, before = (_ns(datetime(day.year, day.month, day.day, tzinfo=place)) for day in midnights)
    return begin, until, before


def summary(view: View, where: Where, begin_ns: int, end_ns: int, before_ns: int) -> dict[str, Any]:
    """The figures of a digest; amounts in nano-dollars."""
    total, earlier = view.sums((), where, begin_ns, end_ns), view.sums((), where, before_ns, begin_ns)
    found: dict[str, Any] = {
        "calls": sum(one.calls for one in total),
        "cost": sum(one.cost for one in total),
        "errors": sum(one.errors for one in total),
        "unpriced_calls": sum(one.unpriced_calls for one in total),
        "calls_before": sum(one.calls for one in earlier),
        "cost_before": sum(one.cost for one in earlier),
        "refused": sum(count.count for count in view.counts("refused", begin_ns, end_ns)) if not where else 0,
    }
    for part, by in _PARTS:
        tops = [one for one in view.sums(by, where, begin_ns, end_ns) if one.cost > 0]
        if tops and any(one.group != (UNATTRIBUTED,) for one in tops):
            found[part] = [(one.group[0], one.cost) for one in tops[:TOP]]
    if found["unpriced_calls"]:
        models = [one for one in view.sums(("provider", "model"), where, begin_ns, end_ns) if one.unpriced_calls]
        found["unpriced"] = [("/".join(one.group), one.unpriced_calls) for one in models[:TOP]]
    # As they stood at the end: a window that ended with the day is the one that is meant.
    found["budgets"] = [
        (
            f"{who(dict(limit.payer))}: {show_number(from_rest(spent, limit.unit), limit.unit)} of "
            f"{show_amount(from_rest(limit.most, limit.unit), limit.unit)} ({limit.budget.title})",
            spent * 100 // limit.most,
        )
        for limit, spent in standing(view, end_ns)[:TOP]
    ]
    return found


def _text(found: dict[str, Any], named: str, weekly: bool) -> str:
    spent, before = found["cost"], found["cost_before"]
    last = "week" if weekly else "day"
    lines = [f"{_dollars(spent)} in {found['calls']:,} calls, {named}. {_change(spent, before, last)}"]
    for part, _ in _PARTS:
        if part in found:
            lines.append(f"Top {part}: " + ", ".join([f"{name} {_dollars(cost)}" for name, cost in found[part]]) + ".")
    if found["budgets"]:
        lines.append("Near their limit: " + "; ".join([f"{text}, {part} %" for text, part in found["budgets"]]) + ".")
    beside = [
        f"{found[name]:,} {words}"
        for name, words in (("refused", "refused"), ("errors", "failed"), ("unpriced_calls", "without a price"))
        if found[name]
    ]
    if beside:
        lines.append(f"Calls: {', '.join(beside)}.")
    if "unpriced" in found:
        named_calls = [f"{name} ({calls:,})" for name, calls in found["unpriced"]]
        lines.append(f"Without a price: {', '.join(named_calls)}.")
    return "\n".join(lines)


def _change(spent: int, before: int, last: str) -> str:
    if not before:
        return f"Nothing was spent the {last} before."
    change = (spent - before) * 100 // before
    if spent == before:
        return f"As much as the {last} before."
    more = f"{change} % more" if spent > before else f"{-((spent - before) * 100 // before)} % less"
    return f"{more} than the {last} before ({_dollars(before)})."


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """Amounts as strings in USD."""
    plain = dict(found) | {"cost": usd(found["cost"]), "cost_before": usd(found["cost_before"])}
    for part, _ in _PARTS:
        if part in found:
            plain[part] = [[name, usd(cost)] for name, cost in found[part]]
    return plain


def _dollars(nanos: int) -> str:
    """To the cent; more where that would hide it."""
    if nanos >= 10_000_000:
        nanos = (nanos + 5_000_000) // 10_000_000 * 10_000_000
    return show_usd(from_nanos(nanos))


def _date(rule: Rule, at_ns: int) -> str:
    return as_utc(at_ns).astimezone(zone(rule.tz)).date().isoformat()


def _ns(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
