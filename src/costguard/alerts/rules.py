"""Alert rules: what is worth telling beside the fractions of a budget, each in one line.

    burn fast
    spike 3x min $10 per feature
    payer over $20/day per user
    digest daily 09:00 tz Europe/Berlin

The whole language, with every default: docs/alert-rules.md.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from os import PathLike
from pathlib import Path

from costguard.alerts.rules_text import BURNS, HOW, RuleKind, read_fields
from costguard.errors import ConfigError
from costguard.money import show_usd


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule; `Rule.parse` reads it from a line. What a kind does not use stays as it is here.

    per:     tags (or "model", "provider") that each combination of is told of for itself
    where:   tags and values that the calls have
    window:  "hour", "day", "week", "month", or a span such as "15m" before the moment of the look
    long:    of a burn rate, the longer of its two spans; `window` is the shorter
    amount:  USD, of one call, one request or one payer
    count:   refusals or failed tries in the window
    factor:  times the usual
    share:   of the limit, of the spending or of all tries, 0.1 for 10 %
    least:   USD that have to be spent for it to be worth telling
    calls:   calls that it takes to compare sizes
    days:    earlier days that are compared with
    size:    bytes of a journal
    day, at: of a digest: the weekday ("" daily), the time as "09:00"
    tz:      of calendar windows and digests
    name:    shown before the rule's text
    """

    kind: RuleKind
    per: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    window: str = ""
    long: str = ""
    amount: Decimal = Decimal(0)
    count: int = 0
    factor: Decimal = Decimal(0)
    share: Decimal = Decimal(0)
    least: Decimal = Decimal(0)
    calls: int = 0
    days: int = 7
    size: int = 0
    day: str = ""
    at: str = ""
    tz: str = "UTC"
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read a rule from one line; the reverse of `str(rule)`. Raises ConfigError, naming the line and the word."""
        if not isinstance(text, str):
            raise ConfigError(f"alert rule {text!r} is a {type(text).__name__}, not a line of text; {HOW}")
        try:
            fields = read_fields(text)
        except ConfigError as error:
            raise ConfigError(f"alert rule {text!r}: {error}") from None
        return replace(_DEFAULTS[fields["kind"]], **fields)

    def __str__(self) -> str:
        named = f" named {shlex.quote(self.name)}" if self.name else ""
        return self.text + named

    @property
    def text(self) -> str:
        """The line without the name: what the rule is known by in the store."""
        default = _DEFAULTS[self.kind]
        line = _head(self)
        if self.least != default.least:
            line += f" min {show_usd(self.least)}"
        if self.calls != default.calls:
            line += f" min {self.calls} calls"
        if self.share != default.share and self.kind == "retries":
            line += f" share {_percent(self.share)}"
        if self.days != default.days:
            line += f" days {self.days}"
        if self.per != default.per:
            line += f" per {','.join(self.per) or 'all'}"
        if self.where:
            line += " where " + ",".join([f"{tag}={shlex.quote(value)}" for tag, value in self.where])
        return line + (f" tz {self.tz}" if self.tz != "UTC" else "")

    @property
    def title(self) -> str:
        return self.name or self.text

    def covers(self, tags: Mapping[str, str]) -> bool:
        """Whether a call of these tags is one of those in `where`."""
        return all(tags.get(name, "unattributed") == value for name, value in self.where)


_DEFAULTS: dict[str, Rule] = {
    "refusals": Rule("refusals"),
    "projected": Rule("projected", share=Decimal(1), least=Decimal(1)),
    "burn": Rule("burn", least=Decimal(1)),
    "spike": Rule("spike", window="1h", least=Decimal(10)),
    "call": Rule("call"),
    "request": Rule("request"),
    "payer": Rule("payer", per=("user",)),
    "new model": Rule("new model"),
    "unattributed": Rule("unattributed", per=("user",), least=Decimal(1)),
    "retries": Rule("retries", share=Decimal("0.2"), per=("model",)),
    "input": Rule("input", window="1h", calls=20, per=("feature", "model")),
    "journal": Rule("journal"),
    "digest": Rule("digest"),
}


DEFAULT_RULES = (
    "projected", "burn fast", "burn slow", "spike 3x per feature", "call over $5", "new model",
    "unattributed over 20%/day", "retries 100/15m", "input 3x", "refusals 20/1h", "digest daily 09:00",
)  # fmt: skip
"""A beginning, for who has not chosen any yet: what a preview shows."""


def read_rules(rules: Iterable[str | Rule]) -> tuple[Rule, ...]:
    """Rules, each once. Raises ConfigError for one that cannot be read."""
    if isinstance(rules, (str, Rule)):
        raise ConfigError(f'alert_rules must be a list, not one rule: alert_rules=["{rules}"]')
    found = {}
    for rule in rules:
        made = rule if isinstance(rule, Rule) else Rule.parse(rule)
        found[made.text] = made
    return tuple(found.values())


def rules_of_file(path: str | PathLike[str], *, lenient: bool = False) -> tuple[Rule, ...]:
    """The rules of a TOML file's table [alerts], which may be the budget file; () without one.

    [alerts]
    rules = ["burn fast", "digest daily 09:00"]

    lenient: a file that is no TOML, or is not there, has none: who reads its budgets says so

    Raises ConfigError, naming the file and the rule, for anything that cannot be read.
    """
    import tomllib

    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        if lenient:
            return ()
        raise ConfigError(f"alert rules in {file} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        if lenient:
            return ()
        raise ConfigError(f"alert rules in {file}: it is not TOML: {error}") from None
    table = tables.get("alerts", {})
    lines = table.get("rules", []) if isinstance(table, dict) else None
    unknown = sorted(set(table) - {"rules"}) if isinstance(table, dict) else []
    if unknown or not isinstance(lines, list):
        said = f"has {unknown[0]!r}" if unknown else "has no list 'rules'"
        raise ConfigError(f'{file}, [alerts] {said}; write rules = ["burn fast", "digest daily 09:00"]')
    try:
        return read_rules([line if isinstance(line, str) else str(line) for line in lines])
    except ConfigError as error:
        raise ConfigError(f"{file}, [alerts]: {error}") from None


def _head(rule: Rule) -> str:
    kind = rule.kind
    if kind in ("refusals", "retries"):
        return f"{kind} {rule.count}/{rule.window}"
    if kind in ("call", "request"):
        return f"{kind} over {show_usd(rule.amount)}"
    if kind == "payer":
        return f"payer over {show_usd(rule.amount)}/{rule.window}"
    if kind == "unattributed":
        return f"unattributed over {_percent(rule.share)}/{rule.window}"
    if kind == "journal":
        return f"journal over {show_size(rule.size)}"
    if kind == "projected":
        return kind if rule.share == 1 else f"projected {_percent(rule.share)}"
    if kind == "burn":
        said = (f"{rule.factor.normalize():f}", rule.window, rule.long)
        return next((f"burn {name}" for name, terms in BURNS.items() if terms == said), "burn {}x {}/{}".format(*said))
    if kind in ("spike", "input"):
        return f"{kind} {rule.factor.normalize():f}x" + (f" {rule.window}" if rule.window != "1h" else "")
    if kind == "digest":
        return f"digest {'weekly ' + rule.day if rule.day else 'daily'} {rule.at}"
    return kind


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f}%"


def show_size(size: int) -> str:
    """Bytes in the largest unit that says them wholly: "64MB"."""
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if not size % step:
            return f"{size // step}{unit}"
    return f"{size // 1000}KB"
