"""`costguard alerts [preview | list | retry | mute | unmute]`: what rules would tell, what waits, and what is muted."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard.cli_rules import BudgetFile, KnownRules, iso, minute
from costguard.cli_store import (
    Author,
    Json,
    Store,
    author_or_login,
    ledger_at,
    one_line,
    pairs,
    show,
    show_json,
    show_table,
    visible,
)
from costguard.errors import ConfigError
from costguard.windows import read_span

if TYPE_CHECKING:
    from costguard.alerts.rules import Rule
    from costguard.ledger.base import Ledger
    from costguard.ledger.parcels import Posted, State

app = typer.Typer(
    help="Alerts: what rules would have told, what waits to be told, and what is muted.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

RulesFile = Annotated[
    Path | None,
    typer.Option("--rules", metavar="PATH", help='TOML with [alerts] rules = ["burn fast", ...]'),
]
RuleLines = Annotated[
    list[str] | None, typer.Option("--rule", metavar="RULE", help='Such as "spike 3x per feature"; repeatable')
]


@app.callback()
def alerts(context: typer.Context, *, store: Store = None, as_json: Json = False) -> None:
    """How many alerts are still to be told."""
    if context.invoked_subcommand is not None:
        return
    with one_line(), ledger_at(store) as ledger:
        left = ledger.undelivered()
        if as_json:
            show_json({"undelivered": left})
            return
        show("every alert is told or given up" if not left else f"{left} alert{'' if left == 1 else 's'} not told yet")


@app.command()
def preview(
    *,
    since: Annotated[str, typer.Option(help="30d, 24h or 2026-11-01 (UTC)")] = "30d",
    until: Annotated[str | None, typer.Option(help="The same; not included")] = None,
    rules: RulesFile = None,
    rule: RuleLines = None,
    file: BudgetFile = None,
    full: Annotated[bool, typer.Option("--full", help="The whole text of each alert")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """What rules and budgets would have sent in the past, from the ledger, before anyone switches them on."""
    from costguard.alerts.preview import preview as look_back
    from costguard.alerts.rules import DEFAULT_RULES, read_rules, rules_of_file
    from costguard.reports.spend import moment

    with one_line():
        chosen: list[str | Rule] = [*(rule or []), *(rules_of_file(rules) if rules else ())]
        if not chosen and rules is None and file is not None:
            chosen = list(rules_of_file(file))
        lines = read_rules(chosen or DEFAULT_RULES)
        now = datetime.now(UTC)
        begin, end = moment(since, now, what="since"), min(moment(until, now, what="until") or now, now)
        if begin is None or begin >= end:
            raise ConfigError(f"since {since} is not before until {until or 'now'}: nothing lies between")
        with ledger_at(store) as ledger:
            budgets = KnownRules(ledger, file, time.time_ns()).chosen()
            found = look_back(ledger, lines, budgets, _ns(begin), _ns(end))
    if as_json:
        show_json(found.to_json())
        return
    if full:
        for alert in found.alerts:
            show(f"{alert.at:%Y-%m-%d %H:%MZ}  {visible(alert.title)}")
            for line in alert.text.splitlines():
                show(f"    {visible(line)}")
    else:
        show_table(
            ("at", "alert", "rule"),
            [(f"{alert.at:%Y-%m-%d %H:%MZ}", alert.title, alert.rule) for alert in found.alerts],
            none="no alert would have been sent",
        )
    show("")
    show_table(("rule", "alerts"), [(name, f"{count:,}") for name, count in found.counts.items()], none="no rules")
    for name in found.unseen:
        show(f"not to be seen in a ledger: {name}")


@app.command("list")
def list_alerts(
    *,
    told: Annotated[bool, typer.Option("--told", help="Those that were told and muted, too")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many alerts, the latest first")] = 20,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """What waits to be told and what was given up, with why, and the mutes in force."""
    from costguard.alerts.spoken import clip
    from costguard.ledger.mutes import mutes
    from costguard.ledger.parcels import STATES, parcel_counts, parcels

    with one_line(), ledger_at(store) as ledger:
        counts, found = parcel_counts(ledger), mutes(ledger)
        rows = [(one, _title(one, ledger)) for one in parcels(ledger, STATES if told else _OPEN, most=limit)]
    if as_json:
        shown = [
            {
                "id": one.parcel.id, "state": one.state, "title": title, "key": one.parcel.key,
                "created": iso(one.parcel.created_ns), "tries": one.parcel.tries, "told_by": list(one.told_by),
                "error": one.error, "finished": None if one.finished_ns is None else iso(one.finished_ns),
            }
            for one, title in rows
        ]  # fmt: skip
        show_json(
            {"undelivered": counts["waiting"], "counts": counts, "alerts": shown, "mutes": [_as_json(m) for m in found]}
        )
        return
    left, given_up = counts["waiting"], counts["given up"]
    show("every alert is told or given up" if not left else f"{left} alert{'' if left == 1 else 's'} not told yet")
    if given_up:
        show(f"{given_up} given up: costguard alerts retry ID has one tried again")
    if rows:
        show_table(
            ("id", "state", "since", "tries", "alert", "why"),
            [
                (
                    str(one.parcel.id), one.state, minute(one.parcel.created_ns), str(one.parcel.tries),
                    clip(title, 100), clip(one.error, 120),
                )
                for one, title in rows
            ],
            none="",
        )  # fmt: skip
    show_table(
        ("id", "muted", "until", "by", "reason"),
        [
            (str(one.id), one.what, "unmuted" if one.until_ns is None else minute(one.until_ns), one.author, one.reason)
            for one in found
        ],
        none="nothing is muted",
    )


@app.command()
def retry(
    number: Annotated[int, typer.Argument(metavar="ID", max=1 << 62, help="See: costguard alerts list")],
    *,
    reason: Annotated[str, typer.Option(help="Why")] = "",
    author: Author = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Have an alert tried again that was given up or muted; apps with channels see it within a minute."""
    from costguard.ledger.parcels import tell_again

    with one_line(), ledger_at(store) as ledger:
        found = tell_again(ledger, number, author=author_or_login(author), reason=reason)
        title = _title(found, ledger)
        if as_json:
            show_json({"id": number, "was": found.state, "title": title})
        else:
            show(f"alert {number} is tried again: {visible(title)}")


