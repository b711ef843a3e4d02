"""What the forms of the page of alerts do: mute, unmute, and tell again what was given up."""

from __future__ import annotations

import time

from costguard.alerts.alert import KINDS
from costguard.budgets import Budget
from costguard.dashboard.form import Act, Form
from costguard.dashboard.hiding import HIDDEN
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.ledger.deeds import Deed
from costguard.ledger.mutes import mute_once, new_mute
from costguard.ledger.mutes import unmute as end
from costguard.ledger.parcels import tell_again
from costguard.tags import Tags
from costguard.windows import read_span


def mute(view: View, form: Form) -> str:
    """Some alerts, for a while or until somebody ends it."""
    kind, budget, span_text = form.get("kind"), _rule(view, form.get("budget")), form.get("for")
    if kind and kind not in KINDS:
        raise ConfigError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    payer = {}
    if form.get("payer"):
        tag, equals, value = (part.strip() for part in form.get("payer").partition("="))
        if not (tag.isidentifier() and equals and value):
            raise ConfigError(f"payer {form.get('payer')!r} is not TAG=VALUE, such as user=alice")
        # As calls have it: without what no tag has, such as NUL.
        payer = dict(Tags({tag: view.meant(tag, value)}))
    if not (kind or budget or payer):
        raise ConfigError("say what to mute: a kind, a budget or rule, or a payer")
    span = read_span(span_text) if span_text else None
    if span_text and span is None:
        raise ConfigError(f"for {span_text!r} is not a span; write it as 2h or 3d")
    now = time.time_ns()
    until = None if span is None else now + int(span.total_seconds()) * 10**9
    one = new_mute(form.author, until, now, kind=kind, budget=budget, payer=payer, reason=form.reason)
    deed = Deed(form.nonce, one.created_ns, one.author, "mute", form.reason)
    return "again" if mute_once(view.known.ledger, one, deed) is None else "muted"


def _rule(view: View, text: str) -> str:
    """The rule of a budget as alerts have it; other text, such as a name, as it is."""
    if not text.isprintable():
        raise ConfigError(f"budget {text!r} has characters that no rule has; leave them out")
    if text == HIDDEN:
        raise ConfigError("what is muted names somebody who is hidden; mute a kind, or a name")
    try:
        rule = Budget.parse(text)
    except ConfigError:
        return text
    return str(view.meant_rule(rule))


def unmute(view: View, form: Form) -> str:
    end(view.known.ledger, form.number("number"), form.author, reason=form.reason)
    return "unmuted"


def again(view: View, form: Form) -> str:
    """What was given up or muted."""
    tell_again(view.known.ledger, form.number("number"), author=form.author, reason=form.reason)
    return "tried"


ALERT_ACTS: dict[str, Act] = {"mute": mute, "unmute": unmute, "tell again": again}
