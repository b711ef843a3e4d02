"""A budget in one line: read into the fields of a `Budget`, and printed from them.

    <limit>/<window> [per TAGS] [where TAG=VALUE,...] [for TAG=VALUE,...] [tz ZONE] [holds MODE]
        [alerts at 50%, ... | alerts off] [then ACTION at 80%, ...] [observe] [named "NAME"]

The page docs/budgets.md is the language for people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Protocol

from costguard.budget_actions import ACTION, DEFAULT_ALERTS, FRACTION, Actions, show_actions, show_fraction
from costguard.errors import ConfigError
from costguard.units import Unit, show_amount
from costguard.windows import WINDOWS, read_span

HOW = (
    'write it like "$5/day per user", "$0.50/day per user,feature where environment=production" '
    'or "50 calls/hour per user for plan=free"'
)

_TAG = r"[A-Za-z_]\w*"
_STRING = r'"(?:[^"\\]|\\.)*"'
_PAIR = rf'{_TAG}\s*=\s*(?:{_STRING}|[^\s,"][^\s,]*)'
_AT = rf"{ACTION}\s+at\s+{FRACTION}"
_HEAD = re.compile(
    r"\s*(?P<limit>\$?[\d.,_]+)\s*(?P<unit>tokens?|calls?|usd)?\s*(?:/\s*(?P<window>\w+))?(?=\s|$)", re.IGNORECASE
)
_CLAUSES = {
    "per": re.compile(rf"\s+per\s+({_TAG}(?:\s*,\s*{_TAG})*)(?=\s|$)"),
    "where": re.compile(rf"\s+where\s+({_PAIR}(?:\s*,\s*{_PAIR})*)(?=\s|$)"),
    "for_": re.compile(rf"\s+for\s+({_PAIR}(?:\s*,\s*{_PAIR})*)(?=\s|$)"),
    "tz": re.compile(r"\s+tz\s+(\S+)"),
    "holds": re.compile(r"\s+holds\s+(learned|strict)(?=\s|$)"),
    "alerts": re.compile(rf"\s+alerts\s+(off|at\s+{FRACTION}(?:\s*,\s*{FRACTION})*)(?=\s|$)"),
    "actions": re.compile(rf"\s+then\s+({_AT}(?:\s*,\s*{_AT})*)(?=\s|$)"),
    "observe": re.compile(r"\s+(observe)(?=\s|$)"),
    "name": re.compile(rf"\s+named\s+({_STRING})(?=\s|$)", re.DOTALL),
}
_PAIRS = re.compile(rf'({_TAG})\s*=\s*({_STRING}|[^\s,"][^\s,]*)')
_BARE = re.compile(r'[^\s,"][^\s,]*')


def read_fields(text: str) -> dict[str, Any]:
    """The fields of the budget that this line describes. Raises ConfigError; the values are checked by `Budget`."""
    head = _HEAD.match(text)
    if head is None:
        raise ConfigError(f"budget {text!r} cannot be read; {HOW}")
    fields: dict[str, Any] = {"limit": head["limit"], "unit": _unit(head["unit"])}
    place = head.end()
    while text[place:].strip():
        found = [(name, match) for name, clause in _CLAUSES.items() if (match := clause.match(text, place))]
        if not found:
            raise ConfigError(f"budget {text!r} cannot be read from {text[place:].strip()!r} on; {HOW}")
        name, match = found[0]
        if name in fields:
            raise ConfigError(f"budget {text!r} says {match[0].split()[0]!r} twice; keep the one you mean")
        fields[name] = _value(name, match[1])
        place = match.end()
    fields["window"] = _window(text, head["window"])
    return fields


def _unit(word: str | None) -> Unit:
    if word is None or word.lower() == "usd":
        return "usd"
    return "tokens" if word.lower().startswith("token") else "calls"


def _window(text: str, word: str | None) -> str:
    if word is not None and read_span(word) is not None:
        return word
    name = (word or "").lower()
    if name in WINDOWS and name != "rolling":
        return name
    said = f"window {word!r}" if word else "no window"
    known = ", ".join(f"/{window}" for window in WINDOWS if window != "rolling")
    raise ConfigError(f"budget {text!r} has {said}; use one of {known}, or a span such as /30d, /24h or /90m")


def _value(name: str, text: str) -> Any:
    if name == "per":
        return tuple(re.split(r"\s*,\s*", text))
    if name in ("where", "for_"):
        return read_pairs(text, "for" if name == "for_" else name)
    if name == "alerts":
        return () if text == "off" else tuple(part.strip() for part in text.removeprefix("at").split(","))
    if name == "actions":
        return tuple((at, action) for action, _, at in (part.split(None, 2) for part in text.split(",")))
    if name == "observe":
        return True
    return json.loads(text, strict=False) if name == "name" else text


def read_pairs(text: str, what: str = "payer") -> dict[str, str]:
    """Tags and their values, as in "user=alice,plan=pro". Raises ConfigError for a tag that is named twice."""
    pairs: dict[str, str] = {}
    for name, value in _PAIRS.findall(text):
        if name in pairs:
            raise ConfigError(f"{what} names the tag {name!r} twice")
        pairs[name] = json.loads(value, strict=False) if value.startswith('"') else value
    return pairs


def show_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """The reverse of `read_pairs`; values with spaces, commas or quotes are quoted."""
    return ",".join([f"{name}={value if _BARE.fullmatch(value) else _quoted(value)}" for name, value in pairs])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class Rule(Protocol):
    """What is printed of a `costguard.Budget`, which is made from the fields that are read here."""

    @property
    def limit(self) -> Any: ...
    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> Unit: ...
    @property
    def period(self) -> str: ...
    @property
    def per(self) -> tuple[str, ...]: ...
    @property
    def where(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def for_(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def tz(self) -> str: ...
    @property
    def holds(self) -> str | None: ...
    @property
    def alerts(self) -> tuple[Decimal, ...]: ...
    @property
    def actions(self) -> Actions: ...
    @property
    def observe(self) -> bool: ...


def show_rule(rule: Rule) -> str:
    """The beginning of the line: what is counted, and how much of it there may be."""
    if not isinstance(rule.limit, Decimal):
        return f"{rule.name} (computed, per {rule.period})"
    amount = show_amount(rule.limit, rule.unit).replace(",", "")
    return f"{amount}/{rule.period}" + _clauses(
        ("per", ",".join(rule.per)),
        ("where", show_pairs(rule.where)),
        ("for", show_pairs(rule.for_)),
        ("tz", "" if rule.tz == "UTC" else rule.tz),
    )


def show_line(rule: Rule) -> str:
    """The whole line. A budget whose limit is computed has none: it is printed as its beginning."""
    alerts = "at " + ", ".join(map(show_fraction, rule.alerts)) if rule.alerts else "off"
    return show_rule(rule) + _clauses(
        ("holds", rule.holds or ""),
        ("alerts", "" if rule.alerts == DEFAULT_ALERTS else alerts),
        ("then", show_actions(rule.actions)),
        ("observe", " " if rule.observe else ""),
        ("named", _quoted(rule.name) if rule.name else ""),
    )


def _clauses(*clauses: tuple[str, str]) -> str:
    """Words and what they say, those that say nothing left out."""
    return "".join([f" {word} {said}".rstrip() for word, said in clauses if said])
