"""An alert as blocks of Slack: https://docs.slack.dev/reference/block-kit/blocks"""

from __future__ import annotations

from typing import Any

from costguard.alerts.alert import Alert
from costguard.alerts.folding import Folded
from costguard.alerts.slack_buttons import Buttons
from costguard.alerts.spoken import clip, tame
from costguard.money import show_usd
from costguard.units import show_amount

_LINES = 10
"""Of a folded message in one section, which takes 3,000 letters."""

_MOST_OF_A_LINE = 290
"""Escaped, so that ten of them fit whatever users have in their tags: one must not push the others out."""


def message(alert: Alert, buttons: Buttons | None = None) -> list[dict[str, Any]]:
    """The blocks of one alert."""
    header = {"type": "header", "text": {"type": "plain_text", "text": clip(tame(alert.title), 150), "emoji": False}}
    if isinstance(alert, Folded):
        blocks = [header, *_folded(alert)]
    elif alert.kind != "budget":
        blocks = [header, *_sections(alert.text)]
    else:
        blocks = [header, *_budget(alert)]
    below = None if buttons is None else buttons.block(alert)
    if below is None and alert.link:
        # Percent-encoded: nothing in it ends the link.
        link = {"type": "mrkdwn", "text": f"<{alert.link.replace('&', '&amp;')}|Open the dashboard>"}
        below = {"type": "context", "elements": [link]}
    return blocks if below is None else [*blocks, below]


def escape(text: str) -> str:
    """Text that Slack shows as it is: tags come from users, who must not ring @channel or forge links.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return tame(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _budget(alert: Alert) -> list[dict[str, Any]]:
    filled = max(0, min(10, alert.percent // 10))
    bar = f"{'▓' * filled}{'░' * (10 - filled)} {alert.percent} %"
    fields = [
        ("Payer", alert.who),
        ("Budget", f"{alert.name} ({alert.budget})" if alert.name else alert.budget),
        ("Spent", show_amount(alert.spent, alert.unit)),
        ("Limit", show_amount(alert.limit, alert.unit)),
        ("Resets", "never" if alert.resets_at is None else f"{alert.resets_at:%Y-%m-%d %H:%M} UTC"),
        ("Top feature", _top(alert.top_feature)),
        ("Top model", _top(alert.top_model)),
    ]
    return [
        {"type": "section", "text": mrkdwn(f"{bar}  {alert.progress}")},
        {"type": "section", "fields": [mrkdwn(f"*{name}*\n{escape(clip(value, 300))}") for name, value in fields]},
    ]


def _folded(alert: Folded) -> list[dict[str, Any]]:
    lines = [f"• {clip(escape(clip(line, 180)), _MOST_OF_A_LINE)}" for line in alert.lines]
    return [
        {"type": "section", "text": mrkdwn("\n".join(lines[at : at + _LINES]), 3000)}
        for at in range(0, len(lines), _LINES)
    ]


def _sections(text: str) -> list[dict[str, Any]]:
    """Lines stay lines: a digest has many."""
    lines = [escape(line) for line in text.splitlines()]
    return [
        {"type": "section", "text": mrkdwn("\n".join(lines[at : at + 2 * _LINES]), 3000)}
        for at in range(0, min(len(lines), 20 * _LINES), 2 * _LINES)
    ]


def _top(top: tuple[str, Any] | None) -> str:
    return "nothing priced yet" if top is None else f"{top[0]} ({show_usd(top[1])})"


def mrkdwn(text: str, most: int = 2000) -> dict[str, Any]:
    # verbatim: no links, names or mentions are made out of the words.
    return {"type": "mrkdwn", "text": clip(text, most), "verbatim": True}
