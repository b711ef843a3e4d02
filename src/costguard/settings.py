"""The settings of a guard, checked: each error names the setting, its value and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from costguard.admission import OnStoreFailure, OnUnpriced
from costguard.budgets import Holds
from costguard.errors import ConfigError

LEAST_FLOOR = 16
"""The least that OpenAI takes as `max_output_tokens` (API reference of the Responses API)."""

_ALLOWED: Mapping[str, Sequence[str]] = {
    "holds": get_args(Holds), "on_store_failure": get_args(OnStoreFailure), "on_unpriced": get_args(OnUnpriced),
}  # fmt: skip


def check(**settings: Any) -> None:
    """Raise ConfigError for a setting that cannot be meant."""
    for name, value in settings.items():
        if name in _ALLOWED:
            if value not in _ALLOWED[name]:
                raise ConfigError(f"{name} is {value!r}; use one of {', '.join(map(repr, _ALLOWED[name]))}")
        elif name == "fit_floor":
            if type(value) is not int or value < LEAST_FLOOR:
                raise ConfigError(f"fit_floor is {value!r}; give tokens, an integer of at least {LEAST_FLOOR}")
        elif name in ("wait", "hold_lifetime"):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 10**6:
                raise ConfigError(f"{name} is {value!r}; give seconds, zero or more")
        elif not isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}; give True or False")


def channels(alerts: Sequence[Callable[[Any], Any]]) -> tuple[Callable[[Any], Any], ...]:
    """The channels of a guard, a callable each."""
    if callable(alerts) or isinstance(alerts, str):
        raise ConfigError("alerts must be a list of channels, not one: alerts=[slack(url)]")
    for place, channel in enumerate(alerts):
        if not callable(channel):
            # Its value stays out of the message: it may be a webhook's URL, which is a secret.
            kind = type(channel).__name__
            raise ConfigError(f"alerts[{place}] is a {kind} and cannot be called; use slack(url) or a function")
    return tuple(alerts)


def since_ns(since: datetime | timedelta | None) -> int | None:
    """A moment, or how long ago it was, in nanoseconds since 1970."""
    if since is None:
        return None
    return moment_ns(datetime.now(UTC) - since if isinstance(since, timedelta) else since)


def moment_ns(moment: datetime) -> int:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigError(f"{moment!r} is not a datetime with a time zone; use datetime(..., tzinfo=UTC)")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
