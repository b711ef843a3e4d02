"""The route template of an ASGI request, such as ``/users/{id}``: never the raw path."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from inspect import isclass, isroutine
from typing import Any


def route_template(scope: MutableMapping[str, Any]) -> str | None:
    """The template that the router chose, with the prefixes of mounts and included routers; None before it has.

    Read off the scope as Starlette (1.x: `route`, `root_path`, `app_root_path`, `path_params`) and
    FastAPI (`fastapi.effective_route_context`, for a router that was included under a prefix) leave it:
    as the developer wrote it, ``{id:int}`` included.
    """
    route = scope.get("route")
    params = scope.get("path_params") or {}
    if route is None:
        # Starlette before 1.0 leaves only the endpoint. A mounted app is one too, but has routed nothing yet.
        endpoint = scope.get("endpoint")
        if isroutine(endpoint) or isclass(endpoint):
            return _without_values(_below(scope["path"], _outer_root(scope)), params)
        return None
    context = scope.get("fastapi", {}).get("effective_route_context")
    own: object = None
    if getattr(context, "original_route", None) is route:
        own = getattr(context, "path", None)
    elif not hasattr(route, "endpoint"):
        # A mount. Its own router, if it has one, has not chosen yet.
        own = None if getattr(route, "routes", None) else ""
    else:
        own = getattr(route, "path", None)
    if not isinstance(own, str):
        return None
    mount = _below(scope.get("root_path", ""), _outer_root(scope))
    if mount:
        mount = _without_values(mount, {name: value for name, value in params.items() if f"{{{name}" not in own})
    return mount + own or "/"


def _outer_root(scope: MutableMapping[str, Any]) -> str:
    """Where the server put the whole app: part of no template."""
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root


def _below(path: str, root: str) -> str:
    return path[len(root) :] if path.startswith(root) else path


def _without_values(path: str, params: Mapping[str, Any]) -> str:
    """A path with the values of its parameters replaced by their names."""
    names = {}
    for name, value in params.items():
        if isinstance(value, str) and "/" in value:
            path = path.replace(value, f"{{{name}}}", 1)
        else:
            names[name] = value
    return "/".join(_named(segment, names) for segment in path.split("/"))


def _named(segment: str, params: Mapping[str, Any]) -> str:
    for name, value in params.items():
        if segment and _reads_as(segment, value):
            return f"{{{name}}}"
    return segment


def _reads_as(segment: str, value: Any) -> bool:
    """Whether this segment was converted to this value: ``007`` is 7, and a UUID may be in capitals."""
    try:
        return bool(type(value)(segment) == value)
    except (TypeError, ValueError):
        return False
