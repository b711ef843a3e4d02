"""Route decorators: a budget or a feature for one view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import wraps
from inspect import iscoroutinefunction, signature
from typing import Any, TypeVar, cast

from costguard.budget_set import BudgetSet
from costguard.budgets import Budget, Holds
from costguard.errors import ConfigError
from costguard.tags import Tags, bind_tags, current_frame, current_tags, tagged

F = TypeVar("F", bound=Callable[..., Any])


def budget_route(
    budgets: BudgetSet,
    check: Callable[[Tags], None],
    check_async: Callable[[Tags], Awaitable[None]],
    limit: str,
    *,
    per: str | Sequence[str],
    where: Mapping[str, str],
    holds: Holds | None,
) -> Callable[[F], F]:
    """A budget counted by the tag `route`, which is known when the view is first called: the route template
    in a web framework, the view's name elsewhere."""
    rule = Budget.parse(limit)
    given = (per,) if isinstance(per, str) else tuple(per)
    rule = replace(
        rule,
        per=given or rule.per,
        where=cast("Any", {**dict(rule.where), **where}),
        holds=holds or rule.holds,
    )
    if "route" in dict(rule.where):
        raise ConfigError(f"budget {limit!r} on a view names its own route; leave `where route=` out")
    registered: set[str] = set()

    def known(view: Callable[..., Any]) -> Tags:
        route = current_tags().get("route") or view.__qualname__
        if route not in registered:
            budgets.add(replace(rule, where=cast("Any", {**dict(rule.where), "route": route})))
            registered.add(route)
        return current_tags()

    def decorate(view: F) -> F:
        return _around(view, {}, (lambda view: check(known(view)), lambda view: check_async(known(view))))

    return decorate


def feature_route(name: str) -> Callable[[F], F]:
    """The tag `feature` for the rest of the request, so that streams and background tasks keep it."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f'feature {name!r} is not a name; write @guard.feature("chat")')

    def decorate(view: F) -> F:
        return _around(view, {"feature": name}, None)

    return decorate


_View = Callable[..., Any]
_Door = tuple[Callable[[_View], None], Callable[[_View], Awaitable[None]]]
"""The check before a view, for sync and for async ones."""


def _around(view: F, tags: Mapping[str, object], door: _Door | None) -> F:
    if isinstance(view, (str, Budget)) or not callable(view):
        raise ConfigError(f"{view!r} is not a view; decorate a function, below the framework's own route decorator")

    def bind() -> AbstractContextManager[object]:
        # In a request the tags go into its frame and stay: a streamed body runs after the view returned.
        if current_frame() is not None:
            route = current_tags().get("route")
            bind_tags(tags if route or door is None else {**tags, "route": view.__qualname__})
            return nullcontext()
        return tagged({**tags, "route": view.__qualname__} if door is not None else tags)

    if iscoroutinefunction(view):

        @wraps(view)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with bind():
                if door is not None:
                    await door[1](view)
                return await view(*args, **kwargs)

        wrapper: Callable[..., Any] = run
    else:

        @wraps(view)
        def call(*args: Any, **kwargs: Any) -> Any:
            with bind():
                if door is not None:
                    door[0](view)
                return view(*args, **kwargs)

        wrapper = call
    # FastAPI before 0.120 resolves annotations written as text in the globals of the function it is given,
    # which would be this module's; names imported for type checking only cannot be resolved at all.
    with suppress(NameError):
        wrapper.__signature__ = signature(view, eval_str=True)  # type: ignore[attr-defined]
    return cast("F", wrapper)
