"""What the wrappers must know of one SDK, declared: a provider is a row, nothing else is written per provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from costguard.pricing.usage import Usage
from costguard.providers.estimate import delta_pattern
from costguard.providers.policy import Policy
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
    each:        a body of lines, each of them an answer of its own for `read`
    binary:      `read` takes the bytes of the body
    ordered:     every answer starts as pending, whether the request says `background` or not
    event:       parsed event of a stream to what it says in the words of `Meter.take`: usage, model, id, type, error
    lines:       a stream has one JSON object or one `data:` on each line, whatever its content type says
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
    each: bool = False
    binary: bool = False
    event: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    lines: bool = False
    pattern: re.Pattern[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", delta_pattern(*self.deltas))


class Wrapper(Protocol):
    """Makes the wrapper of one function. `policy_of` tells who is asked about a client, None: nobody, and the
    call goes straight through. A client is what the row's `owner` takes: the `self` of the function.
    """

    def __call__(
        self, original: Callable[..., Any], *, row: Provider, policy_of: Callable[[Any], Policy | None]
    ) -> Callable[..., Any]: ...


@dataclass(frozen=True, slots=True)
class Seam:
    """One function of an SDK that is wrapped.

    module, name: "google.genai._api_client", "BaseApiClient.request"; a method is wrapped in the whole class tree,
                  a name without a dot is a function of the module. Left out where a version of the SDK has it not
    """

    module: str
    name: str
    wrap: Wrapper


@dataclass(slots=True, eq=False)
class Provider:
    """A row.

    name:        the provider where the host says nothing else, for example behind a gateway on localhost
    package:     its SDK's import name; the seam of a Stainless SDK is `<package>._base_client`
    routes:      the priced endpoints, the first match wins; any other path is free
    free:        ends of paths that look priced and are free
    hosts:       ends of host names to provider names; "host/path" where the beginning of the path says more
    classes:     beginnings of client class names to provider names, stronger than hosts
    usage_hosts: ends of host names known to accept `stream_options.include_usage`; others may answer 400
    seams:       the functions to wrap, of an SDK that is not Stainless
    clients:     full names of its client classes, for `instrument(client, guard)`
    owner:       a client, or the `self` of a seam, to the object both have in common; None: the client itself
    """

    name: str
    package: str
    routes: tuple[Route, ...]
    free: tuple[str, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)
    usage_hosts: tuple[str, ...] = ()
    seams: tuple[Seam, ...] = ()
    clients: tuple[str, ...] = ()
    owner: Callable[[Any], Any] | None = None
    _known: dict[tuple[str, str], Route | None] = field(default_factory=dict, repr=False)
    _compiled: tuple[tuple[Route, re.Pattern[str]], ...] = field(default=(), repr=False)

    @property
    def stainless(self) -> bool:
        return not self.seams

    @property
    def seam(self) -> str:
        """The module of a Stainless SDK's request function."""
        return f"{self.package}._base_client"

    @property
    def modules(self) -> tuple[str, ...]:
        """What is patched as soon as it is imported."""
        return tuple(dict.fromkeys(seam.module for seam in self.seams)) or (self.seam,)

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

    def at(self, client_class: type, host: str, path: str = "") -> str:
        """The provider's name for a client's class and host, and the path that all its requests begin with."""
        for cls in client_class.__mro__:
            for prefix, name in self.classes.items():
                if cls.__name__.startswith(prefix):
                    return name
        for end, name in self.hosts.items():
            end, slash, begin = end.partition("/")  # noqa: PLW2901
            if (host == end or host.endswith("." + end)) and (not slash or f"{path}/".startswith(f"/{begin}/")):
                return name
        return self.name
