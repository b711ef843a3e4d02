"""Switching the wrappers on and off: for every installed SDK, or for one client.

A policy given last is asked first, and alone; taking it away brings back the one before.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any
from weakref import WeakSet

from costguard.errors import ConfigError
from costguard.providers.collected import drain
from costguard.providers.outer import outermost
from costguard.providers.patching import ClassPatch, ImportHook, claim
from costguard.providers.policy import Policy
from costguard.providers.registry import ROWS
from costguard.providers.rows import Provider
from costguard.providers.seams import Seams
from costguard.providers.shapes import RETRY, Tripwire, async_request, before_retry, sync_request
from costguard.providers.site import add_usage_hosts, forget_usage_hosts

__all__ = ["ROWS", "drain", "install", "instrument", "instrument_client", "patched", "uninstall", "uninstrument_client"]

log = logging.getLogger("costguard.providers")

_lock = threading.RLock()
_policies: list[Policy] = []
_patches: dict[str, list[ClassPatch]] = {}
_tripwires: dict[str, ClassPatch] = {}
_noticing: dict[str, Tripwire] = {}
_seams: dict[str, Seams] = {}

_clients: WeakSet[Any] = WeakSet()

_CLIENT = "_costguard_client"


def _policy() -> Policy | None:
    return outermost(_policies[-1] if _policies else None)


def install(policy: Policy, *, usage_hosts: Iterable[str] = ()) -> None:
    """Ask `policy` about every call of every client of every SDK known here, imported now or later.

    Idempotent; a policy installed before becomes the one that is asked.

    usage_hosts: hosts beyond the known ones that accept `stream_options.include_usage`, such as
        "gateway.example.com" or "127.0.0.1:8000"
    """
    with _lock:
        add_usage_hosts(usage_hosts)
        _policies[:] = [*(each for each in _policies if each is not policy), policy]
        for tripwire in _noticing.values():
            tripwire.forget()
        for row in ROWS:
            if any(module in sys.modules for module in row.modules):
                _patch(row)
        _hook.add()


def uninstall(policy: Policy) -> None:
    """Take a policy away, wherever it stands; with the last one the SDKs get their own functions back."""
    with _lock:
        _policies[:] = [each for each in _policies if each is not policy]
        if _policies:
            return
        forget_usage_hosts()
        _hook.remove()
        for patches in _patches.values():
            for patch in patches:
                patch.undo()
        _patches.clear()
        for seams in _seams.values():
            seams.undo()
        if not _clients:
            for tripwire in _tripwires.values():
                tripwire.undo()
            _tripwires.clear()


def patched() -> list[str]:
    """Names of the SDKs whose calls are seen: those imported, and those installed that will be when imported."""
    with _lock:
        if not _policies:
            return []
        found = [row.package for row in ROWS if row.package in _patches or _installed(row.package)]
        return list(dict.fromkeys(found))


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        # The parent of a dotted name, such as `google` of `google.genai`.
        return False


def _patch(row: Provider) -> None:
    if not row.stainless:
        _seams_of(row).apply()
        return
    module = sys.modules[row.seam]
    try:
        sync, asynchronous = module.SyncAPIClient, module.AsyncAPIClient
        _trip(row)
    except AttributeError as error:
        log.error(
            "%s has no %s any more, so that its calls are not seen; this version of costguard does not know it",
            row.package,
            error,
        )
        return
    if row.package not in _patches:
        _patches[row.package] = [
            ClassPatch(sync, "request", lambda original: sync_request(original, row, _policy)),
            ClassPatch(asynchronous, "request", lambda original: async_request(original, row, _policy)),
            *(ClassPatch(cls, RETRY, before_retry) for cls in (sync, asynchronous) if hasattr(cls, RETRY)),
        ]
    for patch in _patches[row.package]:
        patch.apply()


def _seams_of(row: Provider) -> Seams:
    if row.package not in _seams:
        _seams[row.package] = Seams(row, _policy)
    return _seams[row.package]


def _trip(row: Provider) -> None:
    """Count attempts, for all clients of an SDK; it stays as long as single clients need it too."""
    if row.package not in _tripwires:
        base = sys.modules[row.seam].BaseClient
        _noticing[row.package] = Tripwire(row, _policy, _mend)
        _tripwires[row.package] = ClassPatch(base, "_build_request", _noticing[row.package].wrap)
    # Subclasses call the base's, which is passed exactly once.
    _tripwires[row.package].apply(base_only=True)


def _mend(row: Provider) -> None:
    with _lock:
        if _policies:
            _patch(row)


def _imported(name: str) -> None:
    with _lock:
        for row in ROWS:
            if name in row.modules and _policies:
                try:
                    _patch(row)
                except Exception:
                    log.exception("costguard could not instrument %s", row.package)


_hook = ImportHook([module for row in ROWS for module in row.modules], _imported)


class _ClientPatch:
    """What was done to one client: its policy, and its attributes from before."""

    def __init__(self, client: Any, policy: Policy) -> None:
        self.policy: Policy | None = policy
        self.before = {name: vars(client).get(name) for name in ("request", "copy", "with_options")}
        self.put: dict[str, Any] = {}

    def current(self) -> Policy | None:
        return outermost(self.policy)


def instrument_client(client: Any, policy: Policy) -> None:
    """Ask `policy` about the calls of this client, and of the copies that `with_options()` and `copy()` make.

    It comes before a policy of all clients. Idempotent; with another policy, that one takes over.

    Raises ConfigError for anything but a client of an SDK known here.
    """
    seams = _seams_for(client)
    if seams is not None:
        with _lock:
            seams.watch(client, policy)
        return
    row, is_async = _row_of(client)
    with _lock:
        known = vars(client).get(_CLIENT)
        if known is not None:
            known.policy = policy
            return
        _trip(row)
        patch = _ClientPatch(client, policy)
        wrap = async_request if is_async else sync_request
        # Wrapped as a function of the client, like the classes' own; looked up when called, so that what is
        # patched on the class later is passed too.
        request = wrap(_underneath(client, patch.before["request"], is_async), row, patch.current)
        patch.put["request"] = claim(_bound(request, client, is_async))
        for name in ("copy", "with_options"):
            patch.put[name] = claim(_copying(client, name, patch))
        vars(client)[_CLIENT] = patch
        _clients.add(client)
        vars(client).update(patch.put)


def uninstrument_client(client: Any) -> None:
    """Undo `instrument_client`; nothing happens to a client that was not instrumented."""
    seams = _seams_for(client)
    if seams is not None:
        with _lock:
            seams.unwatch(client)
        return
    with _lock:
        own = vars(client) if hasattr(client, "__dict__") else {}
        patch = own.pop(_CLIENT, None)
        if patch is None:
            return
        patch.policy = None
        _clients.discard(client)
        for name, function in patch.put.items():
            if own.get(name) is not function:
                continue
            if patch.before[name] is None:
                del own[name]
            else:
                own[name] = patch.before[name]


def instrument(client: Any, guard: Policy) -> None:
    """Let `guard` watch one client and its copies; `uninstrument_client` undoes it. See `instrument_client`."""
    instrument_client(client, guard)


def _seams_for(client: Any) -> Seams | None:
    for row in ROWS:
        if not row.stainless:
            seams = _seams_of(row)
            if seams.owns(client):
                return seams
    return None


def _row_of(client: Any) -> tuple[Provider, bool]:
    for cls in type(client).__mro__:
        for row in ROWS:
            if row.stainless and cls.__module__ == row.seam and cls.__name__ in ("SyncAPIClient", "AsyncAPIClient"):
                return row, cls.__name__ == "AsyncAPIClient"
    raise ConfigError(
        f"instrument() got a {type(client).__module__}.{type(client).__qualname__}; "
        f"it takes a client of {' or '.join(row.package for row in ROWS)}, such as openai.OpenAI()"
    )


def _underneath(client: Any, before: Callable[..., Any] | None, is_async: bool) -> Callable[..., Any]:
    if is_async:

        async def request_async(_client: Any, *args: Any, **kwargs: Any) -> Any:
            below = before or type(client).request.__get__(client)
            return await below(*args, **kwargs)

        return request_async

    def request(_client: Any, *args: Any, **kwargs: Any) -> Any:
        below = before or type(client).request.__get__(client)
        return below(*args, **kwargs)

    return request


def _bound(request: Callable[..., Any], client: Any, is_async: bool) -> Callable[..., Any]:
    if is_async:

        async def bound_async(*args: Any, **kwargs: Any) -> Any:
            return await request(client, *args, **kwargs)

        return bound_async

    def bound(*args: Any, **kwargs: Any) -> Any:
        return request(client, *args, **kwargs)

    return bound


def _copying(client: Any, name: str, patch: _ClientPatch) -> Callable[..., Any]:
    below = patch.before[name]

    @wraps(getattr(type(client), name))
    def copy(*args: Any, **kwargs: Any) -> Any:
        made = (below or getattr(type(client), name).__get__(client))(*args, **kwargs)
        if patch.policy is not None:
            instrument_client(made, patch.policy)
        return made

    return copy
