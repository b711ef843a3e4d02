"""Who and what a call is for: immutable `Tags` in one context variable.

The variable holds a small mutable `Frame`, opened once per HTTP request, and code replaces the
immutable tags inside it. A plain context variable set in a synchronous FastAPI dependency is lost,
because the dependency runs in a thread with a copied context; the copy still points at this frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, ParamSpec, TypeVar, cast

from costguard.errors import ConfigError

UNATTRIBUTED = "unattributed"
"""The value of a tag that the app did not give: a payer of its own, visible in every report."""

STANDARD_TAGS = ("user", "feature", "environment", "route", "session")

MAX_VALUE = 200
"""Characters of a tag's value; a longer one is cut, as values may come from a client."""

_STANDARD = frozenset(STANDARD_TAGS)

P = ParamSpec("P")
R = TypeVar("R")


class Tags(Mapping[str, str]):
    """An immutable, hashable mapping of tag names to values, sorted by name.

    ``tags["user"]`` raises KeyError for a tag that was not given; ``tags.user`` and
    ``tags.value("user")`` give ``"unattributed"``.
    """

    __slots__ = ("_hash", "_items", "_values")

    def __init__(self, given: Mapping[str, object] | None = None, /, **more: object) -> None:
        if more:
            given = {**given, **more} if given else more
        values = {}
        for name, value in given.items() if given else ():
            text = _clean(name, value)
            if text is not None:
                values[name] = text
        self._values = values
        self._items = tuple(sorted(values.items()))
        self._hash = hash(self._items)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._items])

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Tags):
            return self._items == other._items
        return dict(self) == other if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return f"Tags({', '.join(f'{name}={value!r}' for name, value in self._items)})"

    def __reduce__(self) -> tuple[type[Tags], tuple[dict[str, str]]]:
        return Tags, (self._values,)

    def value(self, name: str) -> str:
        """The value of one tag, `"unattributed"` where the app gave none."""
        return self._values.get(name, UNATTRIBUTED)

    @property
    def user(self) -> str:
        return self.value("user")

    @property
    def feature(self) -> str:
        return self.value("feature")

    @property
    def environment(self) -> str:
        return self.value("environment")

    @property
    def route(self) -> str:
        return self.value("route")

    @property
    def session(self) -> str:
        return self.value("session")

    def with_(self, given: Mapping[str, object]) -> Tags:
        """These tags with some replaced; a value of None takes a tag away."""
        return Tags({**self._values, **given})


def _clean(name: str, value: object) -> str | None:
    if name not in _STANDARD and (not isinstance(name, str) or not name.isidentifier()):
        raise ConfigError(f"tag name {name!r} is not a name; use letters, digits and _, for example user or team_id")
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value)
    if not (text.isascii() and text.isprintable()):
        # A NUL cannot be stored by PostgreSQL; surrogates cannot be encoded by any store.
        text = text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return text.strip()[:MAX_VALUE].rstrip() or None


NO_TAGS = Tags()


class Frame:
    """The tags of one request (or block), and what its calls have cost so far.

    block:  the `tagged` that opened it, None for that of a request
    tags:   replaced as a whole by `bind`, never mutated
    route:  gives the route template when first asked: it is known only after routing
    cost:   nano-dollars of the priced calls settled in this frame and in those inside it
    calls:  how many calls were settled; `unpriced` of them without a price
    accounts: of the limits on one request, by key: what is spent and held; None before the first
    downgraded: pairs of the model that was asked for and the one that was asked instead, each pair once
    """

    __slots__ = ("accounts", "block", "calls", "cost", "downgraded", "parent", "route", "tags", "unpriced")

    def __init__(
        self,
        tags: Tags = NO_TAGS,
        *,
        parent: Frame | None = None,
        route: Callable[[], str | None] | None = None,
    ) -> None:
        self.tags = tags
        self.parent = parent
        self.route = route
        self.block: object = None
        self.cost = 0
        self.calls = 0
        self.unpriced = 0
        self.accounts: dict[str, list[int]] | None = None
        self.downgraded: tuple[tuple[str, str], ...] = ()

    def current(self) -> Tags:
        """The tags now, with the route template as soon as the router has chosen one."""
        tags = self.tags
        if self.route is not None and "route" not in tags._values:
            route = self.route()
            if route:
                tags = self.tags = tags.with_({"route": route})
        return tags

    def bind(self, given: Mapping[str, object]) -> None:
        self.tags = self.current().with_(given)

    def add(self, cost: int | None) -> None:
        """Count one settled call: nano-dollars, or None where it had no price."""
        frame: Frame | None = self
        while frame is not None:
            frame.calls += 1
            if cost is None:
                frame.unpriced += 1
            else:
                frame.cost += cost
            frame = frame.parent

    def downgrade(self, asked: str, model: str) -> None:
        """A budget had another model asked than the app."""
        frame: Frame | None = self
        while frame is not None:
            if (asked, model) not in frame.downgraded:
                frame.downgraded += ((asked, model),)
            frame = frame.parent


_frame: ContextVar[Frame | None] = ContextVar("costguard_frame", default=None)


def current_frame() -> Frame | None:
    """The frame of the running request or `tagged` block, None outside of both."""
    return _frame.get()


def open_frame(frame: Frame) -> Token[Frame | None]:
    """Make `frame` the current one; give the token to `close_frame` in a `finally`."""
    return _frame.set(frame)


def close_frame(token: Token[Frame | None]) -> None:
    """Go back to the frame before. Harmless in another context, where long streams are closed:
    there the variable was never set, so there is nothing to restore."""
    with suppress(ValueError):
        _frame.reset(token)


def current_tags() -> Tags:
    """The tags that a call made now would get."""
    frame = _frame.get()
    return NO_TAGS if frame is None else frame.current()


def bind_tags(given: Mapping[str, object] | None = None, /, **tags: object) -> Tags:
    """Refine the tags of the current request (or `tagged` block) and return them.

    Seen by everything that shares the request: dependencies, the view, its stream and its
    background tasks. Outside a request the tags hold for the rest of the current context.
    """
    frame = _frame.get()
    if frame is None:
        frame = Frame()
        _frame.set(frame)
    frame.bind({**(given or {}), **tags})
    return frame.tags


class tagged:
    """Context manager (sync and async) and decorator: calls made inside carry these tags too.

    >>> with tagged(user="alice", feature="chat"):
    ...     current_tags().user
    'alice'
    """

    def __init__(self, given: Mapping[str, object] | None = None, /, **tags: object) -> None:
        self._given = {**(given or {}), **tags}
        Tags(self._given)

    def __enter__(self) -> Tags:
        parent = _frame.get()
        tags = Tags(self._given) if parent is None else parent.current().with_(self._given)
        frame = Frame(tags, parent=parent, route=parent.route if parent else None)
        frame.block = self
        _frame.set(frame)
        return frame.current()

    def __exit__(self, *_: object) -> None:
        # Found by its block, not by a token kept here: one `tagged` may be open in many threads and tasks at
        # once, and a generator may be closed in another context than it was opened in.
        frame = _frame.get()
        while frame is not None and frame.block is not self:
            frame = frame.parent
        if frame is not None:
            _frame.set(frame.parent)

    async def __aenter__(self) -> Tags:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise ConfigError(
                f"tagged() cannot decorate the generator {function.__qualname__!r}, whose body runs after the call; "
                f"use `with tagged(...)` inside it"
            )
        if iscoroutinefunction(function):

            @wraps(function)
            async def run(*args: Any, **kwargs: Any) -> Any:
                with tagged(self._given):
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", run)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with tagged(self._given):
                return function(*args, **kwargs)

        return call
