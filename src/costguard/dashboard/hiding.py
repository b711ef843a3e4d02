"""Values that only the app may know, such as user ids: shown, hashed or hidden, everywhere alike."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from secrets import token_bytes
from threading import Lock
from typing import Literal

from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.tags import UNATTRIBUTED

Users = Literal["shown", "hashed", "hidden"]
WAYS = ("shown", "hashed", "hidden")

HIDDEN = "hidden"
NOBODY = "\N{SYMBOL FOR NULL}nobody"
"""A value that no call has: of a filter by somebody who is not there."""
_DIGITS = 16
_AGAIN = 5.0
"""Seconds before an unknown hash makes the values be looked up again."""


class Hiding:
    """How the values of some tags are shown.

    way:    "shown"; "hashed": each value has one name, the same on every page and in every process of the same
            secret, that can be filtered by; "hidden": all have the same
    tags:   whose values are treated so
    secret: of "hashed", at least 16 characters: without one, names could be tried out

    Raises ConfigError for what cannot be meant.
    """

    def __init__(self, way: Users = "shown", tags: Sequence[str] = ("user",), secret: str | None = None) -> None:
        if way not in WAYS:
            raise ConfigError(f"users={way!r} is not one of {', '.join(WAYS)}")
        if isinstance(tags, str) or not all(isinstance(name, str) and name.isidentifier() for name in tags):
            raise ConfigError(f"private={tags!r} is no list of tag names; write private=('user', 'session')")
        if secret is not None and (not isinstance(secret, str) or len(secret) < 16):
            raise ConfigError("secret= is shorter than 16 characters; give a random one, the same in all processes")
        if way == "hashed" and secret is None:
            raise ConfigError(
                "users='hashed' needs secret=, a random text of 16 characters or more that all processes share, e.g. "
                "from an environment variable"
            )
        self.way: Users = way
        self.tags = frozenset(tags)
        self._key = (secret or "").encode()
        self._own = self._key or token_bytes(32)
        self._raw: dict[str, dict[str, str]] = {}
        self._asked: dict[str, float] = {}
        self._lock = Lock()

    @property
    def on(self) -> bool:
        return self.way != "shown" and bool(self.tags)

    def hides(self, name: str) -> bool:
        return self.on and name in self.tags

    def show(self, name: str, value: str) -> str:
        """What people see of the value of a tag."""
        if not self.hides(name) or value == UNATTRIBUTED:
            return value
        if self.way == "hidden":
            return HIDDEN
        digest = hmac.new(self._key, f"{name}\0{value}".encode("utf-8", "replace"), sha256).hexdigest()
        return f"{name}-{digest[:_DIGITS]}"

    def show_all(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {name: self.show(name, value) for name, value in tags.items()} if self.on else dict(tags)

    def raw(self, name: str, shown: str, values: Callable[[], Iterable[str]]) -> str | None:
        """The value behind what is shown; None for a name that nobody has.

        values: all values of the tag, asked for where the name is new
        """
        if not self.hides(name) or shown == UNATTRIBUTED:
            return shown
        if self.way == "hidden":
            return None
        with self._lock:
            known = self._raw.get(name, {})
            if shown not in known and time.monotonic() - self._asked.get(name, -_AGAIN) >= _AGAIN:
                known = {self.show(name, value): value for value in values()}
                self._raw[name], self._asked[name] = known, time.monotonic()
            return known.get(shown)

    def looks_hidden(self, name: str, written: str) -> bool:
        """Whether somebody wrote what is shown instead of a value: it is no value itself."""
        if not self.hides(name):
            return False
        return written == HIDDEN or re.fullmatch(rf"{name}-[0-9a-f]{{{_DIGITS}}}", written) is not None

    def key(self, rule: Budget) -> str:
        """A short name of a budget, that tells nothing of it. One that names somebody who is hidden has another one in
        each process, unless there is a secret: those of a known key could be tried out."""
        key = self._own if self._names_somebody(rule) else self._key or b"costguard"
        return hmac.new(key, rule.identity.encode("utf-8", "replace"), sha256).hexdigest()[:12]

    def _names_somebody(self, rule: Budget) -> bool:
        return self.on and any(name in self.tags for name, _ in (*rule.for_, *rule.where))

    @contextmanager
    def unnamed(self, instead: str) -> Iterator[None]:
        """What is wrong with rules names them, and those whom they are for: said so, where these are hidden."""
        try:
            yield
        except ConfigError:
            if not self.on:
                raise
            raise ConfigError(instead) from None

    def budget(self, rule: Budget) -> Budget:
        """A rule as people see it: those whom it is for, and what it counts, may be hidden."""
        if not self._names_somebody(rule):
            return rule
        for_, where = self.show_all(dict(rule.for_)), self.show_all(dict(rule.where))
        return replace(rule, for_=tuple(for_.items()), where=tuple(where.items()))

    def rule(self, text: str) -> str:
        """The same of its text; one that cannot be read is not shown."""
        if not self.on:
            return text
        try:
            return str(self.budget(Budget.parse(text)))
        except ConfigError:
            return HIDDEN

    def title(self, text: str) -> str:
        """The same of a title: the beginning of a rule, or the name that somebody has given it."""
        try:
            return self.budget(Budget.parse(text)).title if self.on else text
        except ConfigError:
            return text
