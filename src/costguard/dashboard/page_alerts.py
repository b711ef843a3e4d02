"""Alerts: what was told and what waits, what is muted, and what rules would have sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from costguard.alerts.alert import KINDS, Alert
from costguard.alerts.price_alert import alert_of
from costguard.alerts.rules import DEFAULT_RULES, Rule, read_rules
from costguard.dashboard.hiding import HIDDEN
from costguard.dashboard.previews import previewed
from costguard.dashboard.query import Query
from costguard.dashboard.tables import Column, Table
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.grants import NEVER
from costguard.ledger.mutes import Mute, mutes
from costguard.ledger.parcels import STATES, Posted, State, parcel_counts, parcels
from costguard.windows import read_span

PER_PAGE = 50
SHOWN, MOST_SENT = 25, 1000
"""Of a preview: on the page, and in its CSV."""

NONE_SENT = "No alert would have been sent."

LONGEST = timedelta(days=92)
"""Of a preview: it reads all the calls of its time."""

HISTORY = (
    Column("at", "when", "moment"), Column("title", "alert"), Column("kind", "kind"), Column("payer", "of whom"),
    Column("state", "state"), Column("told_by", "told by"), Column("finished", "done", "moment"),
    Column("tries", "tries", "count"), Column("error", "what went wrong"),
)  # fmt: skip
MUTED = (
    Column("what", "what"), Column("until", "until", "moment"), Column("author", "by"), Column("reason", "why"),
    Column("at", "since", "moment"), Column("state", "state"),
)  # fmt: skip
RULES = (Column("rule", "rule"), Column("kind", "kind"))
SENT = (Column("at", "when", "moment"), Column("title", "alert"), Column("rule", "rule"))
COUNTED = (Column("rule", "rule"), Column("alerts", "alerts", "count"))


def alerts(view: View, query: Query) -> Mapping[str, Any]:
    """`?state=given up` and `?before=<id>` page through the history; `?preview=30d` looks back."""
    asked, query = query, Query([pair for pair in query if pair[0] not in _OF_A_FORM])
    state = query.get("state")
    if state and state not in STATES:
        raise ConfigError(f"state={state!r} is not one of {', '.join(STATES)}")
    ledger = view.known.ledger
    states: list[State] = [name for name in STATES if name == (state or name)]
    before = query.number("before", 0, most=2**31 - 1) if query.get("before") else None
    found = parcels(ledger, states, most=PER_PAGE + 1, before=before)
    counts = parcel_counts(ledger)
    rules = view.known.alert_rules
    return {
        "query": query,
        "counts": counts,
        "states": [
            {
                "text": name.capitalize(),
                "url": query.href(state=name, before=None),
                "chosen": name == state,
                "count": counts[name],
            }
            for name in STATES
        ],
        "all": {"text": "All", "url": query.href(state=None, before=None), "chosen": not state},
        "history": Table("alerts", "Alerts", HISTORY, [_row(view, query, one) for one in found[:PER_PAGE]], NO_ALERTS),
        "older": query.href(before=found[PER_PAGE - 1].parcel.id) if len(found) > PER_PAGE else "",
        "first": query.href(before=None) if before else "",
        "mutes": Table("mutes", "Mutes", MUTED, [_mute(view, one) for one in _mutes(view)], "Nothing is muted."),
        "rules": Table("rules", "Rules", RULES, [_rule(view, rule) for rule in rules], NO_RULES),
        "kinds": KINDS,
        "doing": _doing(asked),
        "previewed": query.get("preview"),
        **_preview(view, query, list(rules)),
    }


_OF_A_FORM = ("do", "number", "kind", "budget", "payer")
NO_ALERTS = "No alert yet: each crossing of a budget's marks, and what rules find, will be listed here."
NO_RULES = 'This process has no alert rules. Give the guard some: alert_rules=["burn fast", "digest daily 09:00"].'


def _row(view: View, query: Query, one: Posted) -> dict[str, Any]:
    alert = alert_of(one.parcel, view.known.ledger, tops=False)
    payer = {str(name): str(value) for name, value in alert.payer.items()}
    shown = view.hiding.show_all(payer)
    budget = view.hiding.rule(alert.budget) if alert.budget else ""
    return {
        "id": one.parcel.id,
        "at": alert.at,
        "title": _title(view, alert, payer),
        "text": "" if view.hiding.on else alert.text,
        "kind": alert.kind,
        "payer": view.payer(payer),
        "payer_tags": shown,
        "budget": alert.name or budget,
        "state": one.state,
        "told_by": ", ".join(one.told_by),
        "finished": None if one.finished_ns is None else _at(one.finished_ns),
        "tries": one.parcel.tries,
        "error": one.error if not view.hiding.on else ("see the log" if one.error else ""),
        "mute_url": query.href(
            do="mute",
            number=None,
            kind=alert.kind,
            budget=alert.name or budget,
            payer=next((f"{name}={value}" for name, value in shown.items() if value != HIDDEN), ""),
        ),
        "again": one.state in ("given up", "muted"),
    }


def _title(view: View, alert: Alert, payer: Mapping[str, str]) -> str:
    """In the alert's own words, or without them where they may name somebody who is hidden."""
    if not view.hiding.on:
        return alert.title
    budget = alert.name or (view.hiding.rule(alert.budget) if alert.budget else alert.kind)
    if alert.kind != "budget":
        return f"{alert.kind}: {view.payer(payer)}"
    if alert.refused:
        return f"A call of {view.payer(payer)} was refused: it does not fit {budget}"
    return f"{view.payer(payer)} has reached {(alert.fraction * 100).normalize():f} % of {budget}"


