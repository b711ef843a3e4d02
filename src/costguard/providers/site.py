"""Where a client sends its calls: read once per client, as it decides the provider's name and its manners."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from costguard.providers.rows import Provider

_AZURE_USAGE_SINCE = "2024-09-01"
"""First Azure api-version (its date) that takes `stream_options`; older ones answer 400."""

_VERTEX = re.compile(r"(?:([a-z0-9-]+)-aiplatform|aiplatform\.([a-z0-9-]+)\.rep)\.googleapis\.com")

_extra: frozenset[str] = frozenset()
"""Hosts (with or without a port) that the app says accept `stream_options.include_usage`."""


def add_usage_hosts(hosts: Iterable[str]) -> None:
    global _extra  # noqa: PLW0603
    _extra |= frozenset(hosts)


def forget_usage_hosts() -> None:
    global _extra  # noqa: PLW0603
    _extra = frozenset()


def takes_usage(row: Provider, host: str, port: int | None) -> bool:
    """Whether this host accepts `stream_options.include_usage`, as the row or the app says."""
    if any(host == end or host.endswith("." + end) for end in row.usage_hosts):
        return True
    return host in _extra or f"{host}:{port}" in _extra


def place_of(row: Provider, provider: str, host: str) -> str:
    """Where calls to this host are processed, if that has a price of its own; "" for anywhere.

    OpenAI: `eu.api.openai.com` (developers.openai.com/api/docs/guides/your-data#data-residency). Claude on Google
    Cloud: `us-east5-aiplatform.googleapis.com`, `aiplatform.eu.rep.googleapis.com`
    (platform.claude.com/docs/en/about-claude/pricing#cloud-platform-pricing).
    """
    if provider == "openai" and host.endswith(".api.openai.com"):
        return host.partition(".")[0]
    if provider == "vertex" and row.package == "anthropic":
        found = _VERTEX.fullmatch(host)
        return "" if found is None else found[1] or found[2]
    return ""


class Site:
    """provider: its name; place: see `place_of`; usage: streams may be asked for their usage; url: what this was
    read from."""

    __slots__ = ("extra", "place", "provider", "url", "usage")

    def __init__(self, row: Provider, client: Any, url: Any) -> None:
        host = getattr(client.base_url, "host", "") or ""
        self.url = url
        self.extra = _extra
        self.provider = row.at(type(client), host, getattr(client.base_url, "path", "").rstrip("/"))
        self.place = place_of(row, self.provider, host)
        self.usage = self._takes_usage(row, client, host)

    def _takes_usage(self, row: Provider, client: Any, host: str) -> bool:
        if takes_usage(row, host, getattr(client.base_url, "port", None)):
            return True
        if self.provider != "azure" or not host.endswith((".openai.azure.com", ".cognitiveservices.azure.com")):
            return False
        query = getattr(client, "_custom_query", None) or {}
        version = getattr(client, "_api_version", None) or query.get("api-version")
        if not version:
            # The v1 API has no dated versions and is newer than all of these.
            return "/openai/v1" in str(client.base_url)
        return str(version) in ("preview", "latest", "v1") or str(version)[:10] >= _AZURE_USAGE_SINCE


def site_of(row: Provider, client: Any) -> Site:
    known = client.__dict__
    url = known.get("_base_url")
    site: Site | None = known.get("_costguard_site")
    # The url is compared by identity: setting `client.base_url` makes a new one.
    if site is None or site.url is not url or site.extra is not _extra:
        site = known["_costguard_site"] = Site(row, client, url)
    return site
