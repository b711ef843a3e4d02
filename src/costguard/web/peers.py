"""Peers whose baggage is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from costguard.errors import ConfigError

Trust: TypeAlias = Iterable[str] | Callable[[str], bool]
"""Networks such as "10.0.0.0/8", or a callable of a peer's address."""


_FORWARDED = ("x-forwarded-for", "x-real-ip")


class Peers:
    """Those whose baggage is believed. Raises ConfigError for what is no network.

    With networks, everybody a request came by must be in them: a load balancer may be, and whom it forwards for is not.
    """

    def __init__(self, trust: Trust) -> None:
        self._asked: Callable[[str], bool] | None = None
        self._networks: list[IPv4Network | IPv6Network] = []
        if callable(trust):
            self._asked = trust
            return
        if isinstance(trust, str):
            raise ConfigError(f'baggage={trust!r} is one string; give a list of networks, such as ["10.0.0.0/8"]')
        self._networks = [_network(text) for text in trust]
        self._known = lru_cache(maxsize=1024)(self._is_within)

    def believes(self, peer: str, header: Callable[[str], str | None]) -> bool:
        """peer: the address that the server says the request is from; header: of the request, by its name"""
        if self._asked is not None:
            return self._asked(peer)
        if not self._known(peer):
            return False
        passed = [address for name in _FORWARDED for address in _listed(header(name))]
        passed += _forwarded(header("forwarded"))
        return all(map(self._known, passed))

    def _is_within(self, address: str) -> bool:
        try:
            at = ip_address(address.partition("%")[0])
        except ValueError:
            # A UNIX socket, a test client's name, or nothing: not known who it is.
            return False
        # A server that listens on both families sees IPv4 peers as ::ffff:10.1.2.3.
        at = getattr(at, "ipv4_mapped", None) or at
        return any(at in network for network in self._networks)


def _listed(header: str | None) -> list[str]:
    return [_bare(each) for each in header.split(",")] if header else []


def _forwarded(header: str | None) -> list[str]:
    """Whom the `Forwarded` header names (RFC 7239): `for=192.0.2.60;proto=http, for="[2001:db8::17]:4711"`."""
    found = []
    for element in header.split(",") if header else ():
        pairs = dict(each.strip().partition("=")[::2] for each in element.lower().split(";"))
        # One that does not say for whom, or says "unknown", is nobody who is trusted.
        found.append(_bare(pairs.get("for", "").strip('"')))
    return found


def _bare(address: str) -> str:
    """Without brackets and a port."""
    text = address.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except (ValueError, TypeError):
        raise ConfigError(
            f'baggage= has {text!r}, which is no network; write it like "10.0.0.0/8" or "192.0.2.7"'
        ) from None
