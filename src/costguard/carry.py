"""Carrying tags where Python does not copy the context: threads, executors, job queues.

`asyncio` tasks and `asyncio.to_thread` copy the context by themselves. `threading.Thread`,
`ThreadPoolExecutor.submit` and `loop.run_in_executor` do not, and a message in a queue cannot.
"""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import update_wrapper, wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Generic, ParamSpec, TypeVar, cast

from costguard.errors import ConfigError
from costguard.tags import NO_TAGS, Frame, Tags, close_frame, current_frame, current_tags, open_frame, tagged

P = ParamSpec("P")
R = TypeVar("R")

_VERSION = "cg1"
"""Also the name of the algorithm: HMAC-SHA256 over version and payload."""


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


class CarryingExecutor(Executor):
    """An executor that carries the tags of whoever submits: see `carry`.

    ``with CarryingExecutor(ThreadPoolExecutor(8)) as pool: pool.map(summarize, pages)``

    Also for ``loop.run_in_executor(pool, ...)``. `shutdown` shuts the executor inside down.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self._executor.submit(carry(fn), *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


def seal_tags(secret: str | bytes, tags: Tags | None = None) -> str:
    """The current tags (or those given) as one signed, url-safe string, to send along in a job's message.

    Signed, so that whoever can write to the queue cannot choose who pays; not encrypted, so the tags
    can be read. Raises ConfigError for an empty secret.
    """
    payload = json.dumps(
        {"tags": dict(current_tags() if tags is None else tags), "at": int(time.time())},
        separators=(",", ":"),
        ensure_ascii=False,
    )
    signed = f"{_VERSION}.{_encode(payload.encode())}"
    return f"{signed}.{_encode(_sign(signed, secret))}"


def open_sealed(text: str, secret: str | bytes, *, max_age: float | None = None) -> tagged:
    """The sealed tags as a context: ``with open_sealed(message["tags"], SECRET): work()``.

    max_age: seconds after which a sealed string is no longer taken; None takes it for ever.
    Raises ConfigError for anything that `seal_tags` did not make with this secret, and for one too old.
    """
    parts = text.split(".") if isinstance(text, str) else []
    if len(parts) != 3:
        raise ConfigError(f"sealed tags {_shown(text)} are not whole; pass the string of seal_tags() on unchanged")
    version, payload, signature = parts
    if version != _VERSION:
        raise ConfigError(
            f"sealed tags are of version {version[:8]!r}, and this costguard reads {_VERSION!r}; "
            f"use one version on both sides of the queue"
        )
    if not hmac.compare_digest(
        _encode(_sign(f"{version}.{payload}", secret)).encode(), signature.encode("utf-8", "surrogatepass")
    ):
        raise ConfigError(
            f"the signature of the sealed tags {_shown(text)} is wrong; "
            f"seal and open with the same secret, and pass the string on unchanged"
        )
    content = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    age = time.time() - content["at"]
    if max_age is not None and age > max_age:
        raise ConfigError(f"the sealed tags are {age:.0f} s old, and max_age is {max_age:g} s; seal them again")
    return tagged(content["tags"] or NO_TAGS)


def _sign(signed: str, secret: str | bytes) -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    if not isinstance(key, bytes) or not key:
        raise ConfigError("the secret for sealed tags is empty; give the same non-empty str or bytes on both sides")
    return hmac.digest(key, signed.encode("utf-8", "surrogatepass"), "sha256")


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
