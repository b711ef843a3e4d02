"""Buttons below an alert in Slack: more for this window, silence for a while, the dashboard.

A button carries what it is about in its value, of which Slack's signature vouches when it is pressed: see
`costguard.alerts.slack_actions`, which acts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

from costguard.alerts.alert import Alert
from costguard.alerts.rules_alert import RuleAlert
from costguard.errors import ConfigError
from costguard.ledger.threads import Subject
from costguard.units import UNITS, Unit, read_amount, show_amount
from costguard.windows import WINDOWS

GRANT, MUTE, OPEN = "costguard_grant", "costguard_mute", "costguard_open"
"""The `action_id`s."""

_MOST_OF_A_VALUE = 2000
"""https://docs.slack.dev/reference/block-kit/block-elements/button-element"""

_NO_YEAR = 253_402_300_800
"""The end of the year 9999, seconds since 1970: no date is later."""

_ONCE = ("call", "request", "new model", "journal")

_SPAN = re.compile(r"(\d{1,4})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class Press:
    """What a button says when it is pressed.

    key:     of the alert
    budget:  the rule, as the alert shows it; of what an alert rule found, that one
    amount:  of a grant, in `unit`
    seconds: of a mute
    end:     when the window of the alert ends, seconds since 1970; None: never, or a rolling window
    payer:   of whom, where the key does not say it: of what an alert rule found
    """

    do: Literal["grant", "mute"]
    key: str
    budget: str
    amount: Decimal = Decimal(0)
    unit: Unit = "usd"
    seconds: int = 0
    end: int | None = None
    payer: Mapping[str, str] | None = None

    @property
    def whom(self) -> Mapping[str, str]:
        """Tag values. Raises ValueError where the key names no limit."""
        return dict(self.subject.payer) if self.payer is None else self.payer

    @property
    def subject(self) -> Subject:
        """Raises ValueError where the key names no limit."""
        found = Subject.of(self.key)
        if found is None or not all(isinstance(value, str) for _, value in found.payer):
            raise ValueError(f"{self.key[:80]!r} is no alert of a budget")
        return found

    def write(self) -> str:
        """The value of the button."""
        told: dict[str, Any] = {"do": self.do, "key": self.key, "budget": self.budget}
        if self.do == "grant":
            told |= {"amount": f"{self.amount:f}", "unit": self.unit, "end": self.end}
        else:
            told["seconds"] = self.seconds
            if self.payer is not None:
                told["payer"] = dict(self.payer)
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def read(cls, value: str) -> Press:
        """Raises ValueError for a value that no button of ours has."""
        try:
            told = json.loads(value)
            do, key, budget, end = told["do"], told["key"], told["budget"], told.get("end")
            if do == "grant":
                unit = told["unit"]
                if unit not in UNITS or not isinstance(told["amount"], str):
                    raise ValueError(value)
                press = cls("grant", key, budget, read_amount(told["amount"], unit, what="grant"), unit, end=end)
            elif do == "mute":
                payer = told.get("payer")
                if payer is not None and not all(isinstance(one, str) for one in dict(payer).values()):
                    raise ValueError(value)
                press = cls("mute", key, budget, seconds=told["seconds"], payer=None if payer is None else dict(payer))
            else:
                raise ValueError(value)
            good = isinstance(key, str) and isinstance(budget, str) and type(end) in (int, type(None))
            if not good or type(press.seconds) is not int or press.seconds < 0 or not 0 <= (end or 0) < _NO_YEAR:
                raise ValueError(value)
            # Half a letter beyond the first 65,536 is none that a store takes.
            json.dumps(told, ensure_ascii=False).encode()
        except (KeyError, TypeError, ConfigError, ValueError, RecursionError):
            raise ValueError(f"{value[:80]!r} is not the value of a button of costguard") from None
        return press


@dataclass(frozen=True, slots=True)
class Buttons:
    """Which buttons a Slack message of a budget has.

    grants:    one for each amount: "$5", "100000 tokens", "50 calls"; shown where the budget counts that
    mute:      for how long one mutes: "4h", "1d"; None: no such button
    dashboard: where the dashboard is, for alerts that have no link of their own (`Guard(dashboard_url=...)` gives them
               one); None: no such button

    Raises ConfigError for amounts, spans and addresses that are none.
    """

    grants: Sequence[str] = ("$5", "$20")
    mute: str | None = "24h"
    dashboard: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.grants, str):
            raise ConfigError(f"grants is one text, {self.grants!r}; give a list: grants=[{self.grants!r}]")
        if len(self.amounts) > 5:
            raise ConfigError(f"{len(self.amounts)} grant buttons are more than five; Slack would hide the others")
        if self.mute is not None and not self.muted_for:
            raise ConfigError(f"mute {self.mute!r} is not a span; write it as 4h, 1d or 2w")
        parts = urlsplit(self.dashboard or "https://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"dashboard {self.dashboard!r} is not an http or https address")

    @property
    def amounts(self) -> list[tuple[Decimal, Unit]]:
        return [_amount(text) for text in self.grants]

    @property
    def muted_for(self) -> int:
        """Seconds."""
        found = _SPAN.fullmatch(self.mute or "")
        return int(found[1]) * _SECONDS[found[2]] if found else 0

    def block(self, alert: Alert) -> dict[str, Any] | None:
        """The `actions` block of an alert; None where it has no buttons."""
        elements = [*self._grants(alert), *self._mute(alert), *self._open(alert)]
        return {"type": "actions", "elements": elements} if elements else None

    def _grants(self, alert: Alert) -> list[dict[str, Any]]:
        subject = Subject.of(alert.key) if alert.kind == "budget" else None
        if subject is None:
            return []
        rolling = subject.period not in WINDOWS
        end = None if rolling or alert.resets_at is None else int(alert.resets_at.timestamp())
        found = []
        for number, (amount, unit) in enumerate(self.amounts):
            press = Press("grant", alert.key, alert.budget, amount, unit, end=end)
            if unit == alert.unit and len(press.write()) <= _MOST_OF_A_VALUE:
                shown = show_amount(amount, unit).replace(".00", "")
                button = _button(f"Grant {shown}", f"{GRANT}_{number}", press.write())
                found.append(button | {"confirm": _confirm(f"Grant {shown}?", f"{alert.who}: {alert.budget}")})
        return found

    def _mute(self, alert: Alert) -> list[dict[str, Any]]:
        if not self.muted_for:
            return []
        if isinstance(alert, RuleAlert) and alert.kind != "digest":
            # A call or a request is over: its kind is muted, not its like.
            payer = {} if alert.kind in _ONCE else alert.payer
            value = Press("mute", alert.key, alert.rule, seconds=self.muted_for, payer=payer).write()
        elif alert.kind == "budget":
            value = Press("mute", alert.key, alert.budget, seconds=self.muted_for).write()
        else:
            return []
        return [_button(f"Mute for {self.mute}", MUTE, value)] if len(value) <= _MOST_OF_A_VALUE else []

    def _open(self, alert: Alert) -> list[dict[str, Any]]:
        url = alert.link or self.dashboard
        # https://docs.slack.dev/reference/block-kit/block-elements/button-element: 3,000 letters at most
        return [_button("Open the dashboard", OPEN, "") | {"url": url}] if url and len(url) <= 3000 else []


def _amount(text: object) -> tuple[Decimal, Unit]:
    if not isinstance(text, str):
        raise ConfigError(f"grant {text!r} is not a text; write it as '$5' or '100000 tokens'")
    number, _, unit = text.strip().partition(" ")
    if number.startswith("$"):
        unit = unit or "usd"
    for known in UNITS:
        if unit == known:
            amount = read_amount(number, known, what="grant")  # type: ignore[arg-type]  # a unit, of UNITS
            if amount > 0:
                return amount, known  # type: ignore[return-value]  # as above
    raise ConfigError(f"grant {text!r} is not an amount; write it as '$5', '100000 tokens' or '50 calls'")


def _button(text: str, action_id: str, value: str) -> dict[str, Any]:
    button: dict[str, Any] = {
        "type": "button",
        "text": {"type": "plain_text", "text": text[:75], "emoji": False},
        "action_id": action_id,
    }
    return button | ({"value": value} if value else {})


def _confirm(title: str, text: str) -> Mapping[str, Any]:
    """https://docs.slack.dev/reference/block-kit/composition-objects/confirmation-dialog-object"""
    plain = {"type": "plain_text", "emoji": False}
    return {
        "title": plain | {"text": title[:100]},
        "text": plain | {"text": f"{text[:200]}. For the rest of this window; it is written down that you did it."},
        "confirm": plain | {"text": "Grant"},
        "deny": plain | {"text": "Cancel"},
    }


def until(seconds: int) -> str:
    """A moment for people; in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
