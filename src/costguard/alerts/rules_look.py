"""A look at one rule: what it finds at a moment, each thing once.

Moments are the same for all workers, and for a preview of the past: five minutes, or hours, since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costguard.alerts import rules_budgets, rules_spending
from costguard.alerts.digest import digest
from costguard.alerts.rules import Rule
from costguard.alerts.rules_alert import Finding, notice_of
from costguard.alerts.rules_budgets import span_ns
from costguard.alerts.rules_text import CALENDAR
from costguard.alerts.rules_view import View
from costguard.ledger.beats import BEAT_NS
from costguard.notice import Notice
from costguard.windows import window_bounds

HOUR_NS = 3600 * 10**9

LOCAL = ("request", "journal")
"""Seen by the process it happens in: nobody else could."""

OF_BUDGETS = ("burn", "projected")
"""What they find depends on the budgets of who looks."""

_MOST_KEPT = 5_000

_STATELESS: dict[str, Callable[[Rule, View, int, int], list[Finding]]] = {
    "refusals": rules_spending.refusals,
    "projected": rules_budgets.projected,
    "burn": rules_budgets.burn,
    "spike": rules_spending.spike,
    "payer": rules_spending.payer,
    "unattributed": rules_spending.unattributed,
    "retries": rules_spending.retries,
    "input": rules_spending.input_size,
    "digest": digest,
}


def every_ns(rule: Rule) -> int:
    """The time between two looks."""
    if rule.kind in ("unattributed", "input"):
        return HOUR_NS
    if rule.kind == "burn":
        return HOUR_NS if span_ns(rule.window) > HOUR_NS else BEAT_NS
    return BEAT_NS


def reach_ns(rule: Rule) -> int:
    """How long ago the last call may have been of what is found at a look."""
    if rule.kind in ("burn", "spike", "retries"):
        return span_ns(rule.window)
    return HOUR_NS if rule.kind == "projected" else every_ns(rule)


def calm_ns(rule: Rule) -> int:
    """What goes on is told of again only after so long a time without it."""
    if rule.kind in ("spike", "input"):
        return 24 * HOUR_NS
    return min(24 * HOUR_NS, max(HOUR_NS, span_ns(rule.long or rule.window)))


MISSED_NS = 72 * HOUR_NS
"""What nobody looked at, as no worker was there, is told so much later and no more: over a weekend."""

_FACTS = ("payer", "unattributed", "refusals")


def missed(rule: Rule, since_ns: int, first_ns: int) -> list[int]:
    """Moments up to `first_ns` at which nobody looked, and that are looked at all the same: the ends of windows, of
    rules that tell what is so of a window. What goes on for a time is no news when it is over."""
    if rule.kind not in _FACTS or rule.window not in CALENDAR:
        return []
    found = []
    end = window_bounds(rule.window, rule.tz, since_ns)[1]  # type: ignore[arg-type]  # one of CALENDAR
    while end is not None and end <= first_ns:
        found.append(end)
        end = window_bounds(rule.window, rule.tz, end)[1]  # type: ignore[arg-type]  # as above
    return found


def look(rule: Rule, view: View, since_ns: int, until_ns: int, memory: dict[str, Any]) -> list[Notice]:
    """What this rule has to tell at `until_ns`, the last look having been at `since_ns`.

    memory: what the rule remembers from look to look; changed here
    """
    if rule.kind == "call":
        found = rules_spending.call(rule, view, since_ns, until_ns, memory)
    elif rule.kind == "new model":
        found = rules_spending.new_model(rule, view, since_ns, until_ns, memory)
    else:
        found = _STATELESS[rule.kind](rule, view, since_ns, until_ns)
    going_on: dict[str, int] = memory.get("going on", {})
    going_on = {subject: at for subject, at in going_on.items() if until_ns - at <= calm_ns(rule)}
    told = []
    for one in found:
        once = one.once
        if once is None:
            known = one.subject in going_on
            if known or len(going_on) < _MOST_KEPT:
                going_on[one.subject] = until_ns
            if known:
                continue
            once = str(until_ns // 10**9)
        told.append(notice_of(rule, one, until_ns, once))
    if going_on:
        memory["going on"] = going_on
    else:
        memory.pop("going on", None)
    return told
