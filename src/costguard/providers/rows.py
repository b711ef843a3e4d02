"""What the wrappers must know of one SDK, declared: a provider is a row, nothing else is written per provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from costguard.pricing.usage import Usage
from costguard.providers.estimate import delta_pattern
from costguard.providers.usage import Reader

MAX_PATHS = 1_024
"""Paths whose route is remembered; ids make them endless, so that a full memory is thrown away."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One priced endpoint.

    path:        a regular expression that the end of the path matches, without a query
    operation:   what `Call.operation` says
    read:        response to `Answer`
    max_output:  names of the caller's ceiling on the output, the first one given wins
    sets:        the name of that ceiling by provider, "" for any other: what to set where the caller gave none;
                 empty where the API has none
    before_answer: path to tokens of the ceiling that are not for the answer, such as a thinking budget
    choices:     names of multipliers of the output, such as `n`
    produces_output: False where output costs nothing, as with embeddings
    deltas:      names of the fields that carry generated text in the events of a stream
    merge:       usage in later events completes that of earlier ones instead of replacing it
    inject:      streams report usage only if `stream_options.include_usage` is asked for
    guess:       (request body, answer) to Usage, for answers that never report any; None: by their text
    poll:        asks for an answer that was ordered before: it holds nothing and is counted once
    ordered:     every answer starts as pending, whether the request says `background` or not
    """

    path: str
    operation: str
    read: Reader
    method: str = "post"
    max_output: tuple[str, ...] = ()
    sets: Mapping[str, str] = field(default_factory=dict)
    before_answer: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    produces_output: bool = True
    deltas: tuple[str, ...] = ("text",)
    merge: bool = False
    inject: bool = False
    guess: Callable[[Mapping[str, Any], Any], Usage] | None = None
    poll: bool = False
    ordered: bool = False
    pattern: re.Pattern[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", delta_pattern(*self.deltas))


@dataclass(slots=True, eq=False)
class Provider:
    """A row.

    name:        the provider where the host says nothing else, for example behind a gateway on localhost
    package:     its SDK's import name; the seam is `<package>._base_client`
    routes:      the priced endpoints, the first match wins; any other path is free
    free:        ends of paths that look priced and are free
    hosts:       ends of host names to provider names
    classes:     beginnings of client class names to provider names, stronger than hosts
    usage_hosts: ends of host names known to accept `stream_options.include_usage`; others may answer 400
    """

    name: str
    package: str
    routes: tuple[Route, ...]
    shape: Literal["stainless"] = "stainless"
    free: tuple[str, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)
    usage_hosts: tuple[str, ...] = ()
    _known: dict[tuple[str, str], Route | None] = field(default_factory=dict, repr=False)
    _compiled: tuple[tuple[Route, re.Pattern[str]], ...] = field(default=(), repr=False)

    @property
    def seam(self) -> str:
        return f"{self.package}._base_client"

    def route(self, method: str, url: str) -> Route | None:
        """The priced endpoint of a request, None if it is free. `url` may be relative and have a query."""
        key = (method, url)
        try:
            return self._known[key]
        except KeyError:
            pass
        if len(self._known) >= MAX_PATHS:
            self._known.clear()
        found = self._known[key] = self._find(method.lower(), url)
        return found

    def _find(self, method: str, url: str) -> Route | None:
        path = url.split("?", 1)[0].split("#", 1)[0].rstrip("/")
        if path.endswith(self.free):
            return None
        if not self._compiled:
            self._compiled = tuple((route, re.compile(f"(?:^|/){route.path}$")) for route in self.routes)
        for route, pattern in self._compiled:
            if route.method == method and pattern.search(path):
                return route
        return None

    def at(self, client_class: type, host: str) -> str:
        """The provider's name for a client's class and host."""
        for cls in client_class.__mro__:
            for prefix, name in self.classes.items():
                if cls.__name__.startswith(prefix):
                    return name
        for end, name in self.hosts.items():
            if host == end or host.endswith("." + end):
                return name
        return self.name
