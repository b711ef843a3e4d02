"""Tags in W3C baggage, the request header that tracing already hands on (https://www.w3.org/TR/baggage/)."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, unquote

from costguard.errors import ConfigError
from costguard.tags import Tags, current_tags

PREFIX = "costguard."
"""Of the keys that are ours: `costguard.user=alice`."""

LOCAL = frozenset(("route", "environment"))
"""Tags that say where a call is made, which is another place downstream: they do not travel unless asked for."""

_MOST_BYTES, _MOST_MEMBERS = 8192, 64
"""What everyone must take (section 3.3.2); what is beyond is not read."""


def travelling(tags: Tags | None = None, only: Iterable[str] | None = None) -> dict[str, str]:
    """Keys and values for baggage: of the current tags, or those given.

    only: the tags to send; all but `route` and `environment` if not given
    """
    given = current_tags() if tags is None else tags
    if isinstance(only, str):
        raise ConfigError(f"only={only!r} is one string; give the names of tags, such as ['user', 'team']")
    wanted = None if only is None else set(only)
    return {
        PREFIX + name: value
        for name, value in given.items()
        if (name in wanted if wanted is not None else name not in LOCAL)
    }


def baggage_header(tags: Tags | None = None, only: Iterable[str] | None = None) -> str:
    """The value of a `baggage` header with these tags, "" if there are none; see `travelling`.

    ``httpx.get(url, headers={"baggage": baggage_header()})``. Whoever gets it can read it.
    """
    return ",".join(f"{quote(key)}={quote(value, safe='')}" for key, value in travelling(tags, only).items())


def read_baggage(header: str | None) -> dict[str, str]:
    """The tags in a `baggage` header. Anyone can send one: read it from peers that you trust."""
    found: dict[str, str] = {}
    text = header or ""
    if len(text) > _MOST_BYTES:
        # Half a member would be another value.
        text = text[: _MOST_BYTES + 1].rpartition(",")[0]
    for member in text.split(",")[:_MOST_MEMBERS]:
        # Properties, after a semicolon, say nothing that a tag needs.
        key, equals, value = member.partition(";")[0].partition("=")
        name = unquote(key.strip().removeprefix(PREFIX), errors="replace")
        if equals and key.strip().startswith(PREFIX) and name.isidentifier():
            found[name] = unquote(value.strip(), errors="replace")
    return found