_OPEN: tuple[State, ...] = ("waiting", "given up")


def _title(one: Posted, ledger: Ledger) -> str:
    from costguard.alerts.price_alert import alert_of

    try:
        return alert_of(one.parcel, ledger, tops=False).title
    except (KeyError, TypeError, ValueError):
        # Of another version: its key says what it is.
        return one.parcel.key


@app.command()
def mute(
    *,
    for_: Annotated[str | None, typer.Option("--for", metavar="SPAN", help="2h, 3d; else until it is unmuted")] = None,
    kind: Annotated[str, typer.Option(help="Such as burn, spike, digest, or budget")] = "",
    budget: Annotated[str, typer.Option(help="A budget's line or name, or an alert rule's")] = "",
    payer: Annotated[list[str] | None, typer.Option(metavar="TAG=VALUE", help="Of whom; repeatable")] = None,
    reason: Annotated[str, typer.Option(help="Why")] = "",
    author: Author = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Tell nobody of some alerts for a while: they stay in the outbox, marked as muted."""
    from costguard.alerts.alert import KINDS
    from costguard.ledger.mutes import mute as put

    with one_line():
        span = None if for_ is None else read_span(for_)
        if for_ is not None and span is None:
            raise ConfigError(f"--for {for_!r} is not a span; write it as 2h or 3d")
        if kind and kind not in KINDS:
            raise ConfigError(f"--kind {kind!r} is not one of {', '.join(KINDS)}")
        payers = pairs(payer or [], "--payer")
        if not (kind or budget or payers):
            raise ConfigError("say what to mute: --kind, --budget or --payer")
        until = None if span is None else time.time_ns() + int(span.total_seconds()) * 10**9
        with ledger_at(store) as ledger:
            made = put(
                ledger, kind=kind, budget=budget, payer=payers, until_ns=until, author=author_or_login(author),
                reason=reason,
            )  # fmt: skip
    if as_json:
        show_json(_as_json(made))
    else:
        end = "until it is unmuted" if made.until_ns is None else f"until {minute(made.until_ns)}"
        show(f"mute {made.id}: {visible(made.what)}, {end}")


@app.command()
def unmute(
    number: Annotated[int, typer.Argument(metavar="ID", help="See: costguard alerts list")],
    *,
    reason: Annotated[str, typer.Option(help="Why")] = "",
    author: Author = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Tell again what was muted."""
    from costguard.ledger.mutes import unmute as end

    with one_line(), ledger_at(store) as ledger:
        ended = end(ledger, number, author_or_login(author), reason=reason)
        if as_json:
            show_json(_as_json(ended))
        else:
            show(f"mute {ended.id} is over: {visible(ended.what)}")


def _as_json(one: Any) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "budget": one.budget,
        "payer": dict(one.payer),
        "until": None if one.until_ns is None else iso(one.until_ns),
        "author": one.author,
        "reason": one.reason,
        "created": iso(one.created_ns),
    }


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9
