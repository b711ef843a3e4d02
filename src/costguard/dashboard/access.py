"""Who may see the dashboard, and who may change anything: what the app's `authorize` said, read strictly."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from costguard.errors import ConfigError

Role = Literal["viewer", "operator"]
ROLES: tuple[str, ...] = ("viewer", "operator")

Authorize = Callable[[Any], Any]
"""A Starlette `Request` to None (nobody), "viewer", "operator", or an object with `name` and `role`; may be async."""

WAYS_OUT = (
    'give authorize=: a function of a request that returns None, "viewer" or "operator", or an object with name and '
    "role; on your own machine run: costguard dashboard"
)

_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. `name` is "" where the app did not say it: then the author of a change is asked for."""

    role: Role
    name: str = ""

    @property
    def operator(self) -> bool:
        return self.role == "operator"

    @classmethod
    def read(cls, said: object) -> Person | None:
        """What `authorize` returned. Raises ConfigError, naming it, for what is none of its answers."""
        if said is None:
            return None
        role: Any = said if isinstance(said, str) else getattr(said, "role", None)
        if role not in ROLES:
            raise ConfigError(
                f"authorize returned {type(said).__name__} {said!r}, which is no answer; return None, "
                f'"viewer" or "operator", or an object with name and role'
            )
        name = "" if isinstance(said, str) else str(getattr(said, "name", "") or "")
        clean = "".join(letter if letter.isprintable() else " " for letter in name)
        return cls(role, " ".join(clean.split())[:_LONGEST_NAME])


async def ask(authorize: Authorize, request: Any, off_loop: Callable[[Callable[[], Any]], Awaitable[Any]]) -> Any:
    """What `authorize` says; one that is not async runs in a thread, as it may look into a database."""
    if inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(getattr(authorize, "__call__", None)):  # noqa: B004
        return await authorize(request)
    said = await off_loop(lambda: authorize(request))
    return await said if inspect.isawaitable(said) else said