def _mutes(view: View) -> list[Mute]:
    found = mutes(view.known.ledger, history=True)
    now = view.now_ns
    found.sort(key=lambda one: (not _in_force(one, now), -one.created_ns))
    return found[:PER_PAGE]


def _in_force(one: Mute, now_ns: int) -> bool:
    return one.removed_ns is None and (one.until_ns is None or one.until_ns > now_ns)


def _mute(view: View, one: Mute) -> dict[str, Any]:
    state = "in force" if _in_force(one, view.now_ns) else "over"
    if one.removed_ns is not None:
        state = f"ended by {one.removed_by}"
    parts = [one.kind and f"kind {one.kind}", one.budget and view.hiding.rule(one.budget)]
    parts += [view.payer(one.payer)] if one.payer else []
    return {
        "id": one.id,
        "what": ", ".join([part for part in parts if part]) or "all alerts",
        # A far end, which no calendar has, is as good as none.
        "until": None if one.until_ns is None or one.until_ns >= NEVER else _at(one.until_ns),
        "author": one.author,
        "reason": one.reason,
        "at": _at(one.created_ns),
        "state": state,
        "in_force": state == "in force",
    }


def _rule(view: View, rule: Rule) -> dict[str, Any]:
    hides = any(view.hiding.hides(name) for name, _ in rule.where)
    return {"rule": f"{rule.kind} ..." if hides else str(rule), "kind": rule.kind}


def _doing(query: Query) -> dict[str, Any] | None:
    """The form that `?do=` opens."""
    do = query.get("do")
    titles = {
        "mute": ("Mute alerts", "Mute"), "unmute": ("End mute {}", "Unmute"),
        "tell again": ("Tell alert {} again", "Tell again"),
    }  # fmt: skip
    if do not in titles:
        return None
    title, label = titles[do]
    return {
        "do": do,
        "title": title.format(query.get("number")),
        "label": label,
        "number": query.get("number"),
        "kind": query.get("kind"),
        "budget": query.get("budget"),
        "payer": query.get("payer"),
        "action": query.href(),
        "back": query.href(do=None, number=None, kind=None, budget=None, payer=None),
    }


def _preview(view: View, query: Query, rules: list[Rule]) -> dict[str, Any]:
    """What the rules, or those of `?rules=`, one on each line, would have sent."""
    asked = query.get("preview")
    if not asked:
        return {}
    span = read_span(asked)
    if span is None or span > LONGEST:
        raise ConfigError(f"preview={asked!r} is not a span of at most {LONGEST.days} days; write it as 7d or 24h")
    lines = [line.strip() for line in query.get("rules").splitlines() if line.strip()]
    chosen = _meant(view, read_rules(lines)) if lines else tuple(rules) or read_rules(DEFAULT_RULES)
    found = previewed(view, chosen, span)
    texts = {rule.text: _rule(view, rule)["rule"] for rule in chosen}
    sent = [
        {
            "at": one.at,
            "title": f"{one.kind}" if view.hiding.on else one.title,
            "text": "" if view.hiding.on else one.text,
            "rule": texts.get(one.rule, view.hiding.rule(one.rule)),
        }
        for one in reversed(found.alerts)
    ]
    counts = [
        {"rule": texts.get(rule, view.hiding.rule(rule)), "alerts": count} for rule, count in found.counts.items()
    ]
    return {
        "sent": Table("preview", "What would have been sent", SENT, sent[:MOST_SENT], NONE_SENT),
        "latest": Table("latest", "The latest of them", SENT, sent[:SHOWN], NONE_SENT),
        "counted": Table("preview_counts", "How many", COUNTED, counts, "No rules."),
        "unseen": [texts.get(rule, rule) for rule in found.unseen],
        "sent_in_all": len(sent),
        "cut_at": found.until if found.until < view.now - timedelta(minutes=10) else None,
        "of_default": not lines and not rules,
    }


def _meant(view: View, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """By what is shown: what a raw id would have sent says that it is there, and when."""
    return tuple(
        [replace(rule, where=tuple([(name, view.raw(name, value)) for name, value in rule.where])) for rule in rules]
    )


def _at(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC)
