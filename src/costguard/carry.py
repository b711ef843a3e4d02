"""Carrying tags where Python does not copy the context: into threads, and whatever calls a function later.

`asyncio` tasks and `asyncio.to_thread` copy the context by themselves. `threading.Thread`,
`ThreadPoolExecutor.submit` and `loop.run_in_executor` do not; for executors see also `executors`, for
messages in a queue `sealing`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper, wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Generic, ParamSpec, TypeVar, cast

from costguard.errors import ConfigError
from costguard.tags import Frame, Tags, close_frame, current_frame, current_tags, open_frame

P = ParamSpec("P")
R = TypeVar("R")


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Bind a function to the tags of this moment, for another thread to call.

    ``Thread(target=carry(work))``, ``executor.submit(carry(work), x)``,
    ``loop.run_in_executor(None, carry(work))``

    Each call gets a frame of its own inside the current one: what it costs adds up to the request,
    what it binds stays its own, and nothing is left behind in a pooled thread. A plain function that
    can be pickled still can be after carrying: a process pool takes the tags along, but its costs
    do not come back to the request.

    Raises ConfigError for a generator function, whose body runs after the call.
    """
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise ConfigError(
            f"carry() cannot carry the generator {function.__qualname__!r}, whose body runs after the call; "
            f"carry the function that reads it"
        )
    carried: _Carried[P, R] = _Carried(function, current_tags(), current_frame())
    if not iscoroutinefunction(function):
        return carried

    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        token = open_frame(carried.frame())
        try:
            return await function(*args, **kwargs)
        finally:
            close_frame(token)

    return cast("Callable[P, R]", run)


class _Carried(Generic[P, R]):
    """A class, not a closure, so that it can be pickled; the frame stays behind then."""

    def __init__(self, function: Callable[P, R], tags: Tags, parent: Frame | None) -> None:
        update_wrapper(self, function)
        self._function = function
        self._tags = tags
        self._parent = parent

    def frame(self) -> Frame:
        parent = self._parent
        return Frame(self._tags, parent=parent, route=parent.route if parent else None)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        token = open_frame(self.frame())
        try:
            return self._function(*args, **kwargs)
        finally:
            close_frame(token)

    def __reduce__(self) -> tuple[type[_Carried[P, R]], tuple[Callable[P, R], Tags, None]]:
        return type(self), (self._function, self._tags, None)
