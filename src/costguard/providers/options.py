"""Reading and altering the body of a request: the only place where a request is changed.

The caller's dicts are never written to: what changes is replaced by a new dict on the SDK's options.
"""

from __future__ import annotations

from typing import Any

from costguard.providers.rows import Route

READABLE = "gzip, deflate"
"""Content encodings that the tap can undo; with brotli installed the SDKs would ask for more."""


def body_of(options: Any) -> dict[str, Any]:
    """The body as it will be sent: `extra_body` wins over the SDK's own fields."""
    body = options.json_data
    if not isinstance(body, dict):
        body = {}
    extra = options.extra_json
    return {**body, **extra} if extra and isinstance(extra, dict) else body


def ceiling(route: Route, body: dict[str, Any]) -> int | None:
    """The most output tokens that the caller allows, over all choices. Values may be an SDK's `Omit`."""
    for name in route.max_output:
        most = body.get(name)
        if type(most) is int and most > 0:
            for choice in route.choices:
                count = body.get(choice)
                if type(count) is int and count > 1:
                    return most * count
            return most
    return None


def ask_for_usage(options: Any, body: dict[str, Any]) -> bool:
    """Have a stream end with its usage; False if the caller asked for that already."""
    given = body.get("stream_options")
    given = given if isinstance(given, dict) else {}
    if given.get("include_usage"):
        return False
    alter(options, stream_options={**given, "include_usage": True})
    _ask_for_readable(options)
    return True


def alter(options: Any, **changes: Any) -> None:
    """Set fields of the body, also where `extra_body` would win."""
    options.json_data = {**options.json_data, **changes} if isinstance(options.json_data, dict) else changes
    extra = options.extra_json
    if extra and any(name in extra for name in changes):
        options.extra_json = {**extra, **{name: value for name, value in changes.items() if name in extra}}


def _ask_for_readable(options: Any) -> None:
    headers = options.headers
    given = headers if isinstance(headers, dict) else {}
    if not any(name.lower() == "accept-encoding" for name in given):
        options.headers = {**given, "Accept-Encoding": READABLE}
