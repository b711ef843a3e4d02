"""The language of alert rules: a line read into the fields of a rule."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from costguard.errors import ConfigError
from costguard.money import usd
from costguard.tags import Tags
from costguard.windows import read_span, show_span, zone

RuleKind = Literal[
    "refusals", "projected", "burn", "spike", "call", "request", "payer", "new model", "unattributed", "retries",
    "input", "journal", "digest",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(RuleKind)

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
CALENDAR = ("hour", "day", "week", "month")

_SIZES = {"KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
BURNS = {"fast": ("14.4", "5m", "1h"), "slow": ("1", "6h", "3d")}
_OPTIONS = ("per", "where", "min", "share", "days", "tz", "named")
HOW = 'write it like "burn fast", "spike 3x min $10 per feature" or "digest daily 09:00"'


def read_fields(text: str) -> dict[str, Any]:
    """The fields of a rule that its line says, "kind" always. Raises ConfigError, naming the word."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{error}; {HOW}") from None
    if not words:
        raise ConfigError(f"it is empty; {HOW}")
    kind, rest = (" ".join(words[:2]), words[2:]) if words[:2] == ["new", "model"] else (words[0], words[1:])
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is not one of {', '.join(KINDS)}")
    place = next((number for number, word in enumerate(rest) if word in _OPTIONS), len(rest))
    return {"kind": kind, **_main(kind, rest[:place]), **_options(kind, rest[place:])}


def _main(kind: str, words: list[str]) -> dict[str, Any]:
    """What stands between the kind and the options."""
    if kind in ("refusals", "retries"):
        count, window = _over(words, kind, "10/1h")
        return {"count": _whole(count, kind), "window": _window(window, calendar=kind == "refusals")}
    if kind in ("call", "request", "payer", "unattributed", "journal") and words[:1] == ["over"]:
        words = words[1:]
    if kind in ("call", "request"):
        return {"amount": _money(_one(words, f"{kind} over $2"))}
    if kind == "payer":
        amount, window = _over(words, kind, "over $20/day")
        return {"amount": _money(amount), "window": _window(window, calendar=True, only=True)}
    if kind == "unattributed":
        share, window = _over(words, kind, "over 10%/day")
        return {"share": _share(share), "window": _window(window, calendar=True, only=True)}
    if kind == "journal":
        return {"size": _bytes(_one(words, "journal over 64MB"))}
    if kind == "projected":
        return {"share": _share(words[0])} if _at_most(words, 1, kind) else {}
    if kind == "burn":
        return _burn(words)
    if kind in ("spike", "input"):
        _at_most(words, 2, kind)
        if not words:
            raise ConfigError(f"a factor is missing; write {kind} 3x")
        factor = {"factor": _factor(words[0])}
        return factor if len(words) == 1 else {**factor, "window": _window(words[1])}
    if kind == "digest":
        return _digest(words)
    _at_most(words, 0, kind)
    return {}


def _burn(words: list[str]) -> dict[str, Any]:
    if len(words) == 1 and words[0] in BURNS:
        factor, short, long = BURNS[words[0]]
    elif len(words) == 2 and words[1].count("/") == 1:
        factor, (short, long) = words[0].removesuffix("x"), words[1].split("/")
    else:
        raise ConfigError("write burn fast, burn slow, or a factor and two spans: burn 10x 30m/6h")
    _window(short), _window(long)
    if (read_span(short) or timedelta()) >= (read_span(long) or timedelta()):
        raise ConfigError(f"{short}/{long}: the shorter span comes first")
    return {"factor": _factor(factor), "window": short, "long": long}


def _digest(words: list[str]) -> dict[str, Any]:
    day = ""
    if words[:1] == ["weekly"]:
        day, words = "monday", words[1:]
        if words and words[0].lower() in DAYS:
            day, words = words[0].lower(), words[1:]
    elif words[:1] == ["daily"]:
        words = words[1:]
    else:
        raise ConfigError("write digest daily 09:00, or digest weekly monday 09:00")
    _at_most(words, 1, "digest")
    at = words[0] if words else "09:00"
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at):
        raise ConfigError(f"{at!r} is no time of day; write it as 09:00")
    return {"day": day, "at": at}


def _options(kind: str, words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while words:
        option, words = words[0], words[1:]
        if option not in _OPTIONS:
            raise ConfigError(f"{option!r} is not one of {', '.join(_OPTIONS)}")
        if not words:
            raise ConfigError(f"{option!r} is the last word; say what")
        value, words = words[0], words[1:]
        if option == "per":
            names = () if value == "all" else tuple(value.split(","))
            Tags(dict.fromkeys([name for name in names if name not in ("model", "provider")], "x"))
            if kind in ("unattributed", "payer") and (not names or (kind == "unattributed" and names[1:])):
                raise ConfigError(f"per {value!r}: name the tag, such as per user")
            found["per"] = names
        elif option == "where":
            pairs = [pair.partition("=") for pair in value.split(",")]
            if not all(name and equals and given for name, equals, given in pairs):
                raise ConfigError(f"where {value!r} is not tag=value")
            found["where"] = tuple(Tags({name: given for name, _, given in pairs}).items())
        elif option == "min":
            if words[:1] == ["calls"]:
                found["calls"], words = _whole(value, "min"), words[1:]
            else:
                found["least"] = _money(value)
        elif option == "share":
            found["share"] = _share(value)
        elif option == "days":
            found["days"] = _whole(value, "days")
        elif option == "tz":
            zone(value)
            found["tz"] = value
        else:
            found["name"] = value
    if found.get("days", 1) > 28:
        raise ConfigError(f"days {found['days']}: 28 at most")
    return found


def _one(words: list[str], example: str) -> str:
    if len(words) != 1:
        raise ConfigError(f"write {example}")
    return words[0]


def _over(words: list[str], kind: str, example: str) -> tuple[str, str]:
    amount, slash, window = _one(words, f"{kind} {example}").partition("/")
    if not slash:
        raise ConfigError(f"the window is missing; write {kind} {example}")
    return amount, window


def _at_most(words: list[str], most: int, kind: str) -> bool:
    if len(words) > most:
        raise ConfigError(f"{words[most]!r} is too much for {kind}; options are {', '.join(_OPTIONS)}")
    return bool(words)


def _whole(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10**9):
        raise ConfigError(f"{what} {text!r} is not a whole number above zero")
    return int(text)


def _money(text: str) -> Decimal:
    return usd(text, what="amount")


def _number(text: str, what: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or not 0 < number <= 10**6:
        raise ConfigError(f"{what} {text!r} is not a number above zero")
    return number


def _factor(text: str) -> Decimal:
    return _number(text.removesuffix("x"), "factor")


def _share(text: str) -> Decimal:
    if not text.endswith("%"):
        raise ConfigError(f"share {text!r} is not a percentage; write it as 10%")
    return _number(text[:-1], "share") / 100


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})\s*([KMG]I?B)", text.upper())
    if match is None or not int(match[1]):
        raise ConfigError(f"size {text!r} is not one such as 64MB")
    return int(match[1]) * _SIZES[match[2]]


def _window(text: str, *, calendar: bool = False, only: bool = False) -> str:
    if calendar and text in CALENDAR:
        return text
    if only:
        raise ConfigError(f"window {text!r} is not one of {', '.join(CALENDAR)}")
    span = read_span(text)
    if span is None or not timedelta(minutes=5) <= span <= timedelta(days=31) or span % timedelta(minutes=5):
        raise ConfigError(f"span {text!r} must be one such as 15m, 1h or 3d: in steps of 5m, at most 31d")
    return show_span(span)
