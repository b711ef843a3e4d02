"""An app seen from inside: imported, and looked at for its guard, the middleware and the instrumentation."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any

from costguard.doctor_finding import Finding
from costguard.doctor_store import workers
from costguard.errors import CostGuardError
from costguard.guard import Guard
from costguard.providers.instrument import patched

_DEEPEST = 20
"""Apps inside of apps."""


@dataclass(slots=True)
class Found:
    """What the import of an app brought: the app, None where it failed, and the guards that it made."""

    app: Any = None
    guards: list[Guard] = field(default_factory=list)
    failed: str = ""

    @property
    def store(self) -> str | None:
        """The URL of the first guard's store; without a password."""
        return self.guards[0].ledger.url if self.guards else None


@contextmanager
def load(name: str | None, *, factory: bool = False) -> Iterator[Found]:
    """Import "module:attribute" from the working directory, and close its guards afterwards."""
    found = Found()
    if name is None:
        yield found
        return
    known = {id(guard) for guard in _guards()}
    module, colon, path = name.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        if not (module and colon and path):
            raise ImportError(f"{name!r} is not module:attribute, such as app.main:app")
        # What an app prints as it starts is none of what `costguard doctor --json` says.
        with redirect_stdout(sys.stderr):
            made: Any = importlib.import_module(module)
            for part in path.split("."):
                made = getattr(made, part)
            found.app = made() if factory else made
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the app's own code: whatever it raises is the finding
        found.failed = f"{type(error).__name__}: {error}"
    found.guards = [guard for guard in _guards() if id(guard) not in known]
    try:
        yield found
    finally:
        for guard in found.guards:
            with suppress(CostGuardError):
                guard.uninstrument()
                guard.close()


def _guards() -> list[Guard]:
    # Nobody keeps a list of them, so that each can be forgotten.
    return [each for each in gc.get_objects() if isinstance(each, Guard)]


def look_at_app(found: Found, around: Mapping[str, str]) -> Iterator[Finding]:
    if found.failed:
        yield Finding(
            "app", "problem", f"it cannot be imported: {' '.join(found.failed.split())[:500]}",
            "run the doctor where the app runs, with its settings; a function that makes the app needs --factory",
        )  # fmt: skip
        return
    kind = _kind(found.app)
    if not found.guards:
        yield Finding(
            "app", "problem", "there is no Guard after its import",
            "make it where the module is imported; one that is made at start-up cannot be seen from here",
        )  # fmt: skip
        return
    if len(found.guards) > 1:
        yield Finding(
            "app", "warning", f"{len(found.guards)} guards: the one that instrumented last is asked about every call",
            "make one, and share it",
        )  # fmt: skip
    guard = found.guards[0]
    if kind is None:
        yield Finding(
            "app",
            "note",
            f"{type(found.app).__name__} is no app that is known here: its middleware cannot be looked for",
        )
    elif _tagged(found.app, kind):
        yield Finding("app", "ok", f"the {kind} app has the middleware: calls get user, feature and route")
    else:
        yield Finding(
            "app", "problem", f"the {kind} app has no middleware of ours: calls have no user and no route, and a "
            "refusal is an error 500", _INSTALL[kind],
        )  # fmt: skip
    if any(each._installed for each in found.guards):
        yield Finding("app", "ok", f"instrumented: {', '.join(patched()) or 'no SDK is installed'}")
    else:
        yield Finding(
            "app", "problem", "no SDK is instrumented after its import: calls are neither counted nor refused",
            "call guard.instrument() after Guard(...), or instrument(client, guard) for one client",
        )  # fmt: skip
    yield from _channels(guard)
    if guard.ledger.url.startswith("memory:") and workers(around) > 1:
        yield Finding(
            "app", "problem", f"a ledger in memory with {workers(around)} workers: each has budgets of its own",
            "give a database",
        )  # fmt: skip


_INSTALL = {
    "Starlette": "costguard.web.fastapi.install(app, guard, user=...), or app.add_middleware(CostGuardMiddleware, ...)",
    "Flask": "costguard.web.flask.CostGuard(app, guard, user=...)",
    "ASGI": "wrap it: costguard.web.asgi.CostGuardMiddleware(app, guard, user=...)",
}


def _channels(guard: Guard) -> Iterator[Finding]:
    if guard._outbox is None:
        yield Finding(
            "app", "warning", "the guard has no channel: nobody is told when a budget is reached",
            "give Guard(alerts=[slack(url)]), or alerts=[log_channel()]",
        )  # fmt: skip
    else:
        rules = "with alert rules" if guard._schedule is not None else "without alert rules (docs/alert-rules.md)"
        yield Finding("app", "ok", f"alerts are told, {rules}")


def _kind(app: Any) -> str | None:
    names = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(app).__mro__}
    if "starlette.Starlette" in names:
        return "Starlette"
    if "flask.Flask" in names:
        return "Flask"
    return "ASGI" if callable(app) and any(hasattr(app, name) for name in ("app", "wsgi_app", "application")) else None


def _tagged(app: Any, kind: str) -> bool:
    """Whether our middleware is anywhere in it: added to it, around it, or around what it wraps."""
    for _ in range(_DEEPEST):
        if app is None:
            return False
        if _ours(type(app)) or "costguard" in getattr(app, "extensions", {}):
            return True
        if any(_ours(getattr(each, "cls", None)) for each in getattr(app, "user_middleware", ())):
            return True
        if kind == "Starlette" and any(_ours_in(route) for route in getattr(app, "routes", ())):
            return True
        app = next((getattr(app, name) for name in ("app", "wsgi_app", "application") if hasattr(app, name)), None)
    return False


def _ours_in(route: Any) -> bool:
    inner = getattr(route, "app", None)
    return _ours(type(inner)) or any(
        _ours(getattr(each, "cls", None)) for each in getattr(inner, "user_middleware", ())
    )


def _ours(cls: Any) -> bool:
    return isinstance(cls, type) and cls.__module__.startswith("costguard.web.")
