"""What a report is asked for: the names it goes by, and the calls it is about, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costguard.errors import ConfigError
from costguard.tags import UNATTRIBUTED, Tags

COLUMNS = ("provider", "model", "operation", "status", "day", "hour")
"""What an entry can be added up by, beside its tags; `day` is the UTC date, `hour` an hour of it."""

TIMES = ("day", "hour")
FILTERS = ("provider", "model", "operation", "status")
"""Of these, what calls can be chosen by."""

Where = Mapping[str, str | Sequence[str]]
"""Only calls with these values; of several values for one name, any of them."""

Filter = dict[str, str | Sequence[str]]


def read_by(by: Sequence[str] | str) -> tuple[str, ...]:
    """Names, from a line or a sequence. Raises ConfigError for one that is no name, or twice there."""
    parts = by.split(",") if isinstance(by, str) else by
    names = tuple(part.strip() for part in parts if part.strip())
    for name in names:
        if not name.isidentifier():
            raise ConfigError(f"by {name!r} is not a tag name nor one of {', '.join(COLUMNS)}; write --by user,feature")
    if len(set(names)) < len(names):
        raise ConfigError(f"by {','.join(names)} names something twice")
    return names


def read_where(where: Where | None) -> Filter:
    """A filter as a ledger takes it: values as they are recorded. Raises ConfigError for what chooses nothing."""
    found: Filter = {}
    for name, given in (where or {}).items():
        if name in TIMES:
            raise ConfigError(f"where {name!r} is a time; give since= and until=")
        values = [given] if isinstance(given, str) else list(given)
        read = [_value(name, value) for value in values]
        if not read:
            raise ConfigError(f"where {name!r} has no value; leave it out, or write {UNATTRIBUTED}")
        found[name] = read[0] if isinstance(given, str) else read
    return found


def _value(name: str, value: str) -> str:
    if name in FILTERS:
        # A NUL, or half of a character, is in no name, and no database takes it.
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    # As a call's tags are cleaned when they are recorded.
    cleaned = Tags({name: value}).get(name)
    if cleaned is None:
        raise ConfigError(f"where {name}={value!r} is empty; for calls without this tag write {name}={UNATTRIBUTED}")
    return cleaned


def tags_of(names: Sequence[str]) -> list[str]:
    """Those that are tags."""
    return [name for name in names if name not in COLUMNS]
