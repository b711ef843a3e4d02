"""The rules that look at spending, whatever the budgets: by payer, by call, by model, and against the days before."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from costguard.alerts.rules import Rule
from costguard.alerts.rules_alert import Finding, ratio, usd, who
from costguard.alerts.rules_budgets import span_ns
from costguard.alerts.rules_text import CALENDAR
from costguard.alerts.rules_view import View, named
from costguard.ledger.beats import BEAT_NS, DearCall
from costguard.money import from_nanos, show_usd, to_nanos
from costguard.tags import UNATTRIBUTED
from costguard.units import share_of
from costguard.windows import as_utc, window_bounds

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS

MANY = 10
"""Dear calls at one look: more are told of in one alert."""

_MOST_KEPT = 5_000
_LEAST_DAYS = 3
"""With fewer earlier days of any spending there is no usual to compare with."""


def payer(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """Whoever has spent so much in the window."""
    start, _ = window_bounds(rule.window, rule.tz, until_ns - 1)  # type: ignore[arg-type]  # one of CALENDAR
    found = []
    for figure in view.sums(rule.per, rule.where, start, until_ns, active_ns=since_ns):
        if figure.cost >= to_nanos(rule.amount):
            payer = named(rule.per, figure.group)
            spent = show_usd(from_nanos(figure.cost))
            found.append(
                Finding(
                    payer, str(start // 10**9),
                    f"{who(payer)} has spent {show_usd(rule.amount)} this {rule.window}",
                    f"{who(payer)} has spent {spent} with {figure.calls:,} calls since {_shown(start)}; the rule is "
                    f"{rule.title}.",
                    spent=usd(figure.cost), figures={"calls": figure.calls},
                )
            )  # fmt: skip
    return found


def spike(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """Spending that is so many times what the same hours of the days before took."""
    span = span_ns(rule.window)
    now = [
        figure
        for figure in view.sums(rule.per, rule.where, until_ns - span, until_ns, active_ns=until_ns - span)
        if figure.cost >= to_nanos(rule.least) and figure.cost
    ]
    if not now:
        return []
    before: dict[tuple[str, ...], int] = {}
    lived = 0
    for day in range(1, rule.days + 1):
        begin = until_ns - span - day * DAY_NS
        for figure in view.sums(rule.per, rule.where, begin, begin + span):
            before[figure.group] = before.get(figure.group, 0) + figure.cost
        lived += bool(view.sums((), (), begin - 12 * HOUR_NS, begin + 12 * HOUR_NS))
    if lived < min(rule.days, _LEAST_DAYS):
        return []
    found = []
    for figure in now:
        usual = before.get(figure.group, 0) // lived
        if figure.cost < share_of(usual, rule.factor) or figure.cost <= usual:
            continue
        payer = named(rule.per, figure.group)
        times = f"{ratio(figure.cost, usual)} times the usual" if usual else "where nothing is usual"
        found.append(
            Finding(
                payer, None, f"{who(payer)} spends {times}",
                f"{who(payer)} has spent {show_usd(from_nanos(figure.cost))} in the last {rule.window}, "
                f"{times}: {show_usd(_cents(usual))} at the same hours of the last {lived} days.",
                spent=usd(figure.cost), figures={"usual": usd(usual), "days": lived},
            )
        )  # fmt: skip
    return found


def call(rule: Rule, view: View, since_ns: int, until_ns: int, memory: dict[str, Any]) -> list[Finding]:
    """Calls that cost so much. A call is recorded when it ends: an hour is looked at each time, a day at full hours,
    and all the time in which nobody looked."""
    back = 25 * HOUR_NS if until_ns % HOUR_NS < BEAT_NS else HOUR_NS
    begin = max(min(since_ns, until_ns - back), memory.setdefault("from", since_ns))
    told: dict[str, int] = {name: at for name, at in memory.get("told", {}).items() if at >= until_ns - 26 * HOUR_NS}
    dear = [one for one in view.dear(to_nanos(rule.amount), begin, until_ns) if rule.covers(one.tags)]
    new = [one for one in dear if one.call_id not in told]
    told.update({one.call_id: one.at_ns for one in new})
    memory["told"] = dict(list(told.items())[-_MOST_KEPT:])
    if len(new) <= MANY:
        return [_dear(rule, one) for one in new]
    dearest = max(new, key=lambda one: one.cost)
    total = sum(one.cost for one in new)
    return [
        Finding(
            {}, new[0].call_id, f"{len(new)} calls cost over {show_usd(rule.amount)} each",
            f"{len(new)} calls cost over {show_usd(rule.amount)} each, {show_usd(from_nanos(total))} together. The "
            f"dearest is {_described(dearest)}.",
            spent=usd(total), figures={"calls": [one.call_id for one in new[:100]]},
        )
    ]  # fmt: skip


def _dear(rule: Rule, one: DearCall) -> Finding:
    return Finding(
        dict(one.tags), one.call_id, f"A call of {one.tags.get('user', UNATTRIBUTED)} cost {_usd(one.cost)}",
        f"One call, {_described(one)}, is over {show_usd(rule.amount)}.",
        spent=usd(one.cost), figures={"call_id": one.call_id, "model": one.model, "provider": one.provider},
    )  # fmt: skip


def _described(one: DearCall) -> str:
    tags = f" for {who(one.tags)}" if one.tags else ""
    return f"{_usd(one.cost)} to {one.provider}/{one.model}{tags} at {_shown(one.at_ns)} ({one.call_id})"


def new_model(rule: Rule, view: View, since_ns: int, until_ns: int, memory: dict[str, Any]) -> list[Finding]:
    """The first use of a model. What was used before the rule was first looked at is no news."""
    by = ("provider", "model")
    known: dict[str, int] | None = memory.get("known")
    if known is None:
        known = {"/".join(figure.group): 1 for figure in view.sums(by, rule.where, 0, since_ns)}
        memory["known"] = known
    found = []
    for figure in view.sums(by, rule.where, max(since_ns - HOUR_NS, memory.setdefault("from", since_ns)), until_ns):
        name = "/".join(figure.group)
        # A name that no provider knows is no use of a model.
        if name in known or figure.calls <= figure.errors or len(known) >= _MOST_KEPT:
            continue
        known[name] = 1
        cost = "no price is known for it" if figure.unpriced_calls else f"{_usd(figure.cost)} so far"
        found.append(
            Finding(
                {}, name, f"{name} is used for the first time",
                f"{name} is used for the first time: {figure.calls:,} calls, {cost}.",
                spent=usd(figure.cost), figures={"model": figure.group[1], "provider": figure.group[0]},
            )
        )  # fmt: skip
    return found


def unattributed(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """Spending of which so large a share has no such tag, over a time as long as the window: the first hours of a day
    may be all of a nightly job. Told of once in a window."""
    (tag,) = rule.per
    start, end = window_bounds(rule.window, rule.tz, until_ns - 1)  # type: ignore[arg-type]  # one of CALENDAR
    begin = until_ns - ((end or until_ns) - start)
    figures = view.sums(rule.per, rule.where, begin, until_ns)
    total = sum(figure.cost for figure in figures)
    without = sum(figure.cost for figure in figures if figure.group == (UNATTRIBUTED,))
    if total < to_nanos(rule.least) or not without or without < share_of(total, rule.share):
        return []
    percent = f"{without * 100 // total} %"
    return [
        Finding(
            {}, str(start // 10**9), f"{percent} of the last {rule.window}'s spending has no {tag}",
            f"{_usd(without)} of {_usd(total)} since {_shown(begin)} has no {tag}: nobody can be asked for it. See: "
            f"costguard report --by route,{tag}",
            spent=usd(without), figures={"total": usd(total), "tag": tag},
        )
    ]  # fmt: skip


def retries(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """Requests that failed, those that an SDK repeated included: so many, and so large a share of all."""
    begin = until_ns - span_ns(rule.window)
    found = []
    for figure in view.tries(rule.per, rule.where, begin, until_ns):
        failed = figure.tries - (figure.calls - figure.errors)
        if failed < rule.count or failed < share_of(figure.tries, rule.share):
            continue
        payer = named(rule.per, figure.group)
        percent = failed * 100 // figure.tries
        found.append(
            Finding(
                payer, None, f"{failed:,} requests of {who(payer)} failed in {rule.window}",
                f"{failed:,} of {figure.tries:,} requests of {who(payer)} failed in the last {rule.window} ({percent} "
                f"%), for {figure.calls:,} calls: something is tried again and again.",
                spent=usd(figure.cost), figures={"failed": failed, "tries": figure.tries, "calls": figure.calls},
            )
        )  # fmt: skip
    return found


def input_size(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """Calls whose input is so many times as large as on the days before, on average."""
    begin = until_ns - span_ns(rule.window)
    now = [
        figure
        for figure in view.sums(rule.per, rule.where, begin, until_ns, active_ns=begin)
        if figure.calls - figure.errors >= rule.calls
    ]
    if not now:
        return []
    earlier = {one.group: one for one in view.sums(rule.per, rule.where, begin - rule.days * DAY_NS, begin)}
    found = []
    for figure in now:
        before = earlier.get(figure.group)
        if before is None or before.calls - before.errors < rule.calls:
            continue
        size = figure.input_tokens // (figure.calls - figure.errors)
        usual = before.input_tokens // (before.calls - before.errors)
        if not usual or size < share_of(usual, rule.factor):
            continue
        payer = named(rule.per, figure.group)
        found.append(
            Finding(
                payer, None, f"The input of {who(payer)} is {ratio(size, usual)} times as large",
                f"A call of {who(payer)} has {size:,} input tokens in the last {rule.window}, on average; on the "
                f"{rule.days} days before it was {usual:,}.",
                spent=usd(figure.cost), figures={"tokens": size, "usual": usual, "calls": figure.calls},
            )
        )  # fmt: skip
    return found


def refusals(rule: Rule, view: View, since_ns: int, until_ns: int) -> list[Finding]:
    """So many refused calls, of one payer and budget, or of what the rule names with `per`."""
    once: str | None = None
    if rule.window in CALENDAR:
        begin, _ = window_bounds(rule.window, rule.tz, until_ns - 1)  # type: ignore[arg-type]  # it is one
        once = str(begin // 10**9)
    else:
        begin = until_ns - span_ns(rule.window)
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    for count in view.counts("refused", begin, until_ns):
        about = count.about
        tags: Mapping[str, str] = about.get("tags", {})
        if not rule.covers(tags):
            continue
        budget, payer = (about.get("budget", ""), about.get("payer", {})) if not rule.per else ("", {})
        if rule.per:
            payer = {name: tags.get(name, UNATTRIBUTED) for name in rule.per}
        group = budget, tuple(sorted(payer.items()))
        groups[group] = groups.get(group, 0) + count.count
    found = []
    for (budget, payer), refused in sorted(groups.items()):
        if refused >= rule.count:
            whom = who(dict(payer))
            of = f" by {budget}" if budget else ""
            since = f"since {_shown(begin)}" if once else f"in the last {rule.window}"
            found.append(
                Finding(
                    dict(payer), once, f"{refused:,} calls of {whom} were refused",
                    f"{refused:,} calls of {whom} were refused{of} {since}.", budget=budget,
                    figures={"refused": refused},
                )
            )  # fmt: skip
    return found


def _usd(nanos: int) -> str:
    return show_usd(_cents(nanos))


def _cents(nanos: int) -> Decimal:
    """Rounded to cents where it is more than some of them, for people."""
    if nanos >= 100_000_000:
        nanos = (nanos + 5_000_000) // 10_000_000 * 10_000_000
    return from_nanos(nanos)


def _shown(at_ns: int) -> str:
    return f"{as_utc(at_ns):%Y-%m-%dT%H:%MZ}"
